"""Streams that are kept open and say nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from pointsman.core.errors import UpstreamTimeout
from pointsman.core.ports import Timeouts

UNSEEN_SECONDS = 1.0
"""For so long at most, and for a tenth of the time-out, blocks behind one that said something are taken for words
without a look."""


class Silence:
    """Counts the time since an upstream last said something. Comments, pings and chunks that hold nothing keep a
    connection open, so that the transport's time-outs never come; they are no part of an answer.

    Args:
        says_nothing: whether a block that its stream's reader has not got yet brings no word of an answer.
    """

    __slots__ = ("_said", "_says_nothing", "_timeouts", "_unseen", "looks_at", "since")

    def __init__(self, timeouts: Timeouts, says_nothing: Callable[[bytes], bool]) -> None:
        self._says_nothing = says_nothing
        self.looks_at = self.since = time.monotonic()
        """Until `looks_at` blocks are taken for words, and who reads very many may note the time in `since` instead of
        calling `heard`."""
        self._unseen = min(UNSEEN_SECONDS, timeouts.between_bytes / 10)
        self._said = False
        self._timeouts = timeouts

    def heard(self, block: bytes) -> None:
        """A block has come; the reader gets it after this.

        Raises:
            UpstreamTimeout: nothing has been said for longer than is allowed.
        """
        now = time.monotonic()
        if now < self.looks_at:
            self.since = now
            return
        if not self._says_nothing(block):
            self._said = True
            self.since = now
            self.looks_at = now + self._unseen
            return
        phase = "between_bytes" if self._said else "first_byte"
        limit = self._timeouts.between_bytes if self._said else self._timeouts.first_byte
        if now - self.since > limit:
            raise UpstreamTimeout(phase, limit)
