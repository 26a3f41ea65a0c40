"""Reads the feature vector of an ask."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from pointsman.core.features import EMBEDDED, EMBEDDING_SCALE, VERSION
from pointsman.core.signals import Complexity

from .ask import Ask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEAD, TAIL = 700, 300
"""Characters of the prose's beginning and end that are embedded; with little prose, of the code."""
COUNTED_HEAD, COUNTED_TAIL = 3_000, 1_000
"""Characters of prose and code together in which the structure is counted."""

Embed = Callable[[str], "NDArray[np.float32]"]
"""A text to a unit vector of at least `EMBEDDED` dimensions."""

KINDS = ("small", "large", "digits", "lines", "spaces", "questions", "signs", "marks", "quotes", "wide", "other")


def _kind(byte: int) -> str:
    """What a byte counts as: signs are of formulas, marks of code; `wide` begins a character that is not ASCII."""
    letter = chr(byte)
    if byte >= 0x80:
        return "wide" if byte >= 0xC0 else "other"
    if letter.isalnum():
        return "digits" if letter.isdigit() else "small" if letter.islower() else "large"
    for kind, letters in (("lines", "\n"), ("spaces", " \t\r\f\v"), ("questions", "?"), ("signs", "=$\\^")):
        if letter in letters:
            return kind
    return "marks" if letter in "{}()[]<>;_" else "quotes" if letter in "\"'`" else "other"


_KINDS = bytes(KINDS.index(_kind(byte)) for byte in range(256))
"""Each byte's kind, for `bytes.translate`."""


class FeatureReader:
    """The vector of `core.features` for an ask.

    Args:
        embed: the embedding; reads its table at the first call. Threads may share it.
    """

    def __init__(self, embed: Embed) -> None:
        self._embed = embed

    def __call__(self, ask: Ask, complexity: Complexity) -> bytes:
        """Never fails on a text: an empty one has a vector too."""
        import numpy as np

        vector = self._embed(_embedded(ask))[:EMBEDDED] * EMBEDDING_SCALE
        np.rint(vector, out=vector)
        np.minimum(vector, 127, out=vector)
        np.maximum(vector, -127, out=vector)
        return bytes((VERSION,)) + vector.astype(np.int8).tobytes() + _structure(ask, complexity)


def _embedded(ask: Ask) -> str:
    text = ask.prose if len(ask.prose) >= HEAD or not ask.code else f"{ask.prose}\n{ask.code}"
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]} {text[-TAIL:]}"


def _structure(ask: Ask, complexity: Complexity) -> bytes:
    """A byte for each name of `STRUCTURE`: shares are of the characters that are counted, and become 0 to 127.
    What lies outside of [0, 1] is cut, and no number counts as 0."""
    size = len(ask.prose) + len(ask.code)
    text = f"{ask.prose}\n{ask.code}" if ask.code else ask.prose
    if len(text) > COUNTED_HEAD + COUNTED_TAIL:
        text = f"{text[:COUNTED_HEAD]}\n{text[-COUNTED_TAIL:]}"
    raw = text.encode("utf-8", "replace")
    small, large, digits, lines, spaces, questions, signs, marks, quotes, wide = _counts(raw)
    looked = max(len(text), 1)
    white = spaces + lines
    indented = items = 0
    choices = False
    if lines:  # each search reads the whole text
        indented = raw.count(b"\n  ") + raw.count(b"\n\t")
        items = raw.count(b"\n- ") + raw.count(b"\n* ") + raw.count(b"\n1.")
        choices = b"\nA" in raw and b"\nB" in raw
    symbols = looked - small - large - digits - white - wide
    shares = (
        math.log1p(ask.length) / 12,
        len(ask.code) / max(size, 1),
        _saturated(ask.blocks, 2),
        digits / looked * 4,
        symbols / looked * 3,
        marks / looked * 6,
        large / max(small + large, 1) * 4,
        wide / looked,
        (looked - white) / (white + 1) / 12,
        _saturated(lines, 12),
        _saturated(indented, 6),
        _saturated(items, 3),
        _saturated(questions, 2),
        quotes / looked * 8,
        1.0 if choices else 0,
        _saturated(signs, 4),
        complexity.score,
        complexity.length,
        complexity.terms,
        complexity.structure,
    )
    try:
        return bytes(map(round, map(_BYTE_SCALE.__mul__, shares))).translate(_CAPPED)
    except (ValueError, OverflowError):  # far outside of [0, 1]
        return bytes([round(share * 127) if 0 <= share <= 1 else 127 if share > 1 else 0 for share in shares])


_BYTE_SCALE = 127.0
_CAPPED = bytes(range(128)) + bytes([127]) * 128
"""For `bytes.translate`: what is above 127 is 127."""


def _counts(raw: bytes) -> list[int]:
    """How many bytes of each of the first ten kinds there are. Of the first, as most are, what the others leave."""
    others = [*map(raw.translate(_KINDS).count, _OTHERS)]
    return [len(raw) - sum(others), *others[:9]]


_OTHERS = range(1, len(KINDS))


@lru_cache(maxsize=1_024)
def _saturated(count: int, scale: float) -> float:
    return 1 - math.exp(-count / scale)
