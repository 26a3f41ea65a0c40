"""Every string of a JSON value, keys included: whatever text travels upstream, wherever it stands."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import re2
from msgspec import Raw

from pointsman.core.errors import InvalidRequest

SEPARATOR = "\n\0\n"
"""Between strings: white space for a word's boundary, but no pattern matches across it."""

MOST_VALUES = 500_000
"""In one request. Reading them holds up other requests: half a million take about a third of a second."""

MOST_DIGITS = 400
"""Of a number; the largest double has 309."""

_BASE64_URL = re2.compile(
    r"data:([a-z]+)/[A-Za-z0-9.+-]*(?:;[A-Za-z0-9-]+=[A-Za-z0-9.+-]*)*;base64,([A-Za-z0-9+/]*)={0,2}"
)
_MEDIA = frozenset({"image", "audio", "video"})
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x7f-\xff]")
_SNIFFED = 64
"""Base64 letters by which a picture or a sound is told from text: such formats begin with bytes that no text has."""


class Strings(NamedTuple):
    text: str
    values: int
    """How many values the text was read from, objects and lists among them."""
    left_out: int = 0
    """Bytes of encoded pictures and the like that the text lacks."""


class _KeyTwice(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _KeyTwice("a key stands twice in one object")
    return found


def _digits(number: str) -> str:
    if len(number) > MOST_DIGITS:
        raise ValueError(f"a number of more than {MOST_DIGITS} digits")
    return number


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_digits)


def decode_json(raw: bytes | Raw, where: str, number: Callable[[str], Any] = _digits) -> Any:
    """A JSON value in Python's own; whole numbers as `number` makes them of their digits, by default as text.

    Raises:
        InvalidRequest: it cannot be decoded, or has a key twice in one object.
    """
    decoder = _decoder
    if number is not _digits:
        decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=lambda text: number(_digits(text)))
    try:
        return decoder.decode(bytes(raw).decode())
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise InvalidRequest(f"Invalid `{where}`: {reason}.", param=where) from None


def all_strings(raw: bytes | Raw, where: str) -> Strings:
    """The strings of a JSON value, joined. A key stands before its value, as `key: value`.

    Encoded pictures and sounds are left out: no text can be read from them. Text in a base64 data URL is decoded.

    Raises:
        InvalidRequest: the value cannot be decoded, so nobody can tell what it holds; or it has a key twice in one
            object, of which this reader and the upstream's might each take another.
    """
    value = decode_json(raw, where)
    found: list[str] = []
    waiting: list[tuple[str, Any]] = [("", value)]
    read = left_out = 0
    while waiting:
        key, value = waiting.pop()
        read += 1
        if isinstance(value, str):
            text = value
            if value.startswith("data:"):
                text = text_of(value)
                left_out += max(0, len(value) - len(text))
            found.append(f"{key}: {text}" if key else text)
        elif isinstance(value, dict):
            if key:
                found.append(key)
            waiting.extend(reversed(value.items()))
        elif isinstance(value, list):
            if key and not value:
                found.append(key)
            waiting.extend([(key, item) for item in reversed(value)])
        elif isinstance(value, float):
            found.append(f"{key}: {value}" if key else str(value))
        elif key:
            found.append(key)
        if read + len(waiting) > MOST_VALUES:
            raise too_many_values(where)
    return Strings(SEPARATOR.join(found), read, left_out)


def too_many_values(where: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid `{where}`: more than {MOST_VALUES} values in one request.", param=where)


def text_of(url: str) -> str:
    """The text that a `data:` URL holds; nothing for pictures, sounds and films."""
    parts = _BASE64_URL.fullmatch(url)
    if parts is None:
        return url
    kind, data = parts.groups()
    try:
        if not _BINARY.search(base64.b64decode(data[:_SNIFFED] + "=" * (-len(data[:_SNIFFED]) % 4))):
            return base64.b64decode(data + "=" * (-len(data) % 4)).decode("utf-8", "replace")
    except binascii.Error:
        return url
    return "" if kind in _MEDIA else url
