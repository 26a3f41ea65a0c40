"""What one pass over a prose finds: words that count as structure or may speak to whoever routes it, and specialised
terms. Three sets of patterns would be three passes; together they are one automaton, hardly slower than each.
"""

from __future__ import annotations

from functools import cache

import re2

from .persuasion import HINT
from .searching import Match, matcher
from .structure import COUNTED
from .tables import table

DEEP, COMMON = 1.0, 0.35

COUNTS = frozenset(range(len(COUNTED)))
"""Places, in what `scan` finds, of the patterns of `COUNTED`."""
HINTED = len(COUNTED)
"""The place of words that may speak to the router. All behind it are terms."""


def scan(prose: bytes) -> set[int]:
    """Places of the patterns that occur in a prose, which is UTF-8."""
    return set(_scanner()(prose.lower()))


def has_term(found: set[int]) -> bool:
    """Whether `scan` found a specialised term."""
    return max(found, default=0) > HINTED


@cache
def weights() -> tuple[float, ...]:
    """By place, what a term weighs; other patterns weigh nothing."""
    return (0.0,) * (HINTED + 1) + tuple(_terms().values())


@cache
def _terms() -> dict[str, float]:
    found: dict[str, float] = {}
    for domain in table("terms").values():
        for depth, weight in (("common", COMMON), ("deep", DEEP)):
            for term in domain[depth]:
                found[term.lower()] = weight
    return found


@cache
def _scanner() -> Match:
    """Of texts in small letters."""
    options = re2.Options()
    options.max_mem = 16 << 20
    options.log_errors = False
    found = re2.Set.SearchSet(options)
    for pattern in (*[kind.pattern for kind in COUNTED], HINT):
        found.Add(f"(?i:{pattern})")
    for term in _terms():
        found.Add(_pattern(term))
    found.Compile()
    return matcher(found)


def _pattern(term: str) -> str:
    stem = term.removesuffix("*")
    body = re2.escape(stem).replace("\\-", "[- ]?").replace("\\ ", "[- ]")
    return rf"\b{body}\b" if term == stem and stem[-1].isalnum() else rf"\b{body}"
