"""Circuit breakers, from the settings, and what decisions hear of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from pointsman.core.circuits import Board
from pointsman.core.ports import Clock
from pointsman.core.shared import SharedState
from pointsman.pipeline.execute.breaker import CircuitBreakers
from pointsman.pipeline.execute.breaker_sharing import SharedBreakers
from pointsman.pipeline.execute.circuit import BreakerRules
from pointsman.providers.discovery import CatalogKeeper
from pointsman.settings import Settings
from pointsman.stores.memory_state import MemoryState

AWAY = "does not answer"
LEFT_ALONE = "calls to it failed of late, and it is left alone for a while"


def build_breakers(settings: Settings, keeper: CatalogKeeper, clock: Clock) -> CircuitBreakers:
    """The circuits of the catalog's models; a provider that is replaced begins anew, and one that is back is tried."""
    breakers = CircuitBreakers(breaker_rules(settings), models=keeper, clock=clock)
    keeper.on_replaced, keeper.on_back = breakers.forget, breakers.back
    return breakers


def breaker_rules(settings: Settings) -> BreakerRules:
    return BreakerRules(**msgspec.structs.asdict(settings.execution.breaker))


def share_breakers(breakers: CircuitBreakers, state: SharedState) -> SharedBreakers | None:
    """What tells other replicas of circuits, to be run; None where nothing is shared."""
    if isinstance(state, MemoryState):
        return None
    from pointsman.stores.redis_state import RedisState

    assert isinstance(state, RedisState)
    board: Board = state
    return SharedBreakers(breakers, board)


class Unhealthy:
    """Model id → why it is not asked now: its provider is away, or a circuit is open. Joined anew when one changes."""

    def __init__(self, away: Callable[[], Mapping[str, str]], breakers: CircuitBreakers) -> None:
        self._away = away
        self._breakers = breakers
        self._of: tuple[Mapping[str, str], Mapping[str, str]] | None = None
        self._joined: Mapping[str, str] = {}
        self._plain: Mapping[str, str] = {}

    def __call__(self) -> Mapping[str, str]:
        return self._all()[0]

    def plain(self) -> Mapping[str, str]:
        """The same in words that name no addresses, nor how others' calls fared."""
        return self._all()[1]

    def back_in(self, models: Iterable[str]) -> float | None:
        """Seconds until the first of these models may be asked; None where one of them is away, for as long as nobody
        knows, or none is kept back."""
        away = self._away()
        several = tuple(models)
        return None if any(name in away for name in several) else self._breakers.back_in(several)

    def _all(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        away, opened = self._away(), self._breakers.opened()
        if not away and not opened:
            return away, away
        if self._of is None or self._of[0] is not away or self._of[1] is not opened:
            self._of = (away, opened)
            self._joined = {**opened, **away}
            self._plain = {**dict.fromkeys(opened, LEFT_ALONE), **dict.fromkeys(away, AWAY)}
        return self._joined, self._plain
