"""Streams that are kept open and say nothing."""

from __future__ import annotations

import time

from pointsman.core.errors import UpstreamTimeout
from pointsman.core.ports import Timeouts


class Silence:
    """Counts the time since an upstream last said something. Comments and pings keep a connection open, so that the
    transport's time-outs never come; they are no part of an answer."""

    __slots__ = ("_between", "_limit", "_phase", "_since")

    def __init__(self, timeouts: Timeouts) -> None:
        self._since = time.monotonic()
        self._phase = "first_byte"
        self._limit = timeouts.first_byte
        self._between = timeouts.between_bytes

    def heard(self, block: bytes) -> None:
        """A block has come.

        Raises:
            UpstreamTimeout: nothing has been said for longer than is allowed.
        """
        now = time.monotonic()
        if not _says_nothing(block):
            self._since, self._phase, self._limit = now, "between_bytes", self._between
        elif now - self._since > self._limit:
            raise UpstreamTimeout(self._phase, self._limit)


def _says_nothing(block: bytes) -> bool:
    first = block[:1]
    if first in (b":", b"\n", b"\r"):
        return b"data:" not in block
    return first == b"e" and block.startswith(b"event: ping") and block.count(b"data:") == 1
