"""Queues before engines that give few answers at once: who waits, and how the queue fares."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Claim(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An attempt that wants one of an engine's slots."""

    key_id: str | None
    """Whose turns count together; None: the local user of an open loopback port."""
    tier: str | None
    """The caller's; it says how large a share its key has."""
    deadline: float
    """When the caller stops waiting for the whole answer, in seconds of the clock that never jumps."""


class QueueStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A queue, now."""

    engine: str
    """The provider's name, or the model's id where each model has an engine of its own."""
    slots: int
    running: int
    waiting: int
    average_seconds: float
    """How long a slot is held, as a running average."""
    refused: Mapping[str, int]
    """Why → how many were refused since the start: `full`, `late` (the wait would have been too long), `displaced` (by
    a key that had less of the queue), `timeout` (the wait was longer than expected)."""
