"""Limits, budgets and nonces of a single process. Nothing here waits, so every method is one atomic step."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from pointsman.core.ports import Clock, Health, SystemClock
from pointsman.core.shared import Amount, Bucket, Lapsed, Limit, Reserved, Seen, Taken, Window

from .limit_rules import (
    EXACT,
    KEEP_BUCKET,
    KEEP_TOTAL,
    SHORTEST_TOTAL,
    WindowKey,
    check_amounts,
    check_sums,
    judge,
    settled_deltas,
)
from .steady_clock import SteadyClock

Value = TypeVar("Value")


class MemoryState:
    """The `SharedState` of a gateway that shares with nobody; gone when the process ends.

    Windows, totals and nonces follow the wall clock, which never goes back here (`SteadyClock`); buckets, leases and
    what is seen once follow the monotonic clock.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self._monotonic = clock.monotonic
        self._wall = SteadyClock(clock.now, clock.monotonic)
        self._begun = self._wall.now()
        self._buckets: Shelf[str, tuple[float, float]] = Shelf()  # level, at
        self._windows: Shelf[WindowKey, tuple[int, int]] = Shelf()  # number of the window, count
        self._totals: Shelf[str, int] = Shelf()
        self._once: Shelf[str, bool] = Shelf()
        self._owners: OrderedDict[str, Names] = OrderedDict()
        self._reservations: dict[str, tuple[float, dict[str, int]]] = {}  # lease's end, amounts

    @property
    def memory(self) -> bytes:
        return b"%d" % id(self)

    def now(self) -> float:
        return self._wall.now()

    async def take(self, limits: Sequence[Limit]) -> Taken:
        now, tick = self._wall.now(), self._monotonic()
        found = [self._level(limit, tick) if isinstance(limit, Bucket) else self._count(limit, now) for limit in limits]
        taken, work = judge(limits, found, now)
        if taken.ok:
            for limit in limits:
                if isinstance(limit, Bucket):
                    self._put_level(limit, work[limit.key], tick)
                else:
                    self._put_count(limit, int(work[limit.seconds, limit.key]), now)
        return taken

    async def charge(self, limits: Sequence[Limit]) -> None:
        now, tick = self._wall.now(), self._monotonic()
        for limit in limits:
            if isinstance(limit, Bucket):
                self._put_level(limit, min(limit.capacity, self._level(limit, tick) - limit.cost), tick)
            else:
                self._put_count(limit, max(0, self._count(limit, now) + limit.cost), now)

    async def reserve(self, reservation: str, amounts: Sequence[Amount], *, lease_seconds: float) -> Reserved:
        check_amounts(amounts)
        now = self._wall.now()
        self._totals.sweep(now)
        known = {amount.total: self._totals.get(amount.total, now) for amount in amounts}
        totals = {name: value for name, value in known.items() if value is not None}
        if reservation in self._reservations:
            return Reserved(ok=True, totals=totals)
        if len(totals) < len(known):
            return Reserved(ok=False, unseeded=tuple(name for name in known if name not in totals), totals=totals)
        raised = dict(totals)
        for amount in amounts:
            total = raised[amount.total] + amount.micro_usd
            cap = EXACT if amount.cap_micro_usd is None else min(EXACT, amount.cap_micro_usd)
            if amount.micro_usd and total > cap:
                return Reserved(ok=False, refused=amount.total, totals=totals)
            raised[amount.total] = total
        for name, total in raised.items():
            self._totals.change(name, total)
        reserved = {name: total - totals[name] for name, total in raised.items()}
        self._reservations[reservation] = (self._monotonic() + lease_seconds, reserved)
        return Reserved(ok=True, totals=raised)

    async def settle(self, reservation: str, actual: Mapping[str, int]) -> bool:
        check_sums(actual.values())
        held = self._reservations.pop(reservation, None)
        if held is None:
            return False
        self._add(settled_deltas(held[1], actual))
        return True

    async def adjust(self, deltas: Mapping[str, int]) -> None:
        check_sums(deltas.values())
        self._add(deltas)

    async def seed(self, totals: Mapping[str, int], *, expires_at: float) -> None:
        check_sums(totals.values())
        now = self._wall.now()
        until = max(expires_at + KEEP_TOTAL, now + SHORTEST_TOTAL)
        for name, value in totals.items():
            if self._totals.get(name, now) is None:
                self._totals.put(name, value, until)

    async def totals(self, names: Sequence[str]) -> dict[str, int | None]:
        now = self._wall.now()
        return {name: self._totals.get(name, now) for name in names}

    async def take_lapsed(self, limit: int = 100) -> list[Lapsed]:
        tick = self._monotonic()
        # A scan: only what is under way now is held here, and this is asked every few seconds at most.
        late = sorted(
            (end, name.encode(errors="surrogatepass"), name)
            for name, (end, _) in self._reservations.items()
            if end <= tick
        )
        return [
            Lapsed(
                reservation=name,
                amounts=tuple(
                    Amount(total=total, micro_usd=value) for total, value in self._reservations.pop(name)[1].items()
                ),
            )
            for _, _, name in late[:limit]
        ]

    async def once(self, key: str, *, seconds: float) -> bool:
        tick = self._monotonic()
        self._once.sweep(tick)
        if self._once.get(key, tick) is not None:
            return False
        self._once.put(key, True, tick + seconds)
        return True

    async def once_of(self, owner: str, name: str, *, at: int, seconds: float, most: int) -> Seen:
        before = self._wall.now() - seconds
        own = self._owners.get(owner)
        if own is None:
            own = self._owners[owner] = Names()
        own.sweep(before)
        seen = own.see(name, at, most)
        other = next(iter(self._owners))  # in turn, so that nothing stays of who asks no more
        self._owners.move_to_end(other)
        if self._owners[other].sweep(before):
            del self._owners[other]
        return seen

    def once_since(self) -> float:
        return self._begun

    def held(self) -> int:
        """How many entries are kept, reservations included."""
        shelves = (self._buckets, self._windows, self._totals, self._once)
        names = sum(map(len, self._owners.values()))
        return len(self._reservations) + names + sum(len(shelf) for shelf in shelves)

    async def ping(self) -> None:
        return

    async def health(self) -> Health:
        return Health(ok=True, detail="in this process")

    async def close(self) -> None:
        return

    def _level(self, limit: Bucket, tick: float) -> float:
        known = self._buckets.get(limit.key, tick)
        if known is None:
            return limit.capacity
        level, at = known
        return min(limit.capacity, level + (tick - at) * limit.refill)

    def _put_level(self, limit: Bucket, level: float, tick: float) -> None:
        missing = limit.capacity - level
        seconds = min(KEEP_BUCKET, missing / limit.refill) if limit.refill > 0 else KEEP_BUCKET
        if missing <= 0:
            seconds = 0.0  # an unknown bucket is a full one
        self._buckets.sweep(tick)
        self._buckets.put(limit.key, (level, tick), tick + seconds)

    def _count(self, limit: Window, now: float) -> int:
        known = self._windows.get((limit.seconds, limit.key), now)
        return known[1] if known is not None and known[0] == now // limit.seconds else 0

    def _put_count(self, limit: Window, count: int, now: float) -> None:
        number = int(now // limit.seconds)
        self._windows.sweep(now)
        self._windows.put((limit.seconds, limit.key), (number, count), (number + 1) * limit.seconds)

    def _add(self, deltas: Mapping[str, int]) -> None:
        now = self._wall.now()
        for name, delta in deltas.items():
            value = self._totals.get(name, now)
            if value is not None:
                self._totals.change(name, value + delta)


class Names:
    """Those of one owner that were seen."""

    __slots__ = ("_forgotten", "_queue", "_seen")

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._queue: list[tuple[int, str]] = []
        """The same, by when they were made."""
        self._forgotten = -1
        """When the last was made of those that were forgotten for want of room."""

    def __len__(self) -> int:
        return len(self._seen)

    def see(self, name: str, at: int, most: int) -> Seen:
        if at <= self._forgotten:
            return "unknown"
        if name in self._seen:
            return "again"
        self._seen.add(name)
        heapq.heappush(self._queue, (at, name))
        if len(self._seen) > most:
            self._forgotten = self._pop()
        return "first"

    def sweep(self, before: float, most: int = 4) -> bool:
        """Let go of some that were made before then, in seconds since the epoch; returns whether nothing is left."""
        while self._queue and self._queue[0][0] < before and most:
            self._pop()
            most -= 1
        return not self._queue and self._forgotten < before

    def _pop(self) -> int:
        at, name = heapq.heappop(self._queue)
        self._seen.discard(name)
        return at


Key = TypeVar("Key", str, WindowKey)


class Shelf(Generic[Key, Value]):
    """Entries that go when their time is up: a few at each sweep, so that no call pays for all of them."""

    __slots__ = ("_entries", "_queue")

    def __init__(self) -> None:
        self._entries: dict[Key, tuple[Value, float]] = {}
        self._queue: list[tuple[float, Key]] = []
        """One for each entry: a time at which to look whether it may go."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, now: float) -> Value | None:
        entry = self._entries.get(key)
        return entry[0] if entry is not None and entry[1] > now else None

    def put(self, key: Key, value: Value, until: float) -> None:
        if key not in self._entries:
            heapq.heappush(self._queue, (until, key))
        self._entries[key] = (value, until)

    def change(self, key: Key, value: Value) -> None:
        """Another value for an entry that is there, which stays as long."""
        self._entries[key] = (value, self._entries[key][1])

    def sweep(self, now: float, most: int = 4) -> None:
        queue = self._queue
        while queue and queue[0][0] <= now and most:
            key = queue[0][1]
            until = self._entries[key][1]
            if until <= now:
                heapq.heappop(queue)
                del self._entries[key]
            else:
                heapq.heapreplace(queue, (until, key))
            most -= 1
