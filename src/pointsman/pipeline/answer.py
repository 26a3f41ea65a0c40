"""An answer under way, and what must happen when it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, suppress

import msgspec

from pointsman.core.decision import Decision
from pointsman.core.events import Event
from pointsman.core.request import Dialect
from pointsman.core.trail import Trail

from .protocols import Grant


class Answer(msgspec.Struct, eq=False):
    """An answer under way: its first event has come, so a model has taken the request.

    Iterate over it for every event, once. Close it (`contextlib.aclosing`) to cancel the upstream call, even before
    anything was read.
    """

    decision: Decision
    _trail: Trail
    _untold: Event | None
    _rest: AsyncGenerator[Event, None]
    _first: Event | None = None
    """Once it is told."""

    @property
    def started(self) -> float:
        """When the first attempt began, in seconds of the clock that never jumps."""
        return self._trail.started

    @property
    def seconds_left(self) -> float | None:
        """Until the whole answer must have been told; None: there is no such time."""
        deadline = self._trail.deadline
        return None if deadline is None else max(0.0, deadline - self._trail.clock.monotonic())

    @property
    def placeholders(self) -> int:
        """How many private values were replaced in what the answering model got; 0 for a local one."""
        placeholders = self.decision.signals.privacy.placeholders
        if not placeholders:
            return 0
        last = self._trail.last
        return placeholders if last is not None and not last.card.local else 0

    @property
    def model(self) -> str:
        """The model that answers: the decision's, unless a fallback stepped in."""
        return self._trail.model or self.decision.model

    @property
    def dialect(self) -> Dialect:
        """What the answer comes in."""
        first = self._untold or self._first
        return first.dialect if first is not None else "chat"

    @property
    def note(self) -> str | None:
        """What the answering provider has noticed of its answer so far; of one that is not streamed, all."""
        last = self._trail.last
        return last.attempt.note if last is not None else None

    @property
    def escalated(self) -> bool:
        """Whether the decision's model answered, but not convincingly."""
        return any(step.attempt.status == "escalated" for step in self._trail.steps)

    @property
    def hedged(self) -> bool:
        """Whether the decision's model was called off, because another began before it."""
        tried = [step.attempt for step in self._trail.steps[:-1] if step.attempt.model == self.decision.model]
        return bool(tried) and tried[-1].status == "cancelled"

    @property
    def passed_over(self) -> bool:
        """Whether the decision's model was not even asked, because a limit or a budget stood in the way."""
        tried = [step.attempt.status for step in self._trail.steps if step.attempt.model == self.decision.model]
        return bool(tried) and all(status == "refused" for status in tried)

    def __aiter__(self) -> Answer:
        return self

    def __anext__(self) -> Awaitable[Event]:
        first = self._untold
        if first is None:
            return self._rest.__anext__()
        self._first, self._untold = first, None
        return _at_once(first)

    async def aclose(self) -> None:
        """Cancel the upstream call, if it is still under way."""
        await self._rest.aclose()

    async def unusable(self, error: Exception) -> None:
        """Say that what came cannot be told to the caller, so that the log does; without effect once it has ended."""
        with suppress(type(error), StopAsyncIteration):
            await self._rest.athrow(error)


async def _at_once(event: Event) -> Event:
    return event


async def settling(grant: Grant, trail: Trail, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """Pass the events on; when they end, in whatever way, settle what was reserved."""
    try:
        async with aclosing(events):
            async for event in events:
                try:
                    yield event
                except Exception as error:  # thrown in by whoever reads
                    await events.athrow(error)
    finally:
        grant.settle(trail)
