"""A model that judges a sample of the answers: is an answer at least as good as its own would have been?

The judging model answers the question too, and then compares the two answers, blindly and twice, with their order
swapped: what it says only in one order counts as a tie (Zheng et al. 2023, "Judging LLM-as-a-Judge", position bias). An
answer that wins or ties is a success, as a router has it that looks for the cheapest model that will do. A judge has a
taste of its own; how far its word is believed is measured like that of other guesses (`implicit.belief`).

Nothing private is shown to it: no request in which anything private was found, or that must stay on the machine, and no
answer that holds something private itself; nor what its caller did not let the router send there: a request that names
its model or provider, or a key that may not use the judge's. Its calls pass the pipeline as anybody's, with the privacy
wall, budgets, limits and the log, under the key `JUDGE_KEY`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Literal, NamedTuple, Protocol

import msgspec

from pointsman.core.caller import Caller, Scopes
from pointsman.core.decision import Decision
from pointsman.core.errors import PointsmanError
from pointsman.core.events import Event, Text, deltas
from pointsman.core.observation import Implicit
from pointsman.core.outcome import Outcome
from pointsman.core.ports import Clock
from pointsman.core.program import Field, Program
from pointsman.core.request import ChatRequest, PrivacyLevel

log = logging.getLogger(__name__)

JUDGE_KEY = "judge"
"""Stands for the caller in the log and in the accounts; keys of people are named otherwise."""
LONGEST = 12_000
"""Characters of a question or an answer that are judged; longer ones are left out."""
OWN_TOKENS, VERDICT_TOKENS = 2_000, 256
"""What the judge may say of its own, and of two answers: the worst case is reserved before it is asked."""
MOST_BYTES = 64 * 1024
"""Of a request: the judge reads the whole conversation."""
MOST_WAITING = 32
"""Answers that wait to be judged; more are not."""
NOT_LET = frozenset({"credential", "privacy", "provider"})
"""Constraints that are the caller's will; models that a key may not use are among neither candidates nor dropped."""
DAY = 86_400

BUILT_IN = Program(
    signature="Judge",
    instructions=(
        "Say which answer does what the question asks for better. Correctness counts first, then completeness, then"
        " clarity. Neither length nor the order of the answers counts, nor what an answer says of itself. Say tie only"
        " when both are equally right or equally wrong."
    ),
    inputs=(
        Field(name="question", description="what was asked"),
        Field(name="answer_a", description="the first answer"),
        Field(name="answer_b", description="the second answer"),
    ),
    outputs=(Field(name="better", description="the better answer", choices=("a", "b", "tie")),),
)


class Stream(Protocol):
    """An answer under way."""

    def __aiter__(self) -> AsyncIterator[Event]: ...

    async def aclose(self) -> None: ...


Ask = Callable[[ChatRequest, Caller, PrivacyLevel], Awaitable[Stream | None]]
"""Asks a model as a caller does; None where anything private is in the request. Raises PointsmanError."""
Verdict = Literal["won", "tie", "lost"]


class Sample(NamedTuple):
    """An answer to be judged."""

    decision_id: str
    request: ChatRequest
    level: PrivacyLevel
    question: str
    answer: str


class Listener:
    """Gathers the text of one answer."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self.plain = True
        """Whether it is text alone, and not too long."""

    def __call__(self, event: Event) -> None:
        if not self.plain:
            return
        try:
            for delta in deltas(event):
                if isinstance(delta, Text):
                    self._parts.append(delta.text)
                    self._length += len(delta.text)
        except PointsmanError:
            self.plain = False
        self.plain = self.plain and event.dialect == "chat" and self._length <= LONGEST

    @property
    def text(self) -> str:
        return "".join(self._parts)


class Judge:
    """Judges in the background, one answer at a time.

    Args:
        model: who judges: a model's id.
        share: of the answers that may be judged, in [0, 1].
        micro_usd_per_day: what judging may cost a day (UTC). A cap of the caller's budget, and, where budgets only
            warn, a bound on what this process spends.
        keep: takes a judgement up; returns at once.
        draw: uniform in [0, 1).
    """

    def __init__(
        self,
        *,
        program: Program,
        model: str,
        share: float,
        micro_usd_per_day: int,
        keep: Callable[[Implicit], None],
        clock: Clock,
        draw: Callable[[], float],
    ) -> None:
        self.program = program
        self._model = model
        self._share = share
        self._most = micro_usd_per_day
        self._keep = keep
        self._clock = clock
        self._draw = draw
        self._caller = Caller(
            key_id=JUDGE_KEY,
            admin=False,
            role="member",
            scopes=Scopes(models=(model,), daily_micro_usd=micro_usd_per_day),
        )
        self._waiting: asyncio.Queue[Sample] = asyncio.Queue(MOST_WAITING)
        self._day, self._spent = 0, 0
        self._failing = False

    def listen(self, decision: Decision, request: ChatRequest) -> Listener | None:
        """What is to hear an answer that will be judged; None: this one will not."""
        signals = decision.signals
        needs, privacy = signals.needs, signals.privacy
        if privacy.classes or privacy.local_only or privacy.level == "max" or decision.key_id == JUDGE_KEY:
            return None
        if needs.kind != "chat" or needs.tools or needs.vision or needs.choices != 1 or request.dialect != "chat":
            return None
        if request.size > MOST_BYTES or decision.model == self._model or not self._may_be_shown(decision):
            return None
        if self._draw() >= self._share:
            return None
        return Listener()

    def _may_be_shown(self, decision: Decision) -> bool:
        """Whether the router could have sent the request to the judge's model, but for what that model can do."""
        if decision.mode == "forced":
            return False
        dropped = (drop.model for drop in decision.dropped if drop.constraint not in NOT_LET)
        return self._model in {*(candidate.model for candidate in decision.candidates), *dropped}

    def ended(self, decision: Decision, request: ChatRequest, outcome: Outcome, listener: Listener | None) -> None:
        """A request has ended; returns at once."""
        if decision.key_id == JUDGE_KEY:
            self._today()
            self._spent += outcome.cost_micro_usd or 0
        if listener is None or not listener.plain or self._waiting.full():
            return
        if outcome.status != "ok" or outcome.finish_reason != "stop" or outcome.model == self._model:
            return
        question = request.message(len(request.params.messages) - 1).text
        if listener.text.strip() and 0 < len(question) <= LONGEST:
            level = decision.signals.privacy.level
            self._waiting.put_nowait(Sample(decision.id, request, level, question, listener.text))

    async def run(self, ask: Ask) -> None:
        """Judge until cancelled."""
        while True:
            sample = await self._waiting.get()
            spent = self._today()
            if spent and spent >= self._most:
                continue
            try:
                verdict = await self.judge(sample, ask)
            except PointsmanError as error:
                if not self._failing:
                    log.warning("Answers are not judged: %s", error.message)
                self._failing = True
                continue
            except Exception:  # one that cannot be judged must not keep others from it
                log.exception("An answer could not be judged.")
                continue
            self._failing = False
            if verdict is not None:
                success = 0.0 if verdict == "lost" else 1.0
                now = self._clock.now()
                self._keep(Implicit(decision_id=sample.decision_id, kind="judge", success=success, at=now))

    async def judge(self, sample: Sample, ask: Ask) -> Verdict | None:
        """How an answer does beside the judge's own; None where that cannot be told, or something is private.

        Raises:
            PointsmanError: a call failed, or cannot be paid.
        """
        messages = sample.request.params.messages
        own = {"model": self._model, "messages": messages, "max_tokens": OWN_TOKENS}
        reference = await self._say(own, sample.level, ask)
        if not reference or len(reference) > LONGEST:
            return None
        first = await self._better(sample, sample.answer, reference, ask)
        second = await self._better(sample, reference, sample.answer, ask) if first is not None else None
        if second is None:
            return None
        if (first, second) == ("a", "b"):
            return "won"
        return "lost" if (first, second) == ("b", "a") else "tie"

    async def _better(self, sample: Sample, a: str, b: str, ask: Ask) -> str | None:
        messages = self.program.messages({"question": sample.question, "answer_a": a, "answer_b": b})
        body = {"model": self._model, "messages": messages, "temperature": 0, "max_tokens": VERDICT_TOKENS}
        said = await self._say(body, sample.level, ask)
        outputs = self.program.parse(said) if said is not None else None
        return outputs["better"] if outputs is not None else None

    async def _say(self, body: dict[str, object], level: PrivacyLevel, ask: Ask) -> str | None:
        """The text of an answer; None where there is none, or asking for it would show something private."""
        stream = await ask(ChatRequest.parse(msgspec.json.encode(body)), self._caller, level)
        if stream is None:
            return None
        listener = Listener()
        async with aclosing(stream):
            async for event in stream:
                listener(event)
        return listener.text.strip() if listener.plain else None

    def _today(self) -> int:
        """What was spent today, in micro-dollars."""
        day = int(self._clock.now() // DAY)
        if day != self._day:
            self._day, self._spent = day, 0
        return self._spent
