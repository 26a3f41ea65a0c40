"""Counters that replicas share: limits, budgets and nonces, each changed in one atomic step.

Two fillers: in the process (`stores/memory_state.py`) and Redis or Valkey (`stores/redis_state.py`). Every time is the
store's own, so that replicas with different clocks agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from .errors import StoreError
from .ports import Health


class StateUnavailable(StoreError):
    """The shared state does not answer."""

    code = "state_unavailable"
    status = 503
    retry_after = 1.0
    sent = False
    """Whether the step may have been done, its answer lost."""


class Bucket(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A token bucket: full at first, refilled evenly, never above its capacity."""

    key: str
    capacity: float
    refill: float
    """Tokens a second."""
    cost: float = 1.0
    floor: float = 0.0
    """Tokens that must stay behind: what callers of a lower priority may not touch."""


class Window(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A count in a window of fixed length, aligned to the epoch: it starts anew at every full minute, hour or day."""

    key: str
    limit: int
    seconds: int
    cost: int = 1


Limit = Bucket | Window


class Standing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How one limit stands after a take."""

    key: str
    limit: int
    remaining: int
    reset_after: float
    """Seconds until the bucket is full or the window starts anew."""
    retry_after: float = 0.0
    """Seconds until this cost would pass; 0 when it passed."""


class Taken(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What came of a take: all limits were charged, or none."""

    ok: bool
    standings: tuple[Standing, ...]
    """One for each limit, in order."""


class Amount(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A sum against one total, in micro-dollars."""

    total: str
    """Names budget and period, such as `global:2026-11` or `key:key_1a2b:2026-11-22`."""
    micro_usd: int
    cap_micro_usd: int | None = None
    """What the total may not exceed; None only counts."""


class Reserved(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What came of a reservation: every total was raised, or none."""

    ok: bool
    refused: str | None = None
    """The first total whose cap stood in the way."""
    unseeded: tuple[str, ...] = ()
    """Totals that the store does not know (it is fresh, or a period began): seed them and ask again."""
    totals: Mapping[str, int] = {}
    """Each total as it stands now, reservations included."""


class Lapsed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A reservation whose time ran out unsettled, because its process died."""

    reservation: str
    amounts: tuple[Amount, ...]


Seen = Literal["first", "again", "unknown"]
"""unknown: it may have been seen, and was forgotten for want of room."""


class SharedState(Protocol):
    """All raise StateUnavailable when the store does not answer in time; nothing hangs longer than its timeout."""

    @property
    def memory(self) -> bytes:
        """Names the memory that answered last: another one when totals and reservations were lost."""

    def now(self) -> float:
        """The store's clock, seconds since the epoch, as of its last answer plus what has passed since."""

    async def take(self, limits: Sequence[Limit]) -> Taken:
        """Charge every limit, or none when one would not bear it."""

    async def charge(self, limits: Sequence[Limit]) -> None:
        """Charge or, with negative costs, give back, whatever the limits say: for what was estimated when taken."""

    async def reserve(self, reservation: str, amounts: Sequence[Amount], *, lease_seconds: float) -> Reserved:
        """Raise every total by its amount, or none when one would exceed its cap. Asking twice under one name
        counts once."""

    async def settle(self, reservation: str, actual: Mapping[str, int]) -> bool:
        """Replace what was reserved by what was used, total by total (0 where one is not named). False when there is
        no such reservation: it was settled before, or lapsed and was taken."""

    async def adjust(self, deltas: Mapping[str, int]) -> None:
        """Add to totals that the store knows; others are left to be seeded."""

    async def seed(self, totals: Mapping[str, int], *, expires_at: float) -> None:
        """Set totals that the store does not know; known ones are left as they are."""

    async def totals(self, names: Sequence[str]) -> dict[str, int | None]: ...

    async def take_lapsed(self, limit: int = 100) -> list[Lapsed]:
        """Reservations past their lease, each handed to one caller alone; their amounts still stand in the totals."""

    async def once(self, key: str, *, seconds: float) -> bool:
        """Whether this key is seen for the first time within `seconds`."""

    async def once_of(self, owner: str, name: str, *, at: int, seconds: float, most: int) -> Seen:
        """Whether a name of an owner is seen for the first time: for nonces, which must never pass twice.

        Args:
            at: when the name was made, as it says itself: seconds since the epoch, not later than `seconds` from now.
            seconds: for how long after `at` it is remembered.
            most: names of an owner that are remembered; beyond it those go that were made first, and of what was made
                no later than they nobody knows any more whether it was seen.
        """

    def once_since(self) -> float:
        """Since when `once_of` has forgotten nothing but what it tells, by the store's clock, as of its last answer: a
        server that was restarted may have lost what it knew."""

    async def ping(self) -> None:
        """Whether it answers."""

    async def health(self) -> Health:
        """The same in words for people; never raises."""

    async def close(self) -> None: ...
