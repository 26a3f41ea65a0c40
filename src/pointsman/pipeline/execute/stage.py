"""Carry out a plan: one attempt after another until a model answers.

Before the first event of an answer the next model of the plan may step in, or the same one is asked again after a
pause; after it another goes on with what was told, or the stream carries the error. A model that must not be asked
now, because its provider's limit is used up or its circuit is open, is passed over, and the next one steps in at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from types import MappingProxyType

import msgspec

from pointsman.core.budget import Purse
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.credential import Credential
from pointsman.core.decision import Decision
from pointsman.core.errors import (
    BudgetExceeded,
    CircuitOpen,
    Overloaded,
    PointsmanError,
    PrivacyWall,
    ProviderShort,
    UpstreamConnectError,
    UpstreamError,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.core.events import Event
from pointsman.core.mask import Mask
from pointsman.core.ports import Breakers, Clock, Provider, Queues, Throttle, Timeouts
from pointsman.core.request import ChatRequest
from pointsman.core.trail import Step, Trail

from .ask import Ask, Job
from .cascade import Escalation, Unconvincing, Watch, qualities, stronger
from .delivery import Delivery
from .hedge import Hedges, Hedging, hedged
from .order import Order, Retries
from .refusals import NO_LOGPROBS, NO_PREFILL, Refusals


class ExecutionRules(msgspec.Struct, frozen=True, kw_only=True):
    """How plans are carried out, as the settings say now."""

    retries: Retries = Retries()
    splice: bool = True
    """Whether another model goes on with an answer that broke off."""
    escalation: Escalation = Escalation()
    hedging: Hedging = Hedging()


DEFAULT = ExecutionRules()


class Execute:
    """Runs the attempts of a decision.

    Args:
        is_local: whether a model is still local: its provider may have become another one since the decision.
        unreachable: told the card of a model whose provider could not be reached.
        throttle: what providers allow the installation as a whole; None: nothing is known of limits.
        breakers: None: every model is asked, however it fared before.
        queues: None: nobody waits for a turn.
        rules: may be replaced at any time; running requests keep those that they began with.
    """

    def __init__(
        self,
        *,
        provider_for: Callable[[ModelCard], Provider],
        timeouts: Timeouts,
        clock: Clock,
        is_local: Callable[[ModelCard], bool] = lambda card: card.local,
        unreachable: Callable[[ModelCard], None] = lambda card: None,
        throttle: Throttle | None = None,
        breakers: Breakers | None = None,
        queues: Queues | None = None,
        rules: ExecutionRules = DEFAULT,
    ) -> None:
        self._ask = Ask(
            provider_for=provider_for,
            timeouts=timeouts,
            clock=clock,
            is_local=is_local,
            unreachable=unreachable,
            throttle=throttle,
            breakers=breakers,
            queues=queues,
        )
        self._throttle = throttle
        self._timeouts = timeouts
        self._clock = clock
        self.rules = rules
        self._hedges = Hedges(lambda: self.rules.hedging)
        self._no_prefill = Refusals(clock)
        self._no_logprobs = Refusals(clock)

    async def __call__(
        self,
        decision: Decision,
        request: ChatRequest,
        *,
        catalog: Catalog,
        trail: Trail,
        tier: str | None = None,
        mask: Mask | None = None,
        purse: Purse | None = None,
        credentials: Mapping[str, Credential] = MappingProxyType({}),
        timeout: float | None = None,
        escalate: bool | None = None,
    ) -> AsyncGenerator[Event, None]:
        """The answer's events.

        Args:
            tier: the caller's; it says who goes first when a provider is short.
            mask: the redacted copy that remote models get in place of the request; local ones get the request itself.
            purse: the money reserved for the request; a model that it does not cover any more is passed over.
            credentials: the caller's own keys, by provider, in place of ours.
            timeout: seconds that the caller waits for the whole answer; None: as long as the installation does.
            escalate: whether a stronger model takes over where the first's answer is not convincing; None: as the
                rules say.

        Raises:
            UpstreamError, Overloaded: of the last attempt, when no model of the plan answered or a stream broke.
            CallerKeyRefused: a provider does not take the key that the caller brought for it.
            ProviderShort: the limit of the last provider is used up.
            BudgetExceeded: no budget covers another attempt.
            StateUnavailable: limits cannot be counted, and the settings say to refuse then.
            PrivacyWall: a stage asked for what must never happen, or no model that is left is local any more.
        """
        allowed = timeout if timeout is not None and timeout < self._timeouts.total else None
        total = self._timeouts.total if allowed is None else allowed
        trail.deadline = deadline = trail.started + total
        job = Job(
            decision=decision,
            request=request,
            catalog=catalog,
            trail=trail,
            deadline=deadline,
            allowed=allowed,
            tier=tier,
            mask=mask,
            purse=purse,
            credentials=credentials,
        )
        plan = decision.plan
        if self._throttle is not None and len(plan) > 1:
            plan = self._those_who_wait_last(plan, job, self._throttle)
        rules, clock = self.rules, self._clock
        order = Order(plan, rules.retries)
        delivery = Delivery(request, mask, splice=rules.splice)
        above = _those_above(decision, plan, rules.escalation, wish=escalate)
        weak: Step | None = None
        hedges = rules.hedging.enabled and request.kind == "chat" and not decision.explored
        while (following := order.following(clock.monotonic())) is not None:
            model_id, wait = following
            card = catalog.get(model_id)
            if card is None:  # a refresh took it away since the decision
                order.done_with(model_id)
                delivery.gone(model_id)
                continue
            if not delivery.turns_to(card):
                order.done_with(model_id)
                continue
            if clock.monotonic() + wait >= job.deadline:
                if delivery.error is None:
                    late = UpstreamTimeout("total", total)
                    delivery.failed(late if allowed is None else late.allowed_by_caller(allowed))
                break
            if wait > 0:
                await asyncio.sleep(wait)
            goes_on = delivery.begun
            if goes_on and card.prefill is not None and self._no_prefill.refuses(model_id):
                card = msgspec.structs.replace(card, prefill=None)
            watch = None
            try:
                joins = delivery.joins(last=not order.more) if delivery.splices else None
                if above and model_id == plan[0] and not delivery.begun:
                    expected = qualities(decision)[model_id]
                    covered = partial(_covers_any, job, above)
                    mute = self._no_logprobs.refuses(model_id)
                    watch = Watch(rules.escalation, clock, expected, covered, mute=mute)
                events = self._ask(job, card, joins, watch, tells=delivery)
                if watch is not None:
                    events = watch.convincing(events)
                elif hedges and not delivery.begun:
                    events = hedged(self._hedges, self._ask, job, card, order, delivery)
                try:
                    async for event in events:
                        delivery.begun = True
                        yield event
                finally:
                    await events.aclose()
                    if watch is not None or goes_on:
                        _note(delivery, watch, went_on=goes_on)
                return
            except Unconvincing as doubt:
                step = delivery.step
                assert step is not None
                step.escalated(doubt.reason, whole=doubt.kept is not None)
                delivery.kept, weak = doubt.kept, step
                order.instead(model_id, above)
                if doubt.kept is None:
                    order.let_in()
                above = ()
            except (BudgetExceeded, CircuitOpen) as error:
                order.done_with(model_id)
                delivery.failed(error, asked=False)
            except PointsmanError as error:
                if isinstance(error, PrivacyWall) and (delivery.begun or card.local):
                    # It was local when it was chosen, or what was told may not leave: another may go on all the same.
                    order.done_with(model_id)
                    delivery.failed(error, asked=False)
                    continue
                if watch is not None and watch.refused(error) and delivery.step is not None:
                    if not watch.mute:
                        delivery.step.noted(NO_LOGPROBS)
                        self._no_logprobs.note(model_id)
                        order.give_back(model_id)
                        continue
                    self._no_logprobs.forget(model_id)
                ends = not isinstance(error, (UpstreamError, Overloaded, ProviderShort))
                if isinstance(error, UpstreamError):
                    ends = not error.retryable
                taken = goes_on and isinstance(error, UpstreamError) if delivery.begun else weak is not None
                if ends and not taken:  # else another model has taken the request, and it is not at fault
                    raise
                step = delivery.step
                asked = step.attempt.model if step is not None else model_id
                if goes_on and delivery.refused(error) and step is not None:
                    step.noted(NO_PREFILL)
                    self._no_prefill.note(asked)
                    order.give_back(asked)
                    continue
                if goes_on and (ends or (isinstance(error, UpstreamStatus) and error.upstream_status == 500)):
                    self._no_prefill.forget(asked)
                order.failed(asked, error, clock.monotonic())
                delivery.failed(error, asked=not isinstance(error, ProviderShort))
                if delivery.begun:
                    order.let_in()
                    order.behind(asked)
                    if (rest := delivery.rest(step.attempt if step is not None else None)) is not None:
                        yield rest
                        return
        if weak is not None and delivery.kept is not None and not delivery.begun:  # nobody better answered
            trail.answers(weak)
            for event in delivery.kept:
                yield event
            return
        raise delivery.error or UpstreamConnectError("No model of the plan is in the catalog any more.")

    def _those_who_wait_last(self, plan: tuple[str, ...], job: Job, throttle: Throttle) -> tuple[str, ...]:
        """The plan with the models behind that want to be left alone now; the trail says why. It is our key that they
        want to be left alone by, and not a caller's."""
        cards = [card for model_id in plan if (card := job.catalog.get(model_id)) is not None]
        waiting = [
            (card, left)
            for card in cards
            if card.provider not in job.credentials and (left := throttle.waiting(card)) > 0
        ]
        if not waiting or len(waiting) == len(cards):
            return plan
        for card, left in waiting:
            job.trail.begin(card).refused(
                ProviderShort(card.provider, f"{card.provider} asked to be left alone for {left:.0f} s more.",
                              retry_after=left)
            )  # fmt: skip
        behind = {card.id for card, _ in waiting}
        return (*(name for name in plan if name not in behind), *(name for name in plan if name in behind))


async def _covers_any(job: Job, models: tuple[str, ...]) -> bool:
    """Whether one of the models can be paid for; what that takes is reserved."""
    if job.purse is None:
        return True
    for model in models:
        card = job.catalog.get(model)
        if card is not None and (card.provider in job.credentials or await job.purse.covers(card, job.trail)):
            return True
    return False


def _those_above(decision: Decision, plan: tuple[str, ...], rules: Escalation, *, wish: bool | None) -> tuple[str, ...]:
    """The models that take over where the first's answer is not convincing; empty: it is not judged."""
    wanted = rules.enabled or decision.signals.priority in rules.priorities if wish is None else wish
    return stronger(decision, plan) if wanted else ()


def _note(delivery: Delivery, watch: Watch | None, *, went_on: bool) -> None:
    """Write on the attempt how sure the judge was of it, and whether it went on with another's answer."""
    if delivery.step is not None:
        attempt = delivery.step.attempt
        if watch is not None:
            attempt.confidence = watch.confidence
        if went_on:
            attempt.went_on = delivery.goes_on
