"""Text as the detectors read it: without invisible characters, wide digits and escapes that hide a value.

A key that is cut by a zero-width space, written in full-width digits, or that stands in JSON inside a string (`\\n`
before it, `\\u0040` in it, `\\"` around it), or percent-encoded in an address, is as private as one in plain writing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

import re2

_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
)
_WIDE = "\uff0b\uff0d-\uff19\uff1d\uff20-\uff3a\uff3f\uff41-\uff5a\u24b6-\u24e9\U0001d400-\U0001d7ff"
"""Full-width, circled and mathematical letters and digits; full-width commas and colons are everyday Chinese."""
_SPACES = "\u00a0\u2000-\u200a\u202f\u205f\u3000"
_HYPHENS = "\u2010-\u2013\u2212"
"""What word processors and web pages put between groups of digits; a long dash stands between words."""
_DIGIT_ZEROS = (
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6, 0x0E50,
    0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50,
    0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0,
)  # fmt: skip
"""The digit zero of the scripts of the basic plane; the nine others follow it."""
_OTHER_DIGITS = "".join(f"{chr(zero)}-{chr(zero + 9)}" for zero in _DIGIT_ZEROS)

_KEPT = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
"""Escaped invisible letters are turned into themselves, to be taken out with the others."""
_HIDDEN = f"[{_INVISIBLE}{_WIDE}{_SPACES}{_HYPHENS}{_OTHER_DIGITS}]+"
_hidden_quickly = re2.compile(_HIDDEN)
_hidden = re.compile(_HIDDEN)
_COLOUR_BEGINS, _BACKSLASH, _PERCENT_SIGN = b"\x1b\\%"
"""As numbers: whether bytes hold a number is told at once; of bytes an error is made first, and passed over."""
_code_point = re.compile(rb"\\u([0-9a-fA-F]{4})")
_colour = re.compile(rb"\x1b\[[0-9;]{0,20}[A-Za-z]")
"""What terminals are told between letters, as by `grep --color`."""
_percent = re.compile(rb"%([2-7][0-9A-Fa-f]|0[AaDd9])")
_PERCENT = {
    f"{code:02{case}}".encode(): bytes([code]).replace(b"\r", b"\n").replace(b"\x7f", b" ")
    for code in (9, 10, 13, *range(0x20, 0x80))
    for case in ("x", "X")
} | {f"{code:02x}".encode()[:1].upper() + f"{code:02x}".encode()[1:]: bytes([code]) for code in range(0x20, 0x7F)}
_FEW = 200
"""Backslashes of a block up to which they are looked at one by one; more are replaced kind by kind."""
_escape = re.compile(rb"\\\\*+(?:u[0-9a-fA-F]{4}|[nrt\"'])?+")
_ESCAPES = ((b"\\n", b"\n"), (b"\\r", b"\n"), (b"\\t", b"\t"), (b'\\"', b'"'), (b"\\'", b"'"))


def plain(text: bytes) -> bytes:
    """A text for matching, UTF-8 in and out. Linear in the length of the text."""
    if _COLOUR_BEGINS in text:
        text = _colour.sub(b"", text)
    if _BACKSLASH in text:
        text = _unescape(text)
    if _PERCENT_SIGN in text:
        text = _percent.sub(_unquoted, text)
    if not text.isascii() and _hidden_quickly.search(text):
        text = _hidden.sub(_shown, text.decode("utf-8", "replace")).encode("utf-8", "replace")
    return text


def _unescape(text: bytes) -> bytes:
    if text.count(b"\\") < _FEW:
        return _escape.sub(_escaped, text)
    return _unescape_all(text)


def _unescape_all(text: bytes) -> bytes:
    while b"\\\\" in text:
        text = text.replace(b"\\\\", b"\\")
    for escape, letter in _ESCAPES:
        text = text.replace(escape, letter)
    return _code_point.sub(_letter, text) if b"\\u" in text else text


def _letter(escape: re.Match[bytes]) -> bytes:
    letter = chr(int(escape.group(1), 16))
    return letter.encode("utf-8", "replace") if letter.isprintable() or letter in _KEPT else b"\n"


def _shown(run: re.Match[str]) -> str:
    return "".join(map(_show, run.group()))


def _show(letter: str) -> str:
    if letter in "\u2010\u2011\u2012\u2013\u2212":
        return "-"
    digit = unicodedata.decimal(letter, None)
    if digit is not None:
        return str(digit)
    folded = unicodedata.normalize("NFKC", letter)
    return folded if folded != letter and folded.isprintable() else ""


def _unquoted(found: re.Match[bytes]) -> bytes:
    return _unquote(found[1])


def _unquote(code: bytes) -> bytes:
    return _PERCENT.get(code) or _PERCENT[code.lower()]


def aligned(text: bytes) -> tuple[bytes, Sequence[int]]:
    """`plain(text)`, and where in `text` each of its bytes came from; one more entry for the end."""
    origins: Sequence[int] = range(len(text) + 1)
    if _COLOUR_BEGINS in text:
        text, origins = _replaced(text, origins, _colour.finditer(text), _nothing)
    if _BACKSLASH in text:
        text, origins = _replaced(text, origins, _escape.finditer(text), _escaped)
    if _PERCENT_SIGN in text:
        text, origins = _replaced(text, origins, _percent.finditer(text), _unquoted)
    if not text.isascii() and _hidden_quickly.search(text):
        text, origins = _aligned_shown(text, origins)
    return text, origins


def _nothing(found: re.Match[bytes]) -> bytes:
    return b""


def _escaped(found: re.Match[bytes]) -> bytes:
    return _unescape_all(found[0])


def _replaced(
    text: bytes,
    origins: Sequence[int],
    matches: Iterator[re.Match[bytes]],
    replacement: Callable[[re.Match[bytes]], bytes],
) -> tuple[bytes, Sequence[int]]:
    pieces: list[bytes] = []
    came: list[int] = []
    at = 0
    for found in matches:
        new = replacement(found)
        pieces += (text[at : found.start()], new)
        came += origins[at : found.start()]
        came += [origins[found.start()]] * len(new)
        at = found.end()
    pieces.append(text[at:])
    came += origins[at:]
    return b"".join(pieces), came


def _aligned_shown(text: bytes, origins: Sequence[int]) -> tuple[bytes, Sequence[int]]:
    pieces: list[bytes] = []
    came: list[int] = []
    at = 0
    for letter in text.decode("utf-8", "surrogateescape"):
        own = letter.encode("utf-8", "surrogateescape")
        size = len(own)
        new = _show(letter).encode("utf-8", "replace") if _hidden.fullmatch(letter) else own
        pieces.append(new)
        came += origins[at : at + size] if len(new) == size else [origins[min(at, len(text))]] * len(new)
        at += size
    came.append(origins[len(text)])
    return b"".join(pieces), came
