"""Carry out a plan: one attempt after another until a model answers.

Before the first event of an answer the next model of the plan may step in; after it the stream carries the error.
A model whose provider's limit is used up is not asked, and the next one steps in at once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import cast

import msgspec

from pointsman.core.budget import Purse
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.credential import Credential
from pointsman.core.decision import Decision
from pointsman.core.errors import (
    BudgetExceeded,
    CallerKeyRefused,
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
from pointsman.core.events import Event, Frames
from pointsman.core.mask import Mask
from pointsman.core.ports import ChatCall, Clock, Completes, Embeds, Provider, Share, Throttle, Timeouts
from pointsman.core.request import ChatRequest
from pointsman.core.trail import Trail

from .caller_key import judged, unkeyed


class Execute:
    """Runs the attempts of a decision.

    Args:
        is_local: whether a model is still local: its provider may have become another one since the decision.
        unreachable: told the card of a model whose provider could not be reached.
        throttle: what providers allow the installation as a whole; None: nothing is known of limits.
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
    ) -> None:
        self._provider_for = provider_for
        self._is_local = is_local
        self._unreachable = unreachable
        self._throttle = throttle
        self._timeouts = timeouts
        self._clock = clock

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
    ) -> AsyncGenerator[Event, None]:
        """The answer's events.

        Args:
            tier: the caller's; it says who goes first when a provider is short.
            mask: the redacted copy that remote models get in place of the request; local ones get the request itself.
            purse: the money reserved for the request; a model that it does not cover any more is passed over.
            credentials: the caller's own keys, by provider, in place of ours.

        Raises:
            UpstreamError, Overloaded: of the last attempt, when no model of the plan answered or a stream broke.
            CallerKeyRefused: a provider does not take the key that the caller brought for it.
            ProviderShort: the limit of the last provider is used up.
            StateUnavailable: limits cannot be counted, and the settings say to refuse then.
            PrivacyWall: a stage asked for what must never happen.
        """
        deadline = trail.started + self._timeouts.total
        failure: PointsmanError | None = None
        throttle = self._throttle
        plan = decision.plan
        if throttle is not None:
            plan = self._those_who_wait_last(plan, catalog, trail, throttle, credentials)
        for model_id in plan:
            card = catalog.get(model_id)
            if card is None:  # a refresh took it away since the decision
                failure = failure or UpstreamConnectError(f"{model_id} has left the catalog.")
                continue
            remaining = deadline - self._clock.monotonic()
            if remaining <= 0:
                raise failure or UpstreamTimeout("total", self._timeouts.total)
            credential = credentials.get(card.provider)
            if purse is not None and credential is None and not await purse.covers(card, trail):
                short = BudgetExceeded(f"No budget covers {card.id} beside what earlier attempts may have cost.")
                trail.begin(card)
                trail.refused(short)
                failure = failure or short
                continue
            trail.begin(card, caller_key=credential is not None)
            answering = finished = told = False
            share: Share | None = None
            sent = True
            restore = None
            try:
                if throttle is not None and credential is None:  # a caller's own key has limits of its own
                    share = await throttle.take(card, decision.signals.needs, tier)
                provider = self._provider_for(card)
                if card.local and not self._is_local(card):
                    card = msgspec.structs.replace(card, local=False)
                    trail.moved(card)
                masked = mask if mask is not None and not card.local else None
                restore = masked.restorer() if masked is not None else None
                asked = request if masked is None else masked.request
                if decision.effort is not None and model_id == decision.model:
                    asked = asked.with_defaults({"reasoning_effort": decision.effort})
                call = ChatCall(
                    card=card,
                    request=asked,
                    local_only=decision.signals.privacy.local_only or mask is not None,
                    timeouts=msgspec.structs.replace(self._timeouts, total=remaining),
                    clears=masked.clears if masked is not None else None,
                    credential=credential,
                )
                async with aclosing(_ask(provider, call)) as events:
                    async for event in events:
                        if credential is not None:
                            event = unkeyed(event, credential)
                        if not answering:
                            answering = True
                            trail.first_byte()
                        finished = finished or event.finish_reason is not None
                        if event.note is not None:
                            trail.noted(event.note)
                        if event.usage is not None:
                            trail.used(event.usage, final=finished)
                            told = not finished or decision.signals.needs.choices > 1
                        if (told and event.usage is None) or (isinstance(event, Frames) and event.went_on):
                            trail.went_on()
                            told = False
                        yield event if restore is None else restore(event)
                if restore is not None and (rest := restore.end()) is not None:
                    yield rest
                trail.succeeded()
                return
            except ProviderShort as error:
                trail.refused(error)
                if not isinstance(failure, ProviderShort) or _wait(error) < _wait(failure):
                    failure = error
            except (UpstreamError, Overloaded) as error:
                if credential is not None and isinstance(refusal := judged(error, credential, card), CallerKeyRefused):
                    trail.failed(refusal)
                    raise refusal from None
                trail.failed(error)
                if isinstance(error, UpstreamConnectError):
                    self._unreachable(card)
                sent = not isinstance(error, (UpstreamConnectError, UpstreamLacks, Overloaded))
                if throttle is not None and isinstance(error, UpstreamStatus) and error.asks_to_wait and not credential:
                    throttle.wait(card, _wait(error))
                if answering or (isinstance(error, UpstreamError) and not error.retryable):
                    if restore is not None and (rest := restore.end()) is not None:
                        yield rest
                    raise
                failure = error
            except PointsmanError as error:
                sent = not isinstance(error, PrivacyWall)
                if credential is not None:
                    judged(error, credential, card)
                trail.failed(error)
                raise
            finally:
                if share is not None and throttle is not None:
                    throttle.settle(share, sent=sent, tokens=trail.attempts[-1].tokens)
        raise failure or UpstreamConnectError("No model of the plan is in the catalog any more.")

    def _those_who_wait_last(
        self,
        plan: tuple[str, ...],
        catalog: Catalog,
        trail: Trail,
        throttle: Throttle,
        credentials: Mapping[str, Credential],
    ) -> tuple[str, ...]:
        """The plan with the models behind that want to be left alone now; the trail says why. It is our key that they
        want to be left alone by, and not a caller's."""
        if len(plan) < 2:
            return plan
        cards = [card for model_id in plan if (card := catalog.get(model_id)) is not None]
        waiting = [
            (card, left) for card in cards if card.provider not in credentials and (left := throttle.waiting(card)) > 0
        ]
        if not waiting or len(waiting) == len(cards):
            return plan
        for card, left in waiting:
            trail.begin(card)
            trail.refused(
                ProviderShort(card.provider, f"{card.provider} asked to be left alone for {left:.0f} s more.",
                              retry_after=left)
            )  # fmt: skip
        behind = {card.id for card, _ in waiting}
        return (*(name for name in plan if name not in behind), *(name for name in plan if name in behind))


def _wait(error: PointsmanError) -> float:
    return error.retry_after or 0.0


def _ask(provider: Provider, call: ChatCall) -> AsyncGenerator[Event, None]:
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
