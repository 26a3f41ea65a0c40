"""Carry out a plan: one attempt after another until a model answers.

Before the first event of an answer the next model of the plan may step in, or the same one is asked again after a
pause; after it the stream carries the error. A model that must not be asked now, because its provider's limit is used
up or its circuit is open, is passed over, and the next one steps in at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType

from pointsman.core.budget import Purse
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.credential import Credential
from pointsman.core.decision import Decision
from pointsman.core.errors import (
    BudgetExceeded,
    CircuitOpen,
    Overloaded,
    PointsmanError,
    ProviderShort,
    UpstreamConnectError,
    UpstreamError,
    UpstreamTimeout,
)
from pointsman.core.events import Event
from pointsman.core.mask import Mask
from pointsman.core.ports import Breakers, Clock, Provider, Throttle, Timeouts
from pointsman.core.request import ChatRequest
from pointsman.core.trail import Trail

from .ask import Ask, Job
from .order import Order, Retries


class Execute:
    """Runs the attempts of a decision.

    Args:
        is_local: whether a model is still local: its provider may have become another one since the decision.
        unreachable: told the card of a model whose provider could not be reached.
        throttle: what providers allow the installation as a whole; None: nothing is known of limits.
        breakers: None: every model is asked, however it fared before.
        retries: whether a model that failed is asked again, as things are now.
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
        retries: Callable[[], Retries] = Retries,
    ) -> None:
        self._ask = Ask(
            provider_for=provider_for,
            timeouts=timeouts,
            clock=clock,
            is_local=is_local,
            unreachable=unreachable,
            throttle=throttle,
            breakers=breakers,
        )
        self._throttle = throttle
        self._timeouts = timeouts
        self._clock = clock
        self._retries = retries

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
    ) -> AsyncGenerator[Event, None]:
        """The answer's events.

        Args:
            tier: the caller's; it says who goes first when a provider is short.
            mask: the redacted copy that remote models get in place of the request; local ones get the request itself.
            purse: the money reserved for the request; a model that it does not cover any more is passed over.
            credentials: the caller's own keys, by provider, in place of ours.
            timeout: seconds that the caller waits for the whole answer; None: as long as the installation does.

        Raises:
            UpstreamError, Overloaded: of the last attempt, when no model of the plan answered or a stream broke.
            CallerKeyRefused: a provider does not take the key that the caller brought for it.
            ProviderShort: the limit of the last provider is used up.
            BudgetExceeded: no budget covers another attempt.
            StateUnavailable: limits cannot be counted, and the settings say to refuse then.
            PrivacyWall: a stage asked for what must never happen.
        """
        total = self._timeouts.total if timeout is None else min(timeout, self._timeouts.total)
        job = Job(
            decision=decision,
            request=request,
            catalog=catalog,
            trail=trail,
            deadline=trail.started + total,
            tier=tier,
            mask=mask,
            purse=purse,
            credentials=credentials,
        )
        plan = decision.plan
        if self._throttle is not None and len(plan) > 1:
            plan = self._those_who_wait_last(plan, job, self._throttle)
        order = Order(plan, self._retries())
        failure: PointsmanError | None = None
        while (following := order.following(self._clock.monotonic())) is not None:
            model_id, wait = following
            card = catalog.get(model_id)
            if card is None:  # a refresh took it away since the decision
                order.done_with(model_id)
                failure = failure or UpstreamConnectError(f"{model_id} has left the catalog.")
                continue
            if self._clock.monotonic() + wait >= job.deadline:
                raise failure or UpstreamTimeout("total", total)
            if wait > 0:
                await asyncio.sleep(wait)
            answering = False
            try:
                async with aclosing(self._ask(job, card)) as events:
                    async for event in events:
                        answering = True
                        yield event
                return
            except BudgetExceeded as error:
                order.done_with(model_id)
                failure = failure or error
            except ProviderShort as error:
                if not isinstance(failure, ProviderShort) or _wait(error) < _wait(failure):
                    failure = error
                order.failed(model_id, error, self._clock.monotonic())
            except CircuitOpen as error:
                order.done_with(model_id)
                failure = failure or error
            except (UpstreamError, Overloaded) as error:
                if answering or (isinstance(error, UpstreamError) and not error.retryable):
                    raise
                failure = error
                order.failed(model_id, error, self._clock.monotonic())
        raise failure or UpstreamConnectError("No model of the plan is in the catalog any more.")

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


def _wait(error: PointsmanError) -> float:
    return error.retry_after or 0.0
