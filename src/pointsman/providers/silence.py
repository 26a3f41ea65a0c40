"""Streams that are kept open and say nothing."""

from __future__ import annotations

import time

from pointsman.core.errors import UpstreamTimeout
from pointsman.core.ports import Timeouts


class Silence:
    """Counts the time since an upstream last said something. Comments and pings keep a connection open, so that the
    transport's time-outs never come; they are no part of an answer."""

    __slots__ = ("_said", "_since", "_timeouts")

    def __init__(self, timeouts: Timeouts) -> None:
        self._since = time.monotonic()
        self._said = False
        self._timeouts = timeouts

    def heard(self, block: bytes) -> None:
        """A block has come.

        Raises:
            UpstreamTimeout: nothing has been said for longer than is allowed.
        """
        if block.startswith(b"data:") or not _says_nothing(block):
            self._said = True
            self._since = time.monotonic()
            return
        phase = "between_bytes" if self._said else "first_byte"
        limit = self._timeouts.between_bytes if self._said else self._timeouts.first_byte
        if time.monotonic() - self._since > limit:
            raise UpstreamTimeout(phase, limit)


def _says_nothing(block: bytes) -> bool:
    first = block[:1]
    if first in (b":", b"\n", b"\r"):
        return b"data:" not in block
    return first == b"e" and block.startswith(b"event: ping") and block.count(b"data:") == 1
