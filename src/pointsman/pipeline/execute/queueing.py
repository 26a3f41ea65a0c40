"""A queue before an engine: bounded, fair between keys, and short enough that who is let in is answered in time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import msgspec

from pointsman.core.errors import Overloaded
from pointsman.core.ports import Clock
from pointsman.core.queueing import Claim, QueueStanding

from .fairness import FairOrder, Flow

GUESS_SECONDS = 2.0
"""For how long a slot is taken to be held before any has been given back."""
NEWEST = 0.2
"""Weight of the newest answer in the running average."""
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


class _Turn:
    """A place in the queue, and then a slot."""

    __slots__ = ("began", "flow", "granted")

    def __init__(self, flow: Flow[_Turn]) -> None:
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
        self.refused: Counter[str] = Counter()
        self._rules = rules
        self._slots = slots
        self._clock = clock
        self._weight = weight
        self._order: FairOrder[_Turn] = FairOrder()
        self._running: set[_Turn] = set()
        self._window: asyncio.TimerHandle | None = None

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return self._order.waiting

    @property
    def slots(self) -> int:
        return self._rules.slots if self._slots is None else max(1, self._slots())

    def adjust(self, rules: LineRules, slots: Callable[[], int] | None = None) -> None:
        """New rules; whoever waits goes on waiting."""
        self._rules, self._slots = rules, slots
        self._let_in()

    def look_again(self) -> None:
        """There may be more slots than there were."""
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
        return self._expected(self._order.ahead(key_id, self._weight(tier)), slots)

    async def enter(self, claim: Claim) -> Callable[[], None]:
        """Wait for a slot; returns what gives it back, to be called once. Whoever is cancelled meanwhile leaves the
        queue at once.

        Raises:
            Overloaded: the queue is full, the wait is or was too long, or somebody who has less of the queue took the
                place.
        """
        slots, order = self.slots, self._order
        weight = self._weight(claim.tier)
        flow = order.flow(claim.key_id, weight)
        turn = _Turn(flow)
        if self.running < slots and not self.waiting and not self._rules.batch_window:
            self._grant(turn)
            return partial(self._leave, turn)
        now = self._clock.monotonic()
        most = min(self._rules.seconds, claim.deadline - now)
        if self.running + self.waiting >= slots:
            wait = self._expected(order.ahead(claim.key_id, weight), slots)
            if wait > most:
                order.forget(flow)
                raise self._refusal(
                    "late",
                    f"It would take about {wait:.0f} s until this is begun, and {max(0.0, most):.0f} s may be waited.",
                    wait - most,
                )
        if self.waiting >= self._rules.queue + max(0, slots - self.running):
            self._make_room(flow)
        turn.granted = asyncio.get_running_loop().create_future()
        order.add(flow, turn)
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
            order.forget(flow)
        return partial(self._leave, turn)

    def _leave(self, turn: _Turn) -> None:
        """Give a slot back that was used."""
        held = self._clock.monotonic() - turn.began
        cost = held / max(self.average_seconds, 1e-6)
        self.average_seconds += NEWEST * (held - self.average_seconds)
        self._free(turn, cost)

    def _free(self, turn: _Turn, cost: float) -> None:
        self._running.remove(turn)
        self._order.ended(turn.flow, cost)
        self._let_in()

    def _expected(self, before: int, slots: int) -> float:
        """Seconds until one gets a slot before whom so many wait. An answer that has lasted longer than the average is
        taken to last as long again: an engine that hangs must not look quick."""
        average, now = max(self.average_seconds, 1e-6), self._clock.monotonic()
        freed = sum(1.0 / max(average, now - turn.began) for turn in self._running)
        freed += max(0, slots - self.running) / average
        return (before + 1) / freed

    def _make_room(self, flow: Flow[_Turn]) -> None:
        """Send away the one who would be let in last.

        Raises:
            Overloaded: that is the one who comes.
        """
        full = f"{self._told()}, which is as many as may"
        displaced = self._order.behind(flow)
        if displaced is None:
            self._order.forget(flow)
            raise self._refusal("full", f"{full}; try again shortly.", self._expected(0, self.slots))
        assert displaced.granted is not None
        if not displaced.granted.done():
            message = f"{full}, and most of them are yours; try again shortly."
            wait = self._expected(len(displaced.flow.waiting), self.slots)
            displaced.granted.set_exception(self._refusal("displaced", message, wait))

    def _let_in(self, *, over: bool = False) -> None:
        """Give free slots to those who wait.

        Args:
            over: the window in which more could come is over.
        """
        slots = self.slots
        if not self.waiting or (not over and self._holds_back(slots)):
            return
        while self.waiting and self.running < slots:
            turn = self._order.next()
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
        self._order.began(turn.flow)
        self._running.add(turn)
        turn.began = self._clock.monotonic()

    def _quit(self, turn: _Turn) -> None:
        """Somebody waits no longer: makes room, or gives back a slot that came too late to be used."""
        assert turn.granted is not None
        if turn in self._running:
            self._free(turn, cost=0.0)
        elif not self._order.remove(turn.flow, turn) and turn.granted.done() and not turn.granted.cancelled():
            turn.granted.exception()  # it has been told, whether or not anybody heard
        if not self.waiting:
            self._close()

    def _told(self) -> str:
        return f"{self.running} answers are being written and {self.waiting} requests wait for this engine"

    def _refusal(self, why: str, message: str, seconds: float) -> Overloaded:
        self.refused[why] += 1
        return Overloaded(message, retry_after=min(max(LEAST_RETRY, seconds), LONGEST_RETRY))
