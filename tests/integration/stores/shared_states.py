"""Both fillers of `SharedState` behind one face, for tests that hold of either."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence

from pointsman.core.shared import Limit, SharedState, Taken
from pointsman.stores.memory_state import MemoryState
from pointsman.stores.redis_link import Address
from pointsman.stores.redis_state import RedisState
from services import Valkey


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.wall = time.time()
        self.ticks = 1_000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks

    def move(self, seconds: float) -> None:
        self.wall += seconds
        self.ticks += seconds


class Counters:
    """A state to test, and a way to let time pass."""

    def __init__(self, state: SharedState, clock: HandClock | None, twin: SharedState) -> None:
        self.state = state
        self.clock = clock
        self.twin = twin
        """The same counters as another process sees them; in the process there is only the one."""

    async def wait(self, seconds: float) -> None:
        """Let so much time pass at least."""
        if self.clock is not None:
            self.clock.move(seconds)
        else:
            await asyncio.sleep(seconds * 1.05 + 0.01)

    async def take(self, *limits: Limit) -> Taken:
        return await self.state.take(limits)

    async def total(self, name: str) -> int | None:
        return (await self.state.totals([name]))[name]

    async def seed(self, **totals: int) -> None:
        await self.state.seed(totals, expires_at=self.state.now() + 3_600)

    async def close(self) -> None:
        await self.state.close()
        await self.twin.close()


def in_memory() -> Counters:
    clock = HandClock()
    state = MemoryState(clock)
    return Counters(state, clock, state)


def on_valkey(server: Valkey, *, prefix: str | None = None) -> Counters:
    prefix = prefix or uuid.uuid4().hex
    one, other = (RedisState(Address(server.url), prefix=prefix, timeout=10) for _ in range(2))
    return Counters(one, None, other)


async def all_remaining(state: SharedState, limits: Sequence[Limit]) -> list[int]:
    """What each limit leaves, without drawing on it: the costs must be zero."""
    return [standing.remaining for standing in (await state.take(limits)).standings]
