"""How circuit breakers stand, and the board on which replicas tell one another of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec


class CircuitStanding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One circuit, now."""

    scope: Literal["model", "provider"]
    name: str
    """The model's id or the provider's name."""
    state: Literal["closed", "half-open", "open"]
    why: str
    """Why it opened, without addresses; empty while it is closed."""
    seconds_left: float
    """Until it is ready for a probe."""
    openings: int
    """In this process, since its start."""


class Notice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a replica has said under a name; what is said later takes its place."""

    text: str
    age: float
    """Seconds since it was said, by the store's clock."""


class Board(Protocol):
    """What replicas say to all others for a while."""

    async def exchange(self, said: Mapping[str, str], *, keep: float) -> dict[str, Notice]:
        """Say these, each under its name and in one line, for so many seconds; returns all that is said now.

        Raises:
            StateUnavailable: the board does not answer. Saying it again is safe.
        """
