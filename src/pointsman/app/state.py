"""Where limits, budgets and nonces are counted."""

from __future__ import annotations

from pointsman.core.errors import SettingsError
from pointsman.core.shared import SharedState
from pointsman.settings import Settings
from pointsman.stores.memory_state import MemoryState


def build_state(settings: Settings) -> SharedState:
    """The counters of this gateway: in the process, or shared where `state.url` (REDIS_URL) is set. Connects to
    nothing yet.

    Raises:
        SettingsError: the URL cannot be used.
    """
    chosen = settings.state
    if not chosen.url:
        return MemoryState()
    from pointsman.stores.redis_link import Address
    from pointsman.stores.redis_state import RedisState

    password = chosen.password.reveal() if chosen.password else None
    try:
        address = Address(chosen.url.reveal(), password)
    except ValueError as error:
        raise SettingsError("state.url", "…", str(error)) from None
    return RedisState(address, prefix=chosen.prefix, timeout=chosen.timeout)


async def open_state(state: SharedState) -> None:
    """Ask shared counters for the first time and say in the log how they fare. One that is away stops nothing: what
    needs it acts by its `when_state_is_away` until it answers."""
    if not isinstance(state, MemoryState):
        from pointsman.stores.redis_state import RedisState

        assert isinstance(state, RedisState)
        await state.open()
