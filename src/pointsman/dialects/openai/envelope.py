"""An answer of OpenAI's chat or a chunk of one, as far as a relay looks."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.errors import UpstreamError
from pointsman.core.events import Usage, read_usage
from pointsman.dialects.checks import check_utf8, unreadable

from .errors import stated_error

MAX_ID = 200
"""Characters; a longer id could not be asked for, and the log keeps ids."""


class _Choice(msgspec.Struct):
    finish_reason: Any = None
    message: msgspec.Raw = msgspec.Raw(b"")
    text: Any = None


class Envelope(msgspec.Struct):
    """Types are loose where a relay need not care."""

    id: Any = None
    object: Any = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: Any = None


_envelope_decoder = msgspec.json.Decoder(Envelope)


def checked(payload: bytes) -> Envelope:
    """
    Raises:
        UpstreamError: it states an error.
        UpstreamProtocolError: it is not JSON or not UTF-8.
    """
    try:
        envelope = _envelope_decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise unreadable(error) from None
    if not payload.isascii():
        check_utf8(payload)
    if (envelope.error or envelope.object == "error") and (failure := failure_in(envelope, payload)) is not None:
        raise failure
    return envelope


def loosely(payload: bytes) -> Envelope | None:
    """None: it cannot be read."""
    try:
        return _envelope_decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def failure_in(envelope: Envelope, payload: bytes) -> UpstreamError | None:
    """The error that an answer or a chunk states; None: it states none."""
    if envelope.error:
        return stated_error(envelope.error)
    if envelope.object == "error":  # the error's own fields stand at the top
        return stated_error(msgspec.json.decode(payload))
    return None


def usage_in(envelope: Envelope) -> Usage | None:
    return read_usage(envelope.usage)


def id_in(envelope: Envelope) -> str | None:
    told = envelope.id
    return told if isinstance(told, str) and 0 < len(told) <= MAX_ID else None
