"""What every answer of an upstream must be before anything is made of it."""

from __future__ import annotations

from pointsman.core.errors import UpstreamProtocolError


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


def unreadable(error: Exception) -> UpstreamProtocolError:
    """The error for an answer that a decoder refused."""
    return UpstreamProtocolError(f"The model's provider sent an answer that cannot be read: {error}.")
