"""Short replies that ask for nothing new: the turn before says what is wanted."""

from __future__ import annotations

import re2

from .tables import words

LONGEST = 80
"""Characters; a longer reply says something of its own."""

_PHRASES = "|".join(phrase for phrases in words()["assents"].values() for phrase in phrases)
_ASSENT = re2.compile(rf"(?i)[\s\pP\pS]*(?:(?:{_PHRASES})(?:[\s\pP\pS]+|$))+")


def is_assent(text: str) -> bool:
    """Whether a reply consists of words of assent alone: `yes, do it`, `mach weiter`, `vale, adelante`."""
    return 0 < len(text) <= LONGEST and _ASSENT.fullmatch(text.encode("utf-8", "replace")) is not None
