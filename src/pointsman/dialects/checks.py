"""What every answer of an upstream must be before anything is made of it."""

from __future__ import annotations

import re

from pointsman.core.errors import UpstreamProtocolError

_NO_JSON = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")|-?\b(?:NaN|Infinity)\b')
"""A string, or outside of one a number that JSON does not know."""


def check_utf8(data: bytes) -> None:
    """
    Raises:
        UpstreamProtocolError: not UTF-8.
    """
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            raise UpstreamProtocolError("The model's provider sent bytes that are not UTF-8.") from None


def finite(data: bytes) -> bytes | None:
    """JSON, bare or framed, with null for the `NaN` and `Infinity` that servers write who leave it to Python; None: it
    holds none. For what a decoder has refused."""
    if b"NaN" not in data and b"Infinity" not in data:
        return None
    mended = _NO_JSON.sub(lambda found: found[1] or b"null", data)
    return mended if mended != data else None


def unreadable(error: Exception) -> UpstreamProtocolError:
    """The error for an answer that a decoder refused."""
    return UpstreamProtocolError(f"The model's provider sent an answer that cannot be read: {error}.")
