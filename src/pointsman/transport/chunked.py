"""The chunked request body: strict framing, bounded in size, extensions and trailers; both are dropped.

llhttp would do, but says neither where a message ends in the bytes it was fed nor how long an extension has become.
"""

from __future__ import annotations

import re

from .head import Refusal, malformed

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})([ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
MAX_LINE_BYTES = 4 * 1024
MAX_DROPPED_BYTES = 16 * 1024
"""Of extensions and trailers over a whole body."""

_SIZE, _DATA, _TRAILERS = range(3)


class ChunkedBody:
    """Collects one body of at most `max_bytes`."""

    __slots__ = ("_dropped", "_left", "_line", "_max_bytes", "_state", "body")

    def __init__(self, max_bytes: int) -> None:
        self.body = bytearray()
        self._max_bytes = max_bytes
        self._line = b""
        """The beginning of a line, or of the CR LF after a chunk, that has not come whole."""
        self._left = 0
        """Bytes of the chunk still to come."""
        self._dropped = 0
        self._state = _SIZE

    def feed(self, data: bytes) -> bytes | None:
        """Take the next bytes; returns what follows the body once it is whole, None before.

        Raises:
            Refusal: 400 for broken framing, 413 for too much.
        """
        if self._line:
            data, self._line = self._line + data, b""
        at, end = 0, len(data)
        while at < end:
            if self._state == _DATA:
                if self._left:
                    piece = data[at : at + self._left]
                    self.body += piece
                    self._left -= len(piece)
                    at += len(piece)
                    continue
                if end - at < 2 and data[at:] == b"\r":
                    break
                if data[at : at + 2] != b"\r\n":
                    raise malformed("A chunk is longer than its size says.")
                at += 2
                self._state = _SIZE
                continue
            line_end = data.find(b"\n", at)
            if (end if line_end < 0 else line_end) - at > MAX_LINE_BYTES:
                raise malformed("A line of the chunked body is too long.")
            if line_end < 0:
                break
            line, at = data[at : line_end + 1], line_end + 1
            if not line.endswith(b"\r\n"):
                raise malformed("A line of the chunked body does not end in CR LF.")
            if self._state == _SIZE:
                self._begin_chunk(line[:-2])
            elif len(line) == 2:
                return data[at:]
            else:
                self._drop(line)
                if not _TRAILER_LINE.fullmatch(line[:-2]):
                    raise malformed("A trailer of the chunked body is not valid.")
        self._line = data[at:]
        return None

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise malformed("A chunk size is not valid.")
        if match[2]:
            self._drop(match[2])
        self._left = int(match[1], 16)
        if len(self.body) + self._left > self._max_bytes:
            raise body_too_large(self._max_bytes)
        self._state = _DATA if self._left else _TRAILERS

    def _drop(self, dropped: bytes) -> None:
        self._dropped += len(dropped)
        if self._dropped > MAX_DROPPED_BYTES:
            raise malformed("The chunked body holds too many extensions or trailers.")


def body_too_large(max_bytes: int) -> Refusal:
    return Refusal(413, "request_too_large", f"The request body is larger than {max_bytes} bytes.")
