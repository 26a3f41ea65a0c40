"""Circuit breakers, from the settings, and what decisions hear of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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

    def __init__(self, away: Callable[[], Mapping[str, str]], opened: Callable[[], Mapping[str, str]]) -> None:
        self._away = away
        self._opened = opened
        self._of: tuple[Mapping[str, str], Mapping[str, str]] | None = None
        self._joined: Mapping[str, str] = {}

    def __call__(self) -> Mapping[str, str]:
        away, opened = self._away(), self._opened()
        if not opened:
            return away
        if self._of is None or self._of[0] is not away or self._of[1] is not opened:
            self._of = (away, opened)
            self._joined = {**opened, **away}
        return self._joined
