"""How limits stand, for those who are told: errors, headers and reports."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import msgspec


class LimitUse(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One limit of a caller."""

    name: str
    """`minute`, `hour`, `day`, or `chat-burst` for the bucket of a class of endpoints."""
    limit: int
    used: int
    remaining: int
    reset_at: float
    """Seconds since the epoch at which the window starts anew or the bucket is full; the store's clock."""


class LimitReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything that a caller may ask, and has asked."""

    tier: str
    priority: str
    limits: tuple[LimitUse, ...]


def iso_utc(seconds: float) -> str:
    """Seconds since the epoch as `2026-11-22T10:00:00Z`, never earlier than they are."""
    return datetime.fromtimestamp(math.ceil(seconds), UTC).isoformat().replace("+00:00", "Z")
