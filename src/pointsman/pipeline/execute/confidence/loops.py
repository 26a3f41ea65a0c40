"""Whether a text goes round in circles."""

from __future__ import annotations

import re

WORDS = 8
"""Of a stretch that counts as repeated. Shorter ones come again in honest code."""
LOOKED_AT = 20_000
"""Characters at the end: loops do not stop."""

_WORD = re.compile(r"\w+|[^\w\s]")


def repetition(text: str) -> float:
    """Share of the stretches of `WORDS` words and signs that came before; 0 in short texts."""
    words = _WORD.findall(text[-LOOKED_AT:])
    count = len(words) - WORDS + 1
    if count < WORDS:
        return 0.0
    return 1.0 - len({tuple(words[at : at + WORDS]) for at in range(count)}) / count
