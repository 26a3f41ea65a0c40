"""One attempt at one model: what must be so before it is asked, its answer's events, and what is noted of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from types import MappingProxyType
from typing import Protocol, cast

import msgspec

from pointsman.core.budget import Purse
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.credential import Credential
from pointsman.core.decision import Decision
from pointsman.core.errors import (
    BudgetExceeded,
    CallerKeyRefused,
    CircuitOpen,
    Overloaded,
    PointsmanError,
    PrivacyWall,
    ProviderShort,
    UpstreamBroken,
    UpstreamConnectError,
    UpstreamError,
    UpstreamLacks,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.core.events import Event
from pointsman.core.mask import Mask
from pointsman.core.ports import (
    Breakers,
    ChatCall,
    Clock,
    Completes,
    Embeds,
    Line,
    Provider,
    Queues,
    Share,
    Throttle,
    Timeouts,
)
from pointsman.core.queueing import Claim
from pointsman.core.request import ChatRequest
from pointsman.core.tokens import estimate
from pointsman.core.trail import Step, Trail

from .caller_key import judged, unkeyed
from .heard import Heard, written_whole

TICK = 0.05
"""Seconds by which a time-out may come early."""


class Job(msgspec.Struct, kw_only=True):
    """What is carried out, for whom, and by when."""

    decision: Decision
    request: ChatRequest
    catalog: Catalog
    trail: Trail
    deadline: float
    """In seconds of the clock that never jumps."""
    allowed: float | None = None
    """Seconds of the caller's that make the deadline; None: it is the installation's."""
    tier: str | None = None
    mask: Mask | None = None
    purse: Purse | None = None
    credentials: Mapping[str, Credential] = MappingProxyType({})


class Joins(Protocol):
    """Makes one stream of what several models say one after another."""

    def asks(self, card: ModelCard, asked: ChatRequest, mask: Mask | None) -> ChatRequest:
        """What a model is asked. `mask` is given where the model is shown the originals and earlier ones were not."""

    def passes(self, event: Event) -> Event | None:
        """What may go out of an event now."""

    def end(self) -> Event | None:
        """What was held back of an answer that has ended well."""

    def took(self) -> tuple[int, int]:
        """Bytes of text that the model was shown beside the request, and that it wrote, as far as is known."""


class Alters(Protocol):
    """Wants something more of the model."""

    def asks(self, asked: ChatRequest, *, logprobs: bool) -> ChatRequest:
        """What it is asked. `logprobs`: whether it can tell log-probabilities."""

    def takes(self, event: Event) -> Event:
        """What is made of an event of its answer, before anybody else has it."""


class Tells(Protocol):
    """Whoever wants to know the attempt at once."""

    step: Step | None


class Ask:
    """Makes attempts.

    Args:
        is_local: whether a model is still local: its provider may have become another one since the decision.
        unreachable: told the card of a model whose provider could not be reached.
        throttle: what providers allow the installation as a whole; None: nothing is known of limits.
        breakers: None: every model is asked, however it fared before.
        queues: None: nobody waits for a turn.
    """

    def __init__(
        self,
        *,
        provider_for: Callable[[ModelCard], Provider],
        timeouts: Timeouts,
        clock: Clock,
        is_local: Callable[[ModelCard], bool],
        unreachable: Callable[[ModelCard], None],
        throttle: Throttle | None,
        breakers: Breakers | None,
        queues: Queues | None,
    ) -> None:
        self._provider_for = provider_for
        self._timeouts = timeouts
        self._clock = clock
        self._is_local = is_local
        self._unreachable = unreachable
        self._throttle = throttle
        self._breakers = breakers
        self._queues = queues

    async def __call__(
        self,
        job: Job,
        card: ModelCard,
        joins: Joins | None,
        alters: Alters | None = None,
        *,
        tells: Tells,
    ) -> AsyncGenerator[Event, None]:
        """The answer's events; the attempt stands in the job's trail, with how it ended.

        Args:
            joins: makes one stream of this answer and what was told before.
            alters: wants something more of the model.
            tells: given the attempt as it begins.

        Raises:
            BudgetExceeded, ProviderShort, CircuitOpen: it was not asked.
            Overloaded: the queue before its engine is full or too slow.
            UpstreamError: it failed.
            PointsmanError: what no other model can mend.
        """
        trail, decision = job.trail, job.decision
        credential = job.credentials.get(card.provider)
        if job.purse is not None and credential is None and not await job.purse.covers(card, trail):
            short = BudgetExceeded(f"No budget covers {card.id} beside what earlier attempts may have cost.")
            trail.begin(card).refused(short)
            raise short
        step = trail.begin(card, caller_key=credential is not None)
        tells.step = step
        breakers = self._breakers
        if breakers is not None and (left := breakers.admit(card)) > 0:
            open_ = CircuitOpen(f"{card.id} failed too often lately and is left alone for now.", retry_after=left)
            step.refused(open_)
            raise open_
        throttle = self._throttle
        share: Share | None = None
        answering = finished = told = late = False
        sent = False
        first: Event | None = None
        masked = restore = early = None
        failure: PointsmanError | None = None
        hears = Heard() if joins is None and job.request.stream else joins
        line = self._queues.line(card) if self._queues is not None else None
        leave: Callable[[], None] | None = None
        try:
            if line is not None:
                leave = await _turn(line, job, step)
            if throttle is not None and credential is None:  # a caller's own key has limits of its own
                share = await throttle.take(card, decision.signals.needs, job.tier)
            time_left = job.deadline - self._clock.monotonic()
            if time_left <= 0:  # it was spent on waiting
                step.unbilled, late = True, True
                raise UpstreamTimeout("total", job.deadline - trail.started)
            provider = self._provider_for(card)
            if card.local and not self._is_local(card):
                card = msgspec.structs.replace(card, local=False)
                step.moved(card)
            mask, asked = job.mask, job.request
            if mask is not None and not card.local:
                masked, restore, asked = mask, mask.restorer(), mask.request
            if decision.effort is not None and card.id == decision.model:
                asked = asked.with_defaults({"reasoning_effort": decision.effort})
            if alters is not None:
                asked = alters.asks(asked, logprobs="logprobs" in card.capabilities)
            if joins is not None:
                asked = joins.asks(card, asked, mask if masked is None else None)
            call = ChatCall(
                card=card,
                request=asked,
                local_only=decision.signals.privacy.local_only or mask is not None,
                timeouts=msgspec.structs.replace(self._timeouts, total=time_left),
                clears=masked.clears if masked is not None else None,
                credential=credential,
                on_resend=step.resent,
            )
            events = provider.chat(call) if asked.kind == "chat" else _not_chat(provider, call)
            passes = hears.passes if hears is not None else None
            sent = True
            try:
                async for event in events:
                    if credential is not None:
                        event = unkeyed(event, credential)
                    if not answering:
                        if not event.raw and event.finish_reason is None:  # nothing is said yet: another may step in
                            early = event.answer_id or early
                            if event.usage is not None:
                                step.used(event.usage)
                                told = True
                            continue
                        answering = True
                        first = event
                        step.first_byte()
                        if early is not None and event.answer_id is None:
                            event = msgspec.structs.replace(event, answer_id=early)
                    if event.finish_reason is not None:
                        finished = True
                    if event.note is not None:
                        step.noted(event.note)
                    usage = event.usage
                    if usage is not None:
                        step.used(usage, final=finished)
                        told = not finished or decision.signals.needs.choices > 1
                        if event.went_on:
                            step.went_on()
                            told = False
                    elif told:
                        step.went_on()
                        told = False
                    if alters is not None:
                        event = alters.takes(event)
                    if passes is not None:
                        passed = passes(event)
                        if passed is None:
                            continue
                        event = passed
                    yield event if restore is None else restore(event)
            finally:
                await events.aclose()
            if joins is not None and (held := joins.end()) is not None:
                yield held if restore is None else restore(held)
            if restore is not None and (rest := restore.end()) is not None:
                yield rest
            step.succeeded()
        except ProviderShort as error:
            sent = False
            step.refused(error)
            raise
        except (UpstreamError, Overloaded) as error:
            failure = error
            if isinstance(error, UpstreamTimeout) and error.phase == "total":
                _told(error, job, self._clock.monotonic())
            if isinstance(error, UpstreamError):
                error.by(card.provider)
            if line is not None and leave is None:
                sent = False
                step.refused(error)
                raise
            if credential is not None and isinstance(refusal := judged(error, credential, card), CallerKeyRefused):
                failure = None  # it says nothing of the model
                step.failed(refusal)
                raise refusal from None
            if credential is not None and isinstance(error, UpstreamStatus) and error.upstream_status < 500:
                failure = None  # nor what the caller's own account may not do
            step.failed(error)
            if isinstance(error, UpstreamConnectError):
                self._unreachable(card)
            sent = not late and not isinstance(error, (UpstreamConnectError, UpstreamLacks, Overloaded))
            if throttle is not None and isinstance(error, UpstreamStatus) and error.asks_to_wait and not credential:
                throttle.wait(card, error.retry_after or 0.0)
            if restore is not None and joins is None and (rest := restore.end()) is not None:
                yield rest  # else the beginning of a placeholder is not told: whoever goes on begins before it
            raise
        except PointsmanError as error:
            sent = not isinstance(error, PrivacyWall)
            if credential is not None:
                judged(error, credential, card)
            step.failed(error)
            raise
        finally:
            if (status := step.attempt.status) != "ok":
                if status == "cancelled":
                    step.cancelled()
                    step.unbilled = not sent
                if answering and hears is not None:
                    _guess(job, step, *hears.took())
                elif not job.request.stream and not step.unbilled and _given_up(step, failure):
                    _guess(job, step, 0, _wrote(job, first))
            elif step.attempt.prompt_tokens is None or step.unsure:  # whole, and not what it took
                _guess(job, step, *(hears.took() if hears is not None else (0, _wrote(job, first))))
            if leave is not None:
                leave()
            if share is not None and throttle is not None:
                told_tokens = None if step.attempt.estimated else step.attempt.tokens
                throttle.settle(share, sent=sent, tokens=told_tokens)
            if breakers is not None:
                breakers.told(card, failure, step.asked_first_byte_seconds)


def _told(late: UpstreamTimeout, job: Job, now: float) -> None:
    """Make a time-out of the whole say that the caller set it, unless a provider's own time was shorter."""
    if job.allowed is not None and now > job.deadline - TICK:
        late.allowed_by_caller(job.allowed)


def _guess(job: Job, step: Step, beside: int, wrote: int) -> None:
    """Estimate what an attempt took that has not told it, from bytes of text: shown beside the request, and written."""
    step.guessed(job.decision.signals.needs.prompt_tokens + estimate(beside), estimate(wrote))


def _given_up(step: Step, failure: PointsmanError | None) -> bool:
    """Whether an attempt ended while its model was at work: its caller left, it took too long, or it broke off."""
    return step.attempt.status == "cancelled" or isinstance(failure, UpstreamTimeout | UpstreamBroken)


def _wrote(job: Job, answer: Event | None) -> int:
    """Bytes of text in an answer that was not streamed; of one that never came nobody knows."""
    return 0 if answer is None or job.request.kind == "embeddings" else written_whole(answer.raw)


async def _turn(line: Line, job: Job, step: Step) -> Callable[[], None]:
    """Wait for a slot of the engine; returns what gives it back. Raises Overloaded."""
    leave = None
    step.queues()
    try:
        leave = await line.enter(Claim(key_id=job.decision.key_id, tier=job.tier, deadline=job.deadline))
    finally:
        step.queued(admitted=leave is not None)
    return leave


def _not_chat(provider: Provider, call: ChatCall) -> AsyncGenerator[Event, None]:
    """The answer to what is not chat, which is asked only of models whose card has the capability for it."""
    if call.request.kind == "completion":
        return cast(Completes, provider).complete(call)
    return cast(Embeds, provider).embed(call)
