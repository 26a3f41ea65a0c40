"""The books: what was reserved for every call that may cost money, and what it cost in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from .budget import Scope

State = Literal["reserved", "settled", "unsettled", "released"]
"""unsettled: nobody knows what the call cost, and it stands at its worst case. released: an admin said that it cost
nothing."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag="reserve", gc=False):
    """A reservation."""

    id: str
    at: float
    key_id: str | None
    lease_until: float
    reserved: int
    models: Mapping[str, int]
    """Model → its worst case."""


class Raise(msgspec.Struct, frozen=True, kw_only=True, tag="raise", gc=False):
    """More money for a request under way."""

    id: str
    at: float
    reserved: int
    models: Mapping[str, int]


class Settle(msgspec.Struct, frozen=True, kw_only=True, tag="settle", gc=False):
    """What a request cost in the end."""

    id: str
    at: float
    micro_usd: int
    models: Mapping[str, int]
    late: bool = False
    state: Literal["settled", "unsettled", "released"] = "settled"


Item = Entry | Raise | Settle


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """A row as it stands."""

    id: str
    at: float
    key_id: str | None
    process: str
    lease_until: float
    reserved: int
    settled: int | None
    state: State
    models: Mapping[str, tuple[int, int]] = {}
    """Model → reserved, settled."""

    @property
    def counted(self) -> int:
        return _counted(self.state, self.reserved, self.settled)

    def counted_of(self, model: str) -> int:
        reserved, settled = self.models.get(model, (0, 0))
        return _counted(self.state, reserved, settled)


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What a scope spent in a period."""

    scope: Scope
    name: str
    period: str
    micro_usd: int
    requests: int


def _counted(state: State, reserved: int, settled: int | None) -> int:
    return {"settled": settled or 0, "released": 0}.get(state, reserved)


class Books(Protocol):
    """Durable. All raise StoreError when they can neither be written nor read."""

    process: str
    """Names this process, for the life of it."""

    async def start(self) -> None:
        """Begin to write; a second call does nothing once the first has returned.

        Raises:
            StoreError: what an earlier process left cannot be written now; the rest goes on.
        """

    async def reserve(self, entry: Entry) -> bool:
        """Keep a reservation; it is durable when this returns. False: where other processes do not see it yet."""

    async def raise_to(self, change: Raise) -> bool:
        """Keep a higher reservation; as `reserve`."""

    async def settle(self, settled: Settle) -> bool:
        """Keep what a request cost; False when it was settled or released before."""

    async def corrected(self, identifier: str) -> None:
        """The counters have what a row that was settled late cost: from now on it counts by that."""

    async def get(self, identifier: str) -> Booked | None: ...

    async def lapsed(self, now: float, *, alone: bool, limit: int = 200) -> list[Booked]:
        """Reservations that their process did not settle; with `alone`, every one of another process."""

    async def unsettled(self, limit: int = 200) -> list[Booked]: ...

    async def sums(self, wanted: Sequence[tuple[Scope, str, str]], now: float, *, under_way: bool = False) -> list[int]:
        """What (scope, name, period) stand at, open reservations included; or what is reserved by calls under way."""

    async def spent(self, period: str) -> list[Spent]:
        """What everybody and every model spent in a day or month."""

    async def first_alert(self, total: str, at: float) -> bool:
        """Whether this total has raised no alert before."""

    async def archive(self, now: float, *, keep_seconds: float) -> int:
        """Sum up closed periods, and drop their rows after a while; returns how many rows went."""
