"""Every string of a JSON value, keys included: whatever text travels upstream, wherever it stands."""

from __future__ import annotations

import base64
import codecs
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

_BASE64 = re2.compile(r"[A-Za-z0-9+/]*={0,2}")
_ANY_BASE64 = re2.compile(r"[A-Za-z0-9+/=_\s-]*")
_MEDIA = ("image/", "audio/", "video/")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x7f]")
_SNIFFED = 64
"""Base64 letters by which a picture or a sound is told from text: such formats begin with bytes that no text has."""


_SHORT = 4096
"""Letters of base64 up to which it is also read as it stands: some keys have no other letters."""


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
            if is_data_url(value):
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


def is_data_url(text: str) -> bool:
    return text.lstrip()[:5].lower() == "data:"


def text_of(url: str) -> str:
    """The text that a `data:` URL holds, behind what the URL says of it; nothing of pictures, sounds and films.

    Whatever somebody may take for base64 is read as base64, however the URL is written: translators and upstreams are
    less strict than the standard, and each in another way.
    """
    told, comma, data = url.partition(",")
    if not comma:
        return url
    marked = told.rstrip().lower().endswith("base64")
    if not marked and _ANY_BASE64.fullmatch(data) is None:
        return url  # its text is percent-encoded
    plain = marked and _BASE64.fullmatch(data) is not None
    kind = told.lstrip()[5:].strip().lower()
    if not kind.startswith("text/") and _looks_binary(_decoded(data[:_SNIFFED])):
        return told if plain and kind.startswith(_MEDIA) else url
    raw = _decoded(data)
    encoding = "utf-16" if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8"
    parts = [told, raw.decode(encoding, "replace")]
    return SEPARATOR.join(parts if plain and len(data) > _SHORT else [*parts, data])


def _decoded(data: str) -> bytes:
    """What base64 of any dialect stands for; letters that are none are passed over, as most readers do."""
    letters = _NO_BASE64.sub("", data.translate(_URL_SAFE))
    if len(letters) % 4 == 1:  # six bits are no byte
        letters = letters[:-1]
    return base64.b64decode(letters + "=" * (-len(letters) % 4))


_URL_SAFE = str.maketrans("-_", "+/")
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/]+")


def _looks_binary(start: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return True
    return _CONTROLS.search(text) is not None
