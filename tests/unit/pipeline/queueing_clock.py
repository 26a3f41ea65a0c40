"""A clock that tests move by hand, and a line whose callers they follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pointsman.core.queueing import Claim
from pointsman.pipeline.execute.queueing import Line, LineRules

FAR = 1e9


class HandClock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Counter:
    """A line, and who got a slot of it, in order."""

    def __init__(self, *, weights: dict[str | None, float] | None = None, **rules: float) -> None:
        self.clock = HandClock()
        self.rules = LineRules(**{"slots": 1, "seconds": FAR, **rules})  # type: ignore[arg-type] # whole ones are
        self.line = Line("engine", self.rules, clock=self.clock, weight=lambda tier: (weights or {}).get(tier, 1.0))
        self.order: list[str] = []
        self.held: list[tuple[str, Callable[[], None]]] = []

    async def come(self, key: str, count: int = 1, *, tier: str | None = None) -> list[asyncio.Task[None]]:
        """So many requests of a key arrive."""
        tasks = [asyncio.create_task(self._enter(key, tier)) for _ in range(count)]
        await breathe()
        return tasks

    async def _enter(self, key: str, tier: str | None) -> None:
        leave = await self.line.enter(Claim(key_id=key, tier=tier, deadline=self.clock.time + FAR))
        self.order.append(key)
        self.held.append((key, leave))

    async def serve(self, seconds: float = 1.0) -> str:
        """The answer that was begun first ends after so many seconds; returns whose it was."""
        self.clock.time += seconds
        key, leave = self.held.pop(0)
        leave()
        await breathe()
        return key


async def breathe() -> None:
    """Let every task go on as far as it can."""
    for _ in range(4):
        await asyncio.sleep(0)
