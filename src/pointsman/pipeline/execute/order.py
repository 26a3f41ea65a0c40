"""Who is asked next, and when: the order of a plan, with pauses before a model that failed is asked again."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from itertools import repeat

import msgspec

from pointsman.core.errors import (
    CircuitOpen,
    EngineDied,
    EngineError,
    Overloaded,
    PointsmanError,
    ProviderShort,
    UpstreamBroken,
    UpstreamConnectError,
    UpstreamProtocolError,
    UpstreamStatus,
    UpstreamTimeout,
)

SAME_AGAIN = frozenset({408, 409, 429})
"""Statuses after which the same model may answer the same request, beside those from 500 on."""
NEVER_AGAIN = frozenset({501, 505})
SHORT = 0.5
"""Seconds that a model is waited for while another of the plan could be asked at once."""
DOUBLED_AT_MOST = 8.0
"""Seconds that a pause grows to where the upstream names none."""


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and after what pause, the same model is asked again."""

    most: int = 0
    """Beside the first time."""
    pause: float = 0.25
    """Seconds before the first of them, at most; doubled each time. The pause is drawn between half of it and all of
    it, so that callers who failed together do not come back together."""
    longest: float = 10.0
    """Seconds that an upstream may ask us to wait while a caller waits."""


class _Try(msgspec.Struct, eq=False):
    model: str
    left: int
    failures: int = 0
    at: float = 0.0
    tells: bool = False
    """Whether `at` is the upstream's own word."""


class Order:
    """The models of one plan that may still be asked.

    Args:
        chance: a number in [0, 1).
    """

    def __init__(self, plan: Iterable[str], retries: Retries, chance: Callable[[], float] = random.random) -> None:
        self._tries = list(map(_Try, plan, repeat(1 + retries.most)))
        self._aside: list[_Try] = []
        self._retries = retries
        self._chance = chance

    def following(self, now: float) -> tuple[str, float] | None:
        """The next model, and the seconds to wait before it is asked; None: nobody is left.

        Models that may be asked now come in the order of the plan; but one that only needs a short pause before it is
        asked again goes before those behind it.
        """
        best: _Try | None = None
        for one in self._tries:
            if one.left <= 0:
                continue
            if one.at <= now:
                one.left -= 1
                return one.model, 0.0
            if not one.tells and one.at - now <= SHORT:
                best = one
                break
            if best is None or one.at < best.at:
                best = one
        if best is None:
            return None
        best.left -= 1
        return best.model, best.at - now

    @property
    def more(self) -> bool:
        """Whether anybody may be asked after this."""
        for one in self._tries:
            if one.left > 0:
                return True
        return bool(self._aside)

    def take_fresh(self, able: Callable[[str], bool]) -> str | None:
        """A model that has not been asked yet, out of turn; None: there is none that `able` agrees to."""
        for one in self._tries:
            if one.left > self._retries.most and able(one.model):
                one.left -= 1
                return one.model
        return None

    def give_back(self, model: str) -> None:
        """A model was called off, and may be asked as if it had not been."""
        for one in self._tries:
            if one.model == model:
                one.left += 1

    def failed(self, model: str, error: PointsmanError, now: float) -> None:
        """A model failed: it is asked again where that can help."""
        one = next((one for one in self._tries if one.model == model), None)
        if one is None:
            return
        one.failures += 1
        if not can_help(error):
            one.left = 0
            return
        wait = error.retry_after
        one.tells = wait is not None
        if wait is None:
            most = min(self._retries.pause * 2 ** (one.failures - 1), DOUBLED_AT_MOST)
            wait = most * (0.5 + 0.5 * self._chance())
        elif wait > self._retries.longest:
            one.left = 0
        else:  # callers who were told the same must not come back at the same moment
            wait += min(0.1 * wait, 1.0) * self._chance()
        one.at = now + wait

    def done_with(self, model: str) -> None:
        """A model is not asked again."""
        for one in self._tries:
            if one.model == model:
                one.left = 0

    def behind(self, model: str) -> None:
        """Ask a model after all others."""
        self._tries.sort(key=lambda one: one.model == model)

    def instead(self, model: str, by: Collection[str]) -> None:
        """Ask these first, in this order, as often as if none had been asked; the others of the plan only when
        `let_in` says so, and the model itself last of them."""
        others = [one for one in self._tries if one.model != model and one.model not in by]
        self._tries = [self._new(name) for name in by]
        self._aside = [*others, self._new(model)]

    def let_in(self) -> None:
        """Those who were kept aside may be asked, after the others."""
        self._tries += self._aside
        self._aside = []

    def _new(self, model: str) -> _Try:
        return _Try(model, 1 + self._retries.most)


def can_help(error: PointsmanError) -> bool:
    """Whether the same model may answer when it is asked the same again, a little later.

    Not after a time-out while it thought: it would think as long again, and another model is asked rather.
    """
    if isinstance(error, UpstreamStatus):
        status = error.upstream_status
        return status in SAME_AGAIN or (status >= 500 and status not in NEVER_AGAIN)
    if isinstance(error, UpstreamTimeout):
        return error.phase == "connect"
    if isinstance(error, EngineError):
        return isinstance(error, EngineDied)
    again = (UpstreamConnectError, UpstreamBroken, UpstreamProtocolError, Overloaded, ProviderShort)
    return isinstance(error, again) and not isinstance(error, CircuitOpen)
