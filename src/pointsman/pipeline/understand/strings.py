"""Every string of a JSON value, keys included: whatever text travels upstream, wherever it stands."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.errors import InvalidRequest

SEPARATOR = "\n\0\n"
"""Between strings: white space for a word's boundary, but no pattern matches across it."""

_decoder = msgspec.json.Decoder()
_MEDIA = ("data:image/", "data:audio/", "data:video/")


def all_strings(raw: bytes | Raw, where: str) -> str:
    """The strings of a JSON value, joined. A key stands before its value, as `key: value`.

    Encoded pictures and sounds are left out: no text can be read from them.

    Raises:
        InvalidRequest: the value cannot be decoded, so nobody can tell what it holds.
    """
    try:
        value = _decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"Invalid `{where}`: {error}.", param=where) from None
    found: list[str] = []
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, str):
            if not value.startswith(_MEDIA):
                found.append(f"{key}: {value}" if key else value)
            elif key:
                found.append(key)
        elif isinstance(value, dict):
            if key:
                found.append(key)
            waiting.extend(reversed(value.items()))
        elif isinstance(value, list):
            waiting.extend((key, item) for item in reversed(value))
        elif value is not None and not isinstance(value, bool):
            found.append(f"{key}: {value}" if key else str(value))
        elif key:
            found.append(key)
    return SEPARATOR.join(found)
