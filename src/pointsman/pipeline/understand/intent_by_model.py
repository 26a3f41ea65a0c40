"""A language model tells the intent where rules and classifier are unsure, if the settings name one.

It is asked once for each message, where a model is to be chosen, and for a short time: what it has not said by then is
not waited for, and the other word holds. What it said, or did not say, is remembered under the message's digest, so
that a coding agent that sends its history again does not ask again.

Nothing private is shown to a model that is not local: no request in which anything private was found, or that must
stay on the machine, and none that its caller keeps from that model, by a key's scopes or by naming a provider. A local
one may see it, by a call that stays local. The calls pass the pipeline as anybody's, with
the privacy wall, budgets, limits and the log, under the key `INTENT_KEY`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing
from typing import NamedTuple, Protocol

import msgspec

from pointsman.core.caller import INTENT_KEY, Caller, Scopes
from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Decision
from pointsman.core.errors import PointsmanError
from pointsman.core.events import Body, Event, Text, deltas
from pointsman.core.outcome import Outcome
from pointsman.core.ports import Clock
from pointsman.core.program import Program
from pointsman.core.request import ChatRequest, PrivacyLevel
from pointsman.core.signals import Intent, Signals

from .intent_program import BUILT_IN, INTENT_TOKENS
from .intent_prompt import TOP, prompt, read, shown
from .memo import Memo
from .needs import expected_output

log = logging.getLogger(__name__)

UNSURE = 0.5
"""Probability of being right below which the word of rules and classifier is asked about: it is likelier wrong."""
MOST_AT_ONCE = 8
"""Messages that are asked about at once; more are not."""
FAILURES, PAUSE = 3, 30.0
"""After so many failures in a row nobody is asked for so many seconds: callers wait for no model that does not answer.
"""
REMEMBERED = 8_192
"""Messages."""
DAY = 86_400


class Stream(Protocol):
    """An answer under way."""

    def __aiter__(self) -> AsyncIterator[Event]: ...

    async def aclose(self) -> None: ...


Ask = Callable[[ChatRequest, Caller, PrivacyLevel], Awaitable[Stream | None]]
"""Asks a model as a caller does; None where anything private is in the request and the level would let it leave.
Raises PointsmanError."""


class Wanted(NamedTuple):
    """What the settings say."""

    model: str | None
    """Who is asked: a model's id; None: nobody."""
    timeout: float
    """Seconds."""
    micro_usd_per_day: int
    """What asking may cost a day (UTC); 0: only a model that costs nothing is asked."""
    development: bool = False
    """Whether development mode keeps requests with local models, but for those that ask for the cloud."""


class IntentByModel:
    """Tells intents. For one event loop.

    Args:
        program: asks models that cannot, or need not, complete plain text.
        wanted: the settings, as they hold now.
        card: of a model's id or alias; None where nobody knows it.
        asked: the turn that a request's intent is read from, as digest and text.
        chooses: whether a model is to be chosen for a requested name.
        ask: the way to the models.
        count: told what became of every message that was unsure and not remembered; returns at once.
    """

    def __init__(
        self,
        *,
        program: Program,
        wanted: Callable[[], Wanted],
        card: Callable[[str], ModelCard | None],
        asked: Callable[[ChatRequest], tuple[bytes, str]],
        chooses: Callable[[str], bool],
        ask: Ask,
        count: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self.program = program
        self._wanted = wanted
        self._card = card
        self._asked = asked
        self._chooses = chooses
        self._ask = ask
        self._count = count
        self._clock = clock
        self._said: Memo[Intent] = Memo(REMEMBERED)
        """`general`: nothing that helps."""
        self._under_way: dict[bytes, asyncio.Task[Intent]] = {}
        self._day = self._spent = 0
        self._failures, self._resting_until = 0, 0.0
        self._warned = False

    def close(self) -> None:
        for task in self._under_way.values():
            task.cancel()

    async def __call__(
        self, request: ChatRequest, signals: Signals, caller: Caller, *, provider: str | None = None
    ) -> Signals:
        """The signals with the model's word, where it was asked and had one.

        Args:
            provider: the only one that the caller wants asked.
        """
        wanted = self._wanted()
        if wanted.model is None or not self._open(request, signals):
            return signals
        digest, text = self._asked(request)
        digest += wanted.model.encode()  # another model may say something else
        said = self._said.peek(digest)
        if said is None:
            card = self._card(wanted.model)
            stays = wanted.development and not signals.cloud_asked
            may_see = card is not None and _may_see(card, signals, caller, provider, stays=stays)
            task = self._under_way.get(digest) or self._begin(digest, text, card, wanted, signals, may_see=may_see)
            # Whoever goes away leaves the others, and the memory, their answer.
            said = await asyncio.shield(task) if task is not None else Intent.GENERAL
        return _told(signals, said, request)

    def recall(self, request: ChatRequest, signals: Signals) -> Signals:
        """The signals with what the model said of the message before; nobody is asked."""
        model = self._wanted().model
        if model is None or not self._open(request, signals):
            return signals
        said = self._said.peek(self._asked(request)[0] + model.encode())
        return _told(signals, said or Intent.GENERAL, request)

    def told(self, decision: Decision, outcome: Outcome) -> None:
        """A request has ended: what the calls cost is counted here too, where budgets only warn."""
        if decision.key_id == INTENT_KEY:
            self._today()
            self._spent += outcome.cost_micro_usd or 0

    def _open(self, request: ChatRequest, signals: Signals) -> bool:
        unsure = signals.intent is Intent.GENERAL or signals.intent_confidence < UNSURE
        return unsure and request.kind == "chat" and self._chooses(request.model)

    def _begin(
        self, digest: bytes, text: str, card: ModelCard | None, wanted: Wanted, signals: Signals, *, may_see: bool
    ) -> asyncio.Task[Intent] | None:
        """Ask, unless something stands in the way."""
        message = shown(text)
        if not message:
            return None
        if card is None:
            self._count("away")
            self._warn(f"the model {wanted.model} of routing.intent_model is not there")
            return None
        if (reason := self._stands_in_the_way(card, wanted, may_see=may_see)) is not None:
            self._count(reason)
            return None
        privacy = signals.privacy
        private = privacy.local_only or bool(privacy.classes)
        level: PrivacyLevel = "max" if private else privacy.level
        task = asyncio.create_task(self._tell(digest, message, card, wanted, level), name="intent")
        self._under_way[digest] = task
        task.add_done_callback(lambda _: self._under_way.pop(digest, None))
        return task

    def _stands_in_the_way(self, card: ModelCard, wanted: Wanted, *, may_see: bool) -> str | None:
        """Why a message is not shown to the model; None: nothing does."""
        if not may_see:
            return "private"
        if self._clock.monotonic() < self._resting_until or len(self._under_way) >= MOST_AT_ONCE:
            return "paused"
        free = card.price_input == 0 and card.price_output == 0
        if free or self._today() < wanted.micro_usd_per_day:
            return None
        if not wanted.micro_usd_per_day:
            self._warn(f"{card.id} is not known to be free; routing.intent_micro_usd_per_day says what it may cost")
        return "unpaid"

    async def _tell(self, digest: bytes, message: str, card: ModelCard, wanted: Wanted, level: PrivacyLevel) -> Intent:
        """What the model says; `general` where it says nothing, which is remembered as well."""
        said: Intent | None = None
        try:
            async with asyncio.timeout(wanted.timeout):
                said = await self._say(message, card, wanted, level)
            result = "unreadable" if said is None else "unsure" if said is Intent.GENERAL else "told"
        except TimeoutError:
            result = "timeout"
            self._failed(f"{card.id} took longer than the {wanted.timeout:g} s of routing.intent_timeout")
        except PointsmanError as error:
            result = "failed"
            self._failed(error.message)
        except Exception:  # no request may fail for want of a second opinion
            result = "failed"
            log.exception("The intent could not be asked for.")
            self._failed("an error of the gateway's own")
        else:
            self._failures, self._warned = 0, False
        self._count(result)
        return self._said.get(digest, lambda: said or Intent.GENERAL)

    async def _say(self, message: str, card: ModelCard, wanted: Wanted, level: PrivacyLevel) -> Intent | None:
        scopes = Scopes(models=(card.id,), daily_micro_usd=wanted.micro_usd_per_day)
        caller = Caller(key_id=INTENT_KEY, admin=False, role="member", scopes=scopes)
        plain = asked_plainly(self.program, card.capabilities)
        asked = plain_request(card.id, message) if plain else chat_request(self.program, card.id, message)
        stream = await self._ask(asked, caller, level)
        if stream is None:
            return None
        async with aclosing(stream):
            events = [event async for event in stream]
        return read_plain(events) if plain else read_chat(self.program, events)

    def _failed(self, why: str) -> None:
        self._warn(why)
        self._failures += 1
        if self._failures >= FAILURES:
            self._failures, self._resting_until = 0, self._clock.monotonic() + PAUSE

    def _warn(self, why: str) -> None:
        if not self._warned:
            log.warning("Intents are told without a language model: %s", why)
        self._warned = True

    def _today(self) -> int:
        """What was spent today, in micro-dollars."""
        day = int(self._clock.now() // DAY)
        if day != self._day:
            self._day, self._spent = day, 0
        return self._spent


def _may_see(card: ModelCard, signals: Signals, caller: Caller, provider: str | None, *, stays: bool) -> bool:
    """Whether a request may be shown to a model that its caller did not name.

    Args:
        provider: the only one that the caller wants asked.
        stays: whether the request stays with local models, private or not.
    """
    if card.local:
        return True
    private = signals.privacy.local_only or bool(signals.privacy.classes)
    return not private and not stays and caller.may_use(card.id, card.name) and provider in (None, card.provider)


def asked_plainly(program: Program, capabilities: Collection[str]) -> bool:
    """Whether a model is asked for the next word, not in a chat. An optimised program is asked as it was then."""
    if "chat" not in capabilities:
        return True
    return program == BUILT_IN and "completion" in capabilities and "logprobs" in capabilities


def plain_request(model: str, message: str) -> ChatRequest:
    """Asks for the next word."""
    fields = {"model": model, "messages": [{"role": "user", "content": prompt(message)}], "max_tokens": 1}
    return ChatRequest.build({**fields, "temperature": 0, "logprobs": True, "top_logprobs": TOP}, kind="completion")


def chat_request(program: Program, model: str, message: str) -> ChatRequest:
    """Asks in a chat."""
    fields = {"model": model, "messages": program.messages({"message": message})}
    return ChatRequest.build({**fields, "temperature": 0, "max_tokens": INTENT_TOKENS})


class _Logprobs(msgspec.Struct):
    top_logprobs: list[dict[str, float]]


class _Choice(msgspec.Struct):
    logprobs: _Logprobs


class _Completion(msgspec.Struct):
    choices: list[_Choice]


_completion_decoder = msgspec.json.Decoder(_Completion)


def read_plain(events: list[Event]) -> Intent | None:
    """The intent of a completion; None where it says none."""
    for event in events:
        if isinstance(event, Body):
            try:
                words = _completion_decoder.decode(event.raw).choices[0].logprobs.top_logprobs[0]
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, IndexError):
                return None
            return read(words)
    return None


def read_chat(program: Program, events: list[Event]) -> Intent | None:
    """The intent of a chat's answer; None where it says none, or one that there is not.

    Raises:
        UpstreamProtocolError: the answer is none.
    """
    text = "".join(delta.text for event in events for delta in deltas(event) if isinstance(delta, Text))
    outputs = program.parse(text)
    label = outputs["intent"] if outputs is not None else ""
    return Intent(label) if label in frozenset(Intent) else None


def _told(signals: Signals, said: Intent, request: ChatRequest) -> Signals:
    if said is Intent.GENERAL:
        return signals
    output = expected_output(
        said,
        signals.complexity.score,
        in_the_middle=signals.conversation.awaiting_tool_result,
        most=request.max_output,
    )
    needs = msgspec.structs.replace(signals.needs, expected_output=output)
    return msgspec.structs.replace(signals, intent=said, intent_confidence=0.0, intent_source="model", needs=needs)
