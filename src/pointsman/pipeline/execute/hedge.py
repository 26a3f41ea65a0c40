"""Hedging: a second model is asked when the first is slower to begin than it nearly always is; the earlier answers.

Dean and Barroso, "The tail at scale" (2013): deferring the second request until the first has taken longer than its
95th percentile bounds what is asked twice to about a twentieth.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Decision
from pointsman.core.errors import PointsmanError
from pointsman.core.events import Event
from pointsman.core.trail import Step

from .ask import Ask, Job
from .delivery import Delivery
from .order import Order
from .splice import Splice

REMEMBERED = 100
"""First bytes of a model that its percentile is told from."""
ENOUGH = 20
"""Of them, before anything is told."""
MOST_MODELS = 1000
SLOW = 0.95


class Hedging(msgspec.Struct, frozen=True, kw_only=True):
    """When a second model is asked."""

    enabled: bool = False
    most_micro_usd: int = 2000
    """What the second is expected to cost, at most; one whose price nobody knows is not asked."""
    share: float = 0.05
    """Of the requests, at most."""


class FirstBytes:
    """How long models take to begin. Not for several threads."""

    def __init__(self) -> None:
        self._order: dict[str, deque[float]] = {}
        self._sorted: dict[str, list[float]] = {}

    def told(self, model: str, seconds: float) -> None:
        order = self._order.get(model)
        if order is None:
            if len(self._order) >= MOST_MODELS:
                return
            order = self._order[model] = deque()
            self._sorted[model] = []
        ranked = self._sorted[model]
        if len(order) >= REMEMBERED:
            del ranked[bisect_left(ranked, order.popleft())]
        order.append(seconds)
        insort(ranked, seconds)

    def slow(self, model: str) -> float | None:
        """Seconds that it takes longer than once in twenty times; None: too little is known."""
        ranked = self._sorted.get(model)
        if ranked is None or len(ranked) < ENOUGH:
            return None
        return ranked[int(SLOW * len(ranked))]


class Hedges:
    """Which requests may be asked twice."""

    def __init__(self, rules: Callable[[], Hedging]) -> None:
        self._rules = rules
        self._credit = 0.0
        self.first_bytes = FirstBytes()

    def after(self, model: str, *, first: bool = True) -> float | None:
        """Seconds after which another is asked beside this model; None: nobody is.

        Args:
            first: it is the request's first attempt, so that the request is counted now.
        """
        rules = self._rules()
        if first:
            self._credit = min(self._credit + rules.share, 1.0 + rules.share)
        if self._credit < 1.0:
            return None
        return self.first_bytes.slow(model)

    def spent(self) -> None:
        """A request was asked twice."""
        self._credit -= 1.0

    def affords(self, decision: Decision, model: str) -> bool:
        costs = [one.cost_micro_usd for one in decision.candidates if one.model == model]
        return any(cost is not None and cost <= self._rules().most_micro_usd for cost in costs)


class _Runner:
    """One of those who race."""

    def __init__(self, model: str, joins: Splice | None, ask: Callable[[_Runner], AsyncGenerator[Event, None]]) -> None:
        self.model = model
        self.joins = joins
        self.step: Step | None = None
        self.events = ask(self)
        self.begins = asyncio.create_task(_first(self.events))

    @property
    def error(self) -> BaseException | None:
        """What it failed with before it began."""
        done = self.begins.done() and not self.begins.cancelled()
        return self.begins.exception() if done else None

    async def stop(self) -> None:
        """Cancel it; without effect on one that has ended."""
        if not self.begins.done():
            self.begins.cancel()
            await asyncio.wait({self.begins})
        if not self.begins.cancelled():
            self.begins.exception()  # the attempt has noted it
        await self.events.aclose()


async def hedged(
    hedges: Hedges,
    ask: Ask,
    job: Job,
    card: ModelCard,
    order: Order,
    delivery: Delivery,
) -> AsyncGenerator[Event, None]:
    """The events of one attempt, or of another that began before it. Raises what the first failed with when the other
    failed too.
    """

    def run(model: ModelCard, *, last: bool) -> _Runner:
        joins = delivery.joins(last=last)
        delivery.splice = None  # each has its own
        return _Runner(model.id, joins, lambda runner: ask(job, model, joins, tells=runner))

    escalated = {step.attempt.model for step in job.trail.steps if step.attempt.status == "escalated"}

    def able(model: str) -> bool:  # the answer that somebody stronger is to replace must not come by this way
        return model not in escalated and job.catalog.get(model) is not None and hedges.affords(job.decision, model)

    first_attempt = all(step.attempt.status == "refused" for step in job.trail.steps)
    after = hedges.after(card.id, first=first_attempt)
    runners = [run(card, last=not order.more)]
    try:
        await asyncio.wait({runners[0].begins}, timeout=after)
        slow = not runners[0].begins.done() and runners[0].step is not None  # else money is still asked for
        if slow and (other := order.take_fresh(able)) is not None:
            second = job.catalog.get(other)
            assert second is not None
            hedges.spent()
            runners.append(run(second, last=False))  # the first may go on after it
        winner = await _winner(runners)
        for runner in runners:
            if runner is winner:
                continue
            await runner.stop()
            if isinstance(runner.error, PointsmanError):
                order.failed(runner.model, runner.error, job.trail.clock.monotonic())
                continue
            order.give_back(runner.model)
            if runner.model == card.id and runner.step is not None:  # it would have taken longer still
                hedges.first_bytes.told(runner.model, runner.step.attempt.seconds)
        if winner.error is not None:
            raise winner.error
        delivery.splice = winner.joins
        if winner.step is not None:
            job.trail.answers(winner.step)
            delivery.step = winner.step
            if winner.step.attempt.first_byte_seconds is not None:
                hedges.first_bytes.told(winner.model, winner.step.attempt.first_byte_seconds)
        first = winner.begins.result()
        if first is not None:
            yield first
            async for event in winner.events:
                yield event
    finally:
        for runner in runners:
            runner.begins.cancel()  # all of them, before this may be cancelled itself
        for runner in runners:
            await runner.stop()


async def _winner(runners: Sequence[_Runner]) -> _Runner:
    """Who begins first; the first runner when all of them fail."""
    running = list(runners)
    while running:
        await asyncio.wait([one.begins for one in running], return_when=asyncio.FIRST_COMPLETED)
        done = [one for one in running if one.begins.done()]
        for one in done:
            if one.error is None:
                return one
            running.remove(one)
    return runners[0]


async def _first(events: AsyncGenerator[Event, None]) -> Event | None:
    return await anext(events, None)
