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
from .heard import Heard

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
        begun: Callable[[Step], None],
    ) -> AsyncGenerator[Event, None]:
        """The answer's events; the attempt stands in the job's trail, with how it ended.

        Args:
            joins: makes one stream of this answer and what was told before.
            alters: wants something more of the model.
            begun: told the attempt as it begins.

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
        begun(step)
        breakers = self._breakers
        if breakers is not None and (left := breakers.admit(card)) > 0:
            open_ = CircuitOpen(f"{card.id} failed too often lately and is left alone for now.", retry_after=left)
            step.refused(open_)
            raise open_
        throttle = self._throttle
        share: Share | None = None
        answering = finished = told = late = False
        sent = True
        restore = None
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
            mask = job.mask
            masked = mask if mask is not None and not card.local else None
            restore = masked.restorer() if masked is not None else None
            asked = job.request if masked is None else masked.request
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
            )
            events = _events(provider, call)
            try:
                async for event in events:
                    if credential is not None:
                        event = unkeyed(event, credential)
                    if not answering:
                        answering = True
                        step.first_byte()
                    if event.finish_reason is not None:
                        finished = True
                    if event.note is not None:
                        step.noted(event.note)
                    if event.usage is not None:
                        step.used(event.usage, final=finished)
                        told = not finished or decision.signals.needs.choices > 1
                    if event.went_on or (told and event.usage is None):
                        step.went_on()
                        told = False
                    if hears is not None:
                        passed = hears.passes(event)
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
                if answering and hears is not None:
                    beside, wrote = hears.took()
                    step.guessed(decision.signals.needs.prompt_tokens + estimate(beside), estimate(wrote))
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


async def _turn(line: Line, job: Job, step: Step) -> Callable[[], None]:
    """Wait for a slot of the engine; returns what gives it back. Raises Overloaded."""
    leave = None
    step.queues()
    try:
        leave = await line.enter(Claim(key_id=job.decision.key_id, tier=job.tier, deadline=job.deadline))
    finally:
        step.queued(admitted=leave is not None)
    return leave


def _events(provider: Provider, call: ChatCall) -> AsyncGenerator[Event, None]:
    """The provider's answer. What is not chat is asked only of models whose card has the capability for it.

    Providers write async generators; the protocol promises an iterator that can be closed.
    """
    kind = call.request.kind
    if kind == "chat":
        events = provider.chat(call)
    elif kind == "completion":
        events = cast(Completes, provider).complete(call)
    else:
        events = cast(Embeds, provider).embed(call)
    return cast("AsyncGenerator[Event, None]", events)
