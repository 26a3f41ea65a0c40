"""Reads the feature vector of an ask."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from pointsman.core.features import EMBEDDED, EMBEDDING_SCALE, STRUCTURE, VERSION
from pointsman.core.signals import Complexity

from .ask import Ask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEAD, TAIL = 700, 300
"""Characters of the prose's beginning and end that are embedded; with little prose, of the code."""

Embed = Callable[[str], "NDArray[np.float32]"]
"""A text to a unit vector of at least `EMBEDDED` dimensions."""


class FeatureReader:
    """The vector of `core.features` for an ask.

    Args:
        embed: the embedding; reads its table at the first call.
    """

    def __init__(self, embed: Embed) -> None:
        self._embed = embed

    def __call__(self, ask: Ask, complexity: Complexity) -> bytes:
        """Never fails on a text: an empty one has a vector too."""
        import numpy as np

        text = ask.prose if len(ask.prose) >= HEAD or not ask.code else f"{ask.prose}\n{ask.code}"
        if len(text) > HEAD + TAIL:
            text = f"{text[:HEAD]} {text[-TAIL:]}"
        vector = self._embed(text)[:EMBEDDED]
        row = np.empty(1 + EMBEDDED + len(STRUCTURE), dtype=np.int8)
        row[0] = VERSION
        row[1 : 1 + EMBEDDED] = np.clip(np.rint(vector * EMBEDDING_SCALE), -127, 127)
        row[1 + EMBEDDED :] = np.rint(np.clip(_structure(ask, complexity), 0, 1) * 127.0)
        return row.tobytes()


def _structure(ask: Ask, complexity: Complexity) -> NDArray[np.float64]:
    import numpy as np

    text = f"{ask.prose}\n{ask.code}"
    size = max(len(text), 1)
    letters = sum(map(str.isalpha, text[:2_000]))
    looked = max(min(size, 2_000), 1)
    digits = sum(map(str.isdigit, text[:2_000]))
    spaces = sum(map(str.isspace, text[:2_000]))
    upper = sum(map(str.isupper, text[:2_000]))
    lines = text.count("\n")
    return np.array(
        [
            math.log1p(ask.length) / 12,
            len(ask.code) / size,
            _saturated(ask.blocks, 2),
            digits / looked * 4,
            (looked - letters - digits - spaces) / looked * 3,
            upper / max(letters, 1) * 4,
            0.0 if text.isascii() else sum(character > "\x7f" for character in text[:2_000]) / looked,
            _saturated(lines, 12),
            _saturated(text.count("\n- ") + text.count("\n* ") + text.count("\n1."), 3),
            _saturated(text.count("?"), 2),
            float("\nA" in text and "\nB" in text),
            _saturated(text.count("$") + text.count("\\") + text.count("^") + text.count("="), 4),
            complexity.score,
            complexity.length,
            complexity.terms,
            complexity.structure,
        ]
    )


def _saturated(count: int, scale: float) -> float:
    return 1 - math.exp(-count / scale)
