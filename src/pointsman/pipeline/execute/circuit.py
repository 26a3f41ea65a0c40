"""One circuit: closed while all is well, open for a while after too many failures, then half open for a few probes.

A model's circuit counts how its calls fared in a sliding window; a provider's hears of calls that could not reach it.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Literal

import msgspec

State = Literal["closed", "half-open", "open"]
Scope = Literal["model", "provider"]

BUCKETS = 10
"""Parts of a window that go at once."""

UP, DOWN = 1.0475, 0.9975
"""What the usual time is multiplied by after a longer and after a shorter one. It comes to rest where
P(longer) × ln UP = P(shorter) × −ln DOWN, which is 5.1 % longer ones: the 95th percentile."""

LEARNED = 30
"""Calls after which the usual time is known."""

BUSY = 2.0
"""Seconds after which it is worth to ask again while all probes are under way."""


class BreakerRules(msgspec.Struct, frozen=True, kw_only=True):
    """When a circuit opens, for how long, and what closes it. `settings.BreakerSettings` says what each is."""

    enabled: bool = True
    window: float = 60.0
    min_errors: int = 5
    error_rate: float = 0.5
    slow_rate: float = 0.9
    slow_factor: float = 5.0
    slow_seconds: float = 10.0
    slow_beyond: float | None = None
    connect_errors: int = 3
    open_seconds: float = 5.0
    max_open_seconds: float = 300.0
    probes: int = 2
    probe_seconds: float = 30.0


class Circuit:
    """The states. Times are seconds of the clock that never jumps."""

    __slots__ = (
        "closed_at",
        "leases",
        "level",
        "name",
        "openings",
        "passed",
        "scope",
        "spell",
        "unreached",
        "until",
        "why",
    )

    def __init__(self, scope: Scope, name: str) -> None:
        self.scope: Scope = scope
        self.name = name
        self.until = 0.0
        """Until when it is open; it is half open from then on, and closed at 0."""
        self.level = 0
        """How many times its shortest time is doubled."""
        self.spell = 0.0
        """Seconds of the last opening."""
        self.why = ""
        self.closed_at = -inf
        self.leases: list[float] = []
        """Until when each probe under way holds its place: one that is never told of must not hold it for ever."""
        self.passed = 0
        """Probes that went well since it was open."""
        self.openings = 0
        self.unreached = False
        """Whether it opened because the provider could not be reached. A provider's is then closed by reaching it,
        however its model fares."""

    def state(self, now: float) -> State:
        if not self.until:
            return "closed"
        return "open" if now < self.until else "half-open"

    def left(self, now: float, rules: BreakerRules) -> float:
        """0: a call may pass now. Otherwise the seconds until one is likely to."""
        if not self.until:
            return 0.0
        if now < self.until:
            return self.until - now
        if len(self.leases) < rules.probes:
            return 0.0
        self.leases = [end for end in self.leases if end > now]
        if len(self.leases) < rules.probes:
            return 0.0
        return min(BUSY, min(self.leases) - now)

    def probe(self, now: float, rules: BreakerRules) -> None:
        """Take a probe's place, which `left` has found."""
        self.leases.append(now + rules.probe_seconds)

    def open(self, now: float, why: str, rules: BreakerRules, jitter: float) -> None:
        """Open: for twice as long as before after a probe that failed, up to the longest. When it was closed not long
        ago, for half as long as before, since some calls went well; otherwise for the shortest time.

        Args:
            jitter: what the time is multiplied by, so that replicas do not all probe at once.
        """
        if self.until:
            self.level += 1
        elif now - self.closed_at <= rules.window:
            self.level = max(0, self.level - 1)
        else:
            self.level = 0
        self.openings += 1
        longest = rules.max_open_seconds
        self.spell = min(longest, rules.open_seconds * 2.0 ** min(self.level, 30)) * jitter
        self._open_until(now + self.spell, why)

    def adopt(self, until: float, why: str, level: int, *, unreached: bool) -> None:
        """Be open as another replica's is, or as long as it is already."""
        self.level, self.unreached = max(self.level, level), unreached
        self._open_until(max(self.until, until), why)

    def _open_until(self, until: float, why: str) -> None:
        self.until, self.why = until, why
        self.leases, self.passed = [], 0

    def close(self, now: float) -> None:
        self.until, self.why, self.closed_at = 0.0, "", now
        self.leases, self.passed = [], 0

    def probed(self, now: float, good: bool | None, rules: BreakerRules) -> State | None:
        """A call has ended while the circuit was not closed; None: nothing was learned. Returns what is to be done:
        closing it or opening it again. What was begun before the opening is not told apart from a probe, but says
        nothing while no probe is under way."""
        if now < self.until or not self.leases:
            return None
        self.leases.pop(0)
        if good is None:
            return None
        if not good:
            return "open"
        self.passed += 1
        return "closed" if self.passed >= rules.probes else None


class ProviderCircuit(Circuit):
    """Opens when its provider cannot be reached, or when several of its models fail."""

    __slots__ = ("missed_at", "models", "streak")

    def __init__(self, name: str) -> None:
        super().__init__("provider", name)
        self.models: dict[str, ModelCircuit] = {}
        self.streak = 0
        """Calls in a row that could not reach it."""
        self.missed_at = -inf

    def missed(self, now: float, rules: BreakerRules) -> str | None:
        """A call could not reach it; why it is to open now, or None."""
        self.streak = self.streak + 1 if now - self.missed_at <= rules.window else 1
        self.missed_at = now
        if self.streak < rules.connect_errors:
            return None
        return f"{self.streak} calls in a row could not reach {self.name}"

    def failing(self, now: float, rules: BreakerRules) -> str | None:
        """Why it is to open, as two of its models have opened for failures and most of all its calls fail; or None."""
        if sum(1 for model in self.models.values() if model.until and not model.by_slowness) < 2:
            return None
        calls = errors = 0
        for model in self.models.values():
            model.turn(now, rules)
            calls += model.calls
            errors += model.errors
        if not calls or errors < rules.error_rate * calls:
            return None
        return f"several of its models fail, {errors} of {calls} calls in {rules.window:g} s"


class ModelCircuit(Circuit):
    """Counts calls in a window of time, and knows how long the model usually takes to begin its answer."""

    __slots__ = (
        "_counts", "_errors", "_full_at", "_parts", "_slow", "_taught", "_tick", "_width", "by_slowness", "calls",
        "errors", "known", "provider", "slow", "slow_from", "usual",
    )  # fmt: skip

    def __init__(self, name: str, provider: ProviderCircuit) -> None:
        super().__init__("model", name)
        self.provider = provider
        self.by_slowness = False
        self.usual = 0.0
        """Seconds to the first byte, 95th percentile."""
        self.known = 0
        self.slow_from = inf
        """Seconds to the first byte beyond which a call is slow."""
        self._width = 0.0
        """Seconds of a bucket."""
        self._taught = -1
        """The bucket in which a slow call has taught last."""
        self.forget()

    def forget(self) -> None:
        """Begin the window anew."""
        self.calls = self.errors = self.slow = 0  # in the buckets that are full
        self._parts: deque[tuple[int, int, int]] = deque()
        self._counts = self._errors = self._slow = 0  # in the one that is being filled
        self._tick = -1
        self._full_at = -inf
        """When the bucket that is being filled ends."""

    def turn(self, now: float, rules: BreakerRules) -> None:
        """Let the window slide to now and count what lies in it."""
        width = rules.window / BUCKETS
        if width != self._width:
            self._width = width
            self.forget()
        tick = int(now / width)
        gone = tick - self._tick
        if gone >= BUCKETS:
            self.forget()
            self._tick, self._full_at = tick, (tick + 1) * width
            return
        if gone > 0:
            self._tick, self._full_at = tick, (tick + 1) * width
            self._parts.append((self._counts, self._errors, self._slow))
            self._parts.extend(((0, 0, 0),) * (gone - 1))
            while len(self._parts) >= BUCKETS:
                self._parts.popleft()
            self._counts = self._errors = self._slow = 0
        self.calls = self._counts + sum(part[0] for part in self._parts)
        self.errors = self._errors + sum(part[1] for part in self._parts)
        self.slow = self._slow + sum(part[2] for part in self._parts)

    def answered(self, now: float, seconds: float, rules: BreakerRules) -> bool:
        """Count an answer; returns whether it was slow. It teaches what is usual, by little: were it not so, a model
        that has become slower for good would never be asked again. Slow ones do so once a bucket at most, lest many at
        once pass for usual before they are noticed."""
        if now >= self._full_at:
            self.turn(now, rules)
        self._counts += 1
        slow = seconds > self.slow_from
        if slow:
            self._slow += 1
            if self._taught == self._tick:
                return slow
            self._taught = self._tick
        if self.known > LEARNED:
            usual = self.usual = self.usual * (UP if seconds > self.usual else DOWN)
            slow_from = usual * rules.slow_factor
            if slow_from < rules.slow_seconds:
                slow_from = rules.slow_seconds
            if rules.slow_beyond is not None and rules.slow_beyond < slow_from:
                slow_from = rules.slow_beyond
            self.slow_from = slow_from
        else:
            self._learn(seconds, rules)
        return slow

    def failed(self, now: float, rules: BreakerRules) -> None:
        """Count a call that failed."""
        self.turn(now, rules)
        self._counts += 1
        self._errors += 1

    def refused(self, now: float, rules: BreakerRules) -> None:
        """Count a call that is as good as a slow one."""
        self.turn(now, rules)
        self._counts += 1
        self._slow += 1

    def failing(self, now: float, rules: BreakerRules) -> str | None:
        """Why it is to open now, or None; sets `by_slowness` with it."""
        self.turn(now, rules)
        if self.errors >= rules.min_errors and self.errors >= rules.error_rate * self.calls:
            self.by_slowness = False
            return f"{self.errors} of {self.calls} calls failed in {rules.window:g} s"
        bad = self.slow + self.errors
        if self.slow and bad >= rules.min_errors and bad >= rules.slow_rate * self.calls:
            self.by_slowness = True
            return f"{bad} of {self.calls} calls were slow or put off in {rules.window:g} s"
        return None

    def close(self, now: float) -> None:
        super().close(now)
        self.forget()

    def _learn(self, seconds: float, rules: BreakerRules) -> None:
        """The first calls: the longest of them stands for the 95th percentile."""
        self.known += 1
        self.usual = max(self.usual, seconds)
        if rules.slow_beyond is not None:
            self.slow_from = rules.slow_beyond
        if self.known > LEARNED:
            self.slow_from = min(self.slow_from, max(rules.slow_seconds, self.usual * rules.slow_factor))
