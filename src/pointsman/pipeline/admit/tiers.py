"""Tiers: how much their callers may ask, and who goes first when a provider is short."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

import msgspec

log = logging.getLogger(__name__)

Place = Literal["high", "normal", "low"]
WINDOWS: tuple[tuple[str, int], ...] = (("minute", 60), ("hour", 3600), ("day", 86400))
"""Names and seconds; each begins at a full minute, hour or day of UTC."""


class Tier(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The rules of one tier; None: as many as one likes."""

    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    priority: Place = "normal"

    @property
    def windows(self) -> tuple[tuple[str, int, int], ...]:
        """Name, limit and seconds of each window that has a limit."""
        limits = (self.per_minute, self.per_hour, self.per_day)
        return tuple(
            (name, limit, seconds) for (name, seconds), limit in zip(WINDOWS, limits, strict=True) if limit is not None
        )


class Tiers:
    """Finds a caller's tier.

    A key may name a tier that the settings no longer have. It then gets the least of every window of all tiers, and the
    lowest priority: a tier that is renamed must not set its keys free.
    """

    def __init__(self, tiers: Mapping[str, Tier], default: str) -> None:
        """
        Raises:
            KeyError: the default is no tier.
        """
        self._tiers = dict(tiers)
        self._default = (default, self._tiers[default])
        self._strictest = _strictest(list(self._tiers.values()))
        self._told: set[str] = set()

    def of(self, name: str | None) -> tuple[str, Tier]:
        """The tier that a caller's scopes name, or the default; its name and its rules."""
        if name is None:
            return self._default
        found = self._tiers.get(name)
        if found is not None:
            return name, found
        if name not in self._told and len(self._told) < 1000:
            self._told.add(name)
            log.warning(
                "a key is of the tier %r, which limits.tiers does not have: it gets the least of what all tiers grant."
                " Give the key a tier of %s, or set this one up",
                name[:80],
                ", ".join(sorted(self._tiers)),
            )
        return name, self._strictest


def _strictest(tiers: list[Tier]) -> Tier:
    def least(limits: list[int | None]) -> int | None:
        return min((limit for limit in limits if limit is not None), default=None)

    return Tier(
        per_minute=least([tier.per_minute for tier in tiers]),
        per_hour=least([tier.per_hour for tier in tiers]),
        per_day=least([tier.per_day for tier in tiers]),
        priority="low",
    )
