"""A queue before an engine: bounded, fair between keys, and short enough that who is let in is answered in time.

Start-time fair queueing (Goyal, Vin, Cheng 1996) with as many servers as there are slots (Jin, Chase, Kaur 2004). Each
key is a flow f of weight w. The start tag of its next request is

    S = max(v, F)        F = S + c / w

with F the finish tag of its last one, v the virtual time, which is the start tag of the request that was let in last,
and c what a request costs: one at first, and when its slot is given back, the time for which it was held in units of
the average. Who has the least start tag goes first. A key that asks little waits for at most one answer of each other
key, however much these ask (Demers, Keshav, Shenker 1989). Within a key it is first come, first served.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import msgspec

from pointsman.core.errors import Overloaded
from pointsman.core.ports import Clock
from pointsman.core.queueing import Claim, QueueStanding

GUESS_SECONDS = 2.0
"""For how long a slot is taken to be held before any has been given back."""
NEWEST = 0.2
"""Weight of the newest answer in the running average."""
MOST_COST = 100.0
"""Average answers that one counts for at most."""
MOST_IDLE = 64
"""Keys without a request that are remembered without a look at whether that is needful."""
LEAST_RETRY, LONGEST_RETRY = 1.0, 120.0


class LineRules(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an engine, and how long its queue may be."""

    slots: int
    """Answers at the same time."""
    queue: int = 64
    """Requests that may wait; 0 refuses whatever cannot start at once."""
    seconds: float = 120.0
    """For how long one may wait."""
    batch_window: float = 0.0
    """Seconds for which an idle engine waits for more after the first arrival, so that they start together."""


class _Flow:
    """The requests of one key."""

    __slots__ = ("key_id", "running", "start", "waiting", "weight")

    def __init__(self, key_id: str | None, start: float, weight: float) -> None:
        self.key_id = key_id
        self.start = start
        """Start tag of the next that is let in."""
        self.weight = weight
        self.waiting: dict[_Turn, None] = {}
        """In the order in which they came."""
        self.running = 0

    @property
    def last(self) -> float:
        """Start tag of the last that waits."""
        return self.start + (len(self.waiting) - 1) / self.weight


class _Turn:
    """A place in the queue, and then a slot."""

    __slots__ = ("began", "flow", "granted")

    def __init__(self, flow: _Flow) -> None:
        self.flow = flow
        self.began = 0.0
        """When it got its slot."""
        self.granted: asyncio.Future[None] | None = None
        """None: it never waited."""


class Line:
    """The slots of one engine and the queue before them. Not for several threads.

    Args:
        rules: may be replaced at any time, through `adjust`.
        slots: how many there are now, where that changes, as with servers that come and go; None: as the rules say.
        weight: a tier's weight.
    """

    def __init__(
        self,
        engine: str,
        rules: LineRules,
        *,
        clock: Clock,
        weight: Callable[[str | None], float] = lambda tier: 1.0,
        slots: Callable[[], int] | None = None,
    ) -> None:
        self.engine = engine
        self.average_seconds = GUESS_SECONDS
        self.waiting = 0
        self.refused: Counter[str] = Counter()
        self._rules = rules
        self._slots = slots
        self._clock = clock
        self._weight = weight
        self._flows: dict[str | None, _Flow] = {}
        self._now = 0.0  # the virtual time
        self._running: set[_Turn] = set()
        self._window: asyncio.TimerHandle | None = None

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def slots(self) -> int:
        return self._rules.slots if self._slots is None else max(1, self._slots())

    def adjust(self, rules: LineRules, slots: Callable[[], int] | None = None) -> None:
        """New rules; whoever waits goes on waiting."""
        self._rules, self._slots = rules, slots
        self._let_in()

    def end(self) -> None:
        """There is no queue any more: whoever waits may go."""
        self.adjust(LineRules(slots=max(1, self.running + self.waiting)))

    def standing(self) -> QueueStanding:
        return QueueStanding(
            engine=self.engine,
            slots=self.slots,
            running=self.running,
            waiting=self.waiting,
            average_seconds=self.average_seconds,
            refused=dict(self.refused),
        )

    def wait(self, key_id: str | None, tier: str | None) -> float:
        """Seconds that a request which came now would be expected to wait; 0: a slot is free."""
        slots = self.slots
        if self.running + self.waiting < slots:
            return 0.0
        flow = self._flows.get(key_id)
        if flow is None:
            return self._expected(self._before(self._now, None), slots)
        tag = max(self._now, flow.start) + len(flow.waiting) / self._weight(tier)
        return self._expected(self._before(tag, flow), slots)

    async def enter(self, claim: Claim) -> Callable[[], None]:
        """Wait for a slot; returns what gives it back, to be called once. Whoever is cancelled meanwhile leaves the
        queue at once.

        Raises:
            Overloaded: the queue is full, the wait is or was too long, or somebody who has less of the queue took the
                place.
        """
        slots = self.slots
        flow = self._flow(claim)
        turn = _Turn(flow)
        if self.running < slots and not self.waiting and not self._rules.batch_window:
            self._grant(turn)
            return partial(self._leave, turn)
        now = self._clock.monotonic()
        most = min(self._rules.seconds, claim.deadline - now)
        tag = flow.start + len(flow.waiting) / flow.weight
        if self.running + self.waiting >= slots:
            wait = self._expected(self._before(tag, flow), slots)
            if wait > most:
                self._forget(flow)
                raise self._refusal(
                    "late",
                    f"It would take about {wait:.0f} s until this is begun, and {max(0.0, most):.0f} s may be waited.",
                    wait - most,
                )
        if self.waiting >= self._rules.queue + max(0, slots - self.running):
            self._make_room(tag, flow)
        turn.granted = asyncio.get_running_loop().create_future()
        flow.waiting[turn] = None
        self.waiting += 1
        self._let_in()
        try:
            async with asyncio.timeout(most):
                await turn.granted
        except TimeoutError:
            self._quit(turn)
            refusal = self._refusal("timeout", f"No slot became free within {most:.0f} s.", self._expected(0, slots))
            raise refusal from None
        except BaseException:
            self._quit(turn)
            raise
        finally:
            self._forget(flow)
        return partial(self._leave, turn)

    def _leave(self, turn: _Turn) -> None:
        """Give a slot back that was used."""
        held = self._clock.monotonic() - turn.began
        turn.flow.start += (min(held / max(self.average_seconds, 1e-6), MOST_COST) - 1.0) / turn.flow.weight
        self.average_seconds += NEWEST * (held - self.average_seconds)
        self._free(turn)

    def _free(self, turn: _Turn) -> None:
        self._running.remove(turn)
        turn.flow.running -= 1
        self._forget(turn.flow)
        self._let_in()
        if not self._running and not self.waiting:
            self._flows.clear()
            self._now = 0.0

    def _flow(self, claim: Claim) -> _Flow:
        flow = self._flows.get(claim.key_id)
        weight = self._weight(claim.tier)
        if flow is None:
            if len(self._flows) > MOST_IDLE + 2 * (self.waiting + self.running):
                self._flows = {one.key_id: one for one in self._flows.values() if self._matters(one)}
            flow = self._flows[claim.key_id] = _Flow(claim.key_id, self._now, weight)
        elif not flow.waiting:
            flow.start = max(flow.start, self._now)
        flow.weight = weight
        return flow

    def _matters(self, flow: _Flow) -> bool:
        """Whether anything would be different without it: a key that has had more than others still owes that."""
        return bool(flow.waiting) or flow.running > 0 or flow.start > self._now

    def _forget(self, flow: _Flow) -> None:
        if not self._matters(flow) and self._flows.get(flow.key_id) is flow:
            del self._flows[flow.key_id]

    def _before(self, tag: float, own: _Flow | None) -> int:
        """How many of those who wait go before one with this start tag."""
        count = 0
        for flow in self._flows.values():
            waiting = len(flow.waiting)
            if flow is own:
                count += waiting
            elif waiting and flow.start <= tag:
                count += min(waiting, 1 + int((tag - flow.start) * flow.weight))
        return count

    def _expected(self, before: int, slots: int) -> float:
        """Seconds until one gets a slot before whom so many wait. An answer that has lasted longer than the average is
        taken to last as long again: an engine that hangs must not look quick."""
        average, now = max(self.average_seconds, 1e-6), self._clock.monotonic()
        freed = sum(1.0 / max(average, now - turn.began) for turn in self._running)
        freed += max(0, slots - self.running) / average
        return (before + 1) / freed

    def _make_room(self, tag: float, flow: _Flow) -> None:
        """Send away the one who would be let in last, which is the last of the key that has most of the queue for its
        weight.

        Raises:
            Overloaded: that is the one who comes.
        """
        most = max((one for one in self._flows.values() if one.waiting), key=lambda one: one.last, default=None)
        if most is None or most.last <= tag:
            self._forget(flow)
            raise self._refusal(
                "full", f"{self._told()}, which is as many as may; try again shortly.", self._expected(0, self.slots)
            )
        displaced = next(reversed(most.waiting))
        del most.waiting[displaced]
        self.waiting -= 1
        assert displaced.granted is not None
        if not displaced.granted.done():
            displaced.granted.set_exception(
                self._refusal(
                    "displaced",
                    f"{self._told()}, which is as many as may, and most of them are yours; try again shortly.",
                    self._expected(len(most.waiting), self.slots),
                )
            )

    def _let_in(self, *, over: bool = False) -> None:
        """Give free slots to those who wait.

        Args:
            over: the window in which more could come is over.
        """
        slots = self.slots
        if not self.waiting or (not over and self._holds_back(slots)):
            return
        while self.waiting and self.running < slots:
            flow = min((one for one in self._flows.values() if one.waiting), key=lambda one: one.start)
            turn = next(iter(flow.waiting))
            del flow.waiting[turn]
            self.waiting -= 1
            assert turn.granted is not None
            if not turn.granted.done():  # else it was cancelled, and has yet to hear of it
                self._grant(turn)
                turn.granted.set_result(None)

    def _holds_back(self, slots: int) -> bool:
        """Whether those who wait are kept until more have come."""
        window = self._rules.batch_window
        if self._window is None and window and not self._running and self.waiting < slots:
            self._window = asyncio.get_running_loop().call_later(window, self._open)
        elif self._window is not None and self.waiting >= slots:
            self._close()
        return self._window is not None

    def _open(self) -> None:
        self._window = None
        self._let_in(over=True)

    def _close(self) -> None:
        if self._window is not None:
            self._window.cancel()
            self._window = None

    def _grant(self, turn: _Turn) -> None:
        flow = turn.flow
        self._now = flow.start = max(flow.start, self._now)
        flow.start += 1.0 / flow.weight
        flow.running += 1
        self._running.add(turn)
        turn.began = self._clock.monotonic()

    def _quit(self, turn: _Turn) -> None:
        """Somebody waits no longer: makes room, or gives back a slot that came too late to be used."""
        assert turn.granted is not None
        if turn in turn.flow.waiting:
            del turn.flow.waiting[turn]
            self.waiting -= 1
        elif turn in self._running:
            turn.flow.start -= 1.0 / turn.flow.weight
            self._free(turn)
        elif turn.granted.done() and not turn.granted.cancelled():
            turn.granted.exception()  # it has been told, whether or not anybody heard
        if not self.waiting:
            self._close()

    def _told(self) -> str:
        return f"{self.running} answers are being written and {self.waiting} requests wait for this engine"

    def _refusal(self, why: str, message: str, seconds: float) -> Overloaded:
        self.refused[why] += 1
        return Overloaded(message, retry_after=min(max(LEAST_RETRY, seconds), LONGEST_RETRY))
