"""Whose turn it is, of those who wait for one engine.

Start-time fair queueing (Goyal, Vin, Cheng 1996) with as many servers as there are slots (Jin, Chase, Kaur 2004). Each
key is a flow f of weight w. The start tag of its next request is

    S = max(v, F)        F = S + c / w

with F the finish tag of its last one, v the virtual time, which is the start tag of the request that was let in last,
and c what a request costs: one at first, and when its slot is given back, the time for which it was held in units of
the average. Who has the least start tag goes first. A key that asks little waits for at most one answer of each other
key, however much these ask (Demers, Keshav, Shenker 1989). Within a key it is first come, first served.
"""

from __future__ import annotations

from typing import Generic, TypeVar

MOST_COST = 100.0
"""Average answers that one counts for at most."""
MOST_IDLE = 64
"""Keys without a request that are remembered without a look at whether that is needful."""

T = TypeVar("T")


class Flow(Generic[T]):
    """The requests of one key."""

    __slots__ = ("key_id", "running", "start", "waiting", "weight")

    def __init__(self, key_id: str | None, start: float, weight: float) -> None:
        self.key_id = key_id
        self.start = start
        """Start tag of the next that is let in."""
        self.weight = weight
        self.waiting: dict[T, None] = {}
        """In the order in which they came."""
        self.running = 0

    @property
    def following(self) -> float:
        """Start tag of one that came now."""
        return self.start + len(self.waiting) / self.weight

    @property
    def last(self) -> float:
        """Start tag of the last that waits."""
        return self.start + (len(self.waiting) - 1) / self.weight


class FairOrder(Generic[T]):
    """Those who wait, and what each key has had."""

    def __init__(self) -> None:
        self.waiting = 0
        self._now = 0.0  # the virtual time
        self._flows: dict[str | None, Flow[T]] = {}
        self._running = 0

    def flow(self, key_id: str | None, weight: float) -> Flow[T]:
        """Of a key one of whose requests comes now."""
        flow = self._flows.get(key_id)
        if flow is None:
            if len(self._flows) > MOST_IDLE + 2 * (self.waiting + self._running):
                self._flows = {one.key_id: one for one in self._flows.values() if self._matters(one)}
            flow = self._flows[key_id] = Flow(key_id, self._now, weight)
        elif not flow.waiting:
            flow.start = max(flow.start, self._now)
        flow.weight = weight
        return flow

    def forget(self, flow: Flow[T]) -> None:
        """Keep nothing of a key that owes nothing."""
        if not self._matters(flow) and self._flows.get(flow.key_id) is flow:
            del self._flows[flow.key_id]

    def ahead(self, key_id: str | None, weight: float) -> int:
        """How many would go before a request of this key that came now."""
        own = self._flows.get(key_id)
        tag = self._now if own is None else max(self._now, own.start) + len(own.waiting) / weight
        count = 0
        for flow in self._flows.values():
            waiting = len(flow.waiting)
            if flow is own:
                count += waiting
            elif waiting and flow.start <= tag:
                count += min(waiting, 1 + int((tag - flow.start) * flow.weight))
        return count

    def add(self, flow: Flow[T], request: T) -> None:
        flow.waiting[request] = None
        self.waiting += 1

    def remove(self, flow: Flow[T], request: T) -> bool:
        """Take out one that waits no longer; returns whether it did."""
        if request not in flow.waiting:
            return False
        del flow.waiting[request]
        self.waiting -= 1
        return True

    def next(self) -> T:
        """Take out the one whose turn it is. Somebody must wait."""
        flow = min((one for one in self._flows.values() if one.waiting), key=lambda one: one.start)
        request = next(iter(flow.waiting))
        self.remove(flow, request)
        return request

    def behind(self, flow: Flow[T]) -> T | None:
        """Take out the one who would be let in last, which is the last of the key that has most of the queue for its
        weight; None: that would be one more of this flow."""
        most = max((one for one in self._flows.values() if one.waiting), key=lambda one: one.last, default=None)
        if most is None or most.last <= flow.following:
            return None
        request = next(reversed(most.waiting))
        self.remove(most, request)
        return request

    def began(self, flow: Flow[T]) -> None:
        """One of its requests is let in."""
        self._now = flow.start = max(flow.start, self._now)
        flow.start += 1.0 / flow.weight
        flow.running += 1
        self._running += 1

    def ended(self, flow: Flow[T], cost: float) -> None:
        """One of them is over.

        Args:
            cost: the time for which its slot was held, in units of the average.
        """
        flow.start += (min(cost, MOST_COST) - 1.0) / flow.weight
        flow.running -= 1
        self._running -= 1
        self.forget(flow)
        if not self._running and not self.waiting:  # what keys owe is forgotten when the engine is idle
            self._flows.clear()
            self._now = 0.0

    def _matters(self, flow: Flow[T]) -> bool:
        """Whether anything would be different without it: a key that has had more than others still owes that."""
        return bool(flow.waiting) or flow.running > 0 or flow.start > self._now
