"""The heads of one connection. A client sends the same one with each request, but for the length of the body: such a
one is not parsed again."""

from __future__ import annotations

import re

from .head import MOST_DIGITS, RequestHead
from .http import SameHead
from .limits import ServerLimits

LONGEST = 4096
"""Bytes of a head that is remembered, so that as many connections as there may be hold little."""

_LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*([0-9]+)\r\n")


class HeadMemory:
    """Reads heads, and remembers the last that named the length of its body."""

    __slots__ = ("_before", "_begin", "_behind", "_end", "_head", "_limits")

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._head: RequestHead | None = None
        self._before = self._behind = b""
        """Around the digits."""
        self._begin = self._end = 0
        """Where the digits are, the end counted from behind."""

    def read(self, raw: bytes) -> RequestHead:
        """The parsed head, which is good until the next is read. Raises Refusal as `RequestHead`."""
        head = self._head
        if head is not None and raw.startswith(self._before) and raw.endswith(self._behind):
            digits = raw[self._begin : self._end]
            if digits.isdigit() and len(digits) <= MOST_DIGITS:
                head.content_length = int(digits)
                return head
        head = RequestHead(raw, self._limits)
        if len(raw) <= LONGEST:
            self._remember(head, raw)
        return head

    def _remember(self, head: RequestHead, raw: bytes) -> None:
        length = _LENGTH.search(raw)
        if length is None:
            return
        begin, end = length.span(1)
        self._head = head
        self._before, self._behind = raw[:begin], raw[end:]
        self._begin, self._end = begin, end - len(raw)
        head.same = SameHead()
