"""Streams that are kept open and say nothing."""

from __future__ import annotations

import time

from pointsman.core.errors import UpstreamTimeout
from pointsman.core.ports import Timeouts
from pointsman.dialects.openai.hollow import hollow

UNSEEN_SECONDS = 1.0
"""For so long at most, and for a tenth of the time-out, blocks behind one that said something are taken for words
without a look."""


class Silence:
    """Counts the time since an upstream last said something. Comments, pings and chunks that hold nothing keep a
    connection open, so that the transport's time-outs never come; they are no part of an answer."""

    __slots__ = ("_looks_at", "_said", "_since", "_timeouts", "_unseen")

    def __init__(self, timeouts: Timeouts) -> None:
        self._looks_at = self._since = time.monotonic()
        self._unseen = min(UNSEEN_SECONDS, timeouts.between_bytes / 10)
        self._said = False
        self._timeouts = timeouts

    def heard(self, block: bytes) -> None:
        """A block has come.

        Raises:
            UpstreamTimeout: nothing has been said for longer than is allowed.
        """
        now = time.monotonic()
        if now < self._looks_at:
            self._since = now
            return
        if not _says_nothing(block):
            self._said = True
            self._since = now
            self._looks_at = now + self._unseen
            return
        phase = "between_bytes" if self._said else "first_byte"
        limit = self._timeouts.between_bytes if self._said else self._timeouts.first_byte
        if now - self._since > limit:
            raise UpstreamTimeout(phase, limit)


def _says_nothing(block: bytes) -> bool:
    first = block[:1]
    if first == b"d":
        return hollow(block)
    if first in (b":", b"\n", b"\r"):
        return b"data:" not in block or hollow(block)
    return first == b"e" and block.startswith(b"event: ping") and block.count(b"data:") == 1
