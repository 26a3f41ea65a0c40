"""Where limits, budgets and nonces are counted."""

from __future__ import annotations

from pointsman.core.shared import SharedState
from pointsman.settings import Settings
from pointsman.stores.memory_state import MemoryState


def build_state(settings: Settings) -> SharedState:
    """The counters of this gateway. Connects to nothing yet; `ping` does."""
    return MemoryState()
