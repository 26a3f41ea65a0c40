"""Carry out a plan: one attempt after another until a model answers.

Before the first event of an answer the next model of the plan may step in; after it the stream carries the error.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import cast

import msgspec

from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.decision import Decision
from pointsman.core.errors import Overloaded, PointsmanError, UpstreamConnectError, UpstreamError, UpstreamTimeout
from pointsman.core.events import Event
from pointsman.core.ports import ChatCall, Clock, Provider, Timeouts
from pointsman.core.request import ChatRequest
from pointsman.core.trail import Trail


class Execute:
    """Runs the attempts of a decision.

    Args:
        unreachable: told the card of a model whose provider could not be reached.
    """

    def __init__(
        self,
        *,
        provider_for: Callable[[ModelCard], Provider],
        timeouts: Timeouts,
        clock: Clock,
        unreachable: Callable[[ModelCard], None] = lambda card: None,
    ) -> None:
        self._provider_for = provider_for
        self._unreachable = unreachable
        self._timeouts = timeouts
        self._clock = clock

    async def __call__(
        self, decision: Decision, request: ChatRequest, *, catalog: Catalog, trail: Trail
    ) -> AsyncGenerator[Event, None]:
        """The answer's events.

        Raises:
            UpstreamError, Overloaded: of the last attempt, when no model of the plan answered or a stream broke.
            PrivacyWall: a stage asked for what must never happen.
        """
        deadline = trail.started + self._timeouts.total
        failure: PointsmanError | None = None
        for model_id in decision.plan:
            card = catalog.get(model_id)
            if card is None:  # a refresh took it away since the decision
                failure = failure or UpstreamConnectError(f"{model_id} has left the catalog.")
                continue
            remaining = deadline - self._clock.monotonic()
            if remaining <= 0:
                raise failure or UpstreamTimeout("total", self._timeouts.total)
            trail.begin(card)
            answering = False
            call = ChatCall(
                card=card,
                request=request,
                local_only=decision.signals.privacy.local_only,
                timeouts=msgspec.structs.replace(self._timeouts, total=remaining),
            )
            try:
                async with aclosing(_closable(self._provider_for(card).chat(call))) as events:
                    async for event in events:
                        if not answering:
                            answering = True
                            trail.first_byte()
                        if event.usage is not None:
                            trail.used(event.usage)
                        yield event
                trail.succeeded()
                return
            except (UpstreamError, Overloaded) as error:
                trail.failed(error)
                if isinstance(error, UpstreamConnectError):
                    self._unreachable(card)
                if answering or (isinstance(error, UpstreamError) and not error.retryable):
                    raise
                failure = error
            except PointsmanError as error:
                trail.failed(error)
                raise
        raise failure or UpstreamConnectError("No model of the plan is in the catalog any more.")


def _closable(events: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
    """Providers write async generators; the protocol promises an iterator that can be closed."""
    return cast("AsyncGenerator[Event, None]", events)
