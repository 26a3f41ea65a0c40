"""How demanding an ask looks: a weighted sum of its length, its specialised terms and its structure.

Each part saturates as 1 - exp(-x), so that more of a thing never lowers the score and no single thing fills it alone:

    length     x = tokens / 80, over the whole ask, pasted code and slight sentences counted at an eighth
    terms      x = Σ weights / 2.1, over different terms: deep 1, common 0.35; a quarter of it from code, for at most 1,
               and an eighth from bare lists of words, for at most 0.5
    structure  x = (0.05 sentences + 0.10 list items + 0.05 clauses + 0.16 constraints + 0.12 code blocks
                    + 0.10 files named + 0.04 code depth + 0.20 demanding verbs) / 0.7, each count capped
    score      = w1 length + w2 terms + w3 structure

Sentences and lines are slight that are short and hold no term, number, list item, file or demanding verb: greetings,
thanks, pressure, code outside of fences. They make an ask longer, not harder, and nothing in them is structure. Who
asks about things says something of them, so a bare list of words says little.

The weights are settings (0.3, 0.4, 0.3). The scales were set so that an everyday ask scores below 0.25 and one that
names a hard problem with several conditions above 0.65; `tests/unit/test_complexity.py` holds a table of both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import compress, count, repeat
from math import exp
from operator import sub

import re2

from pointsman.core.signals import Complexity
from pointsman.core.tokens import BYTES_PER_TOKEN_TYPICAL

from .ask import Ask
from .scan import COUNTS, has_term, scan, weights
from .searching import Match, matcher
from .structure import (
    BLOCK_EACH,
    BLOCK_MOST,
    COUNTED,
    DEPTH_EACH,
    DEPTH_MOST,
    DIGIT,
    FILES,
    ITEMS,
    VERBS,
    counted,
    depth,
    kinds_of,
    sentences,
)

LENGTH_SCALE = 80.0
TERMS_SCALE = 2.1
STRUCTURE_SCALE = 0.7

SLIGHT = 90
"""Bytes up to which a sentence may be slight."""
LIST_PARTS = 4
"""Parts between commas from which on a sentence without function words is a bare list."""
_FUNCTION_WORDS = (
    r"\b(?:an?|the|is|are|be|to|with|in|on|of|for|from|how|what|why|when|that|this|these|it|its|my|our|i|we|you|me|der|die"
    r"|das|ein|eine|und|mit|le|la|les|un|une|des|el|los|las|una|con|por|que|de)\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComplexityRules:
    """Three weights, of length, specialised terms and structure; they add up to 1."""

    weights: tuple[float, ...] = (0.3, 0.4, 0.3)


class ComplexityScore:
    """Scores asks. Deterministic; the cost is bounded by what an `Ask` holds."""

    def __init__(self, rules: ComplexityRules) -> None:
        self._weights = rules.weights
        self._weight_of = weights().__getitem__

    def __call__(self, ask: Ask) -> Complexity:
        raw, code = ask.raw, ask.code
        kinds = kinds_of(raw)
        told, listed, found = _sift(ask, kinds)
        size: float = ask.length
        specialised = sum(map(self._weight_of, found))
        if told is raw:
            structured = counted(raw, kinds, found & COUNTS)
        else:  # where a sentence was cut out, a line may begin anew
            structured = counted(told, kinds_of(told), found & COUNTS | _ITEMS) if told else 0.0
        if code or told is not raw:
            light = len(code) + len(raw) - len(told)
            size = max(size - light, 0) + light / 8
            specialised += self._beside(code.encode("utf-8", "replace"), found, 1 / 4, 1.0)
            specialised += self._beside(listed, found, 1 / 8, 0.5)
        if ask.blocks:
            structured += min(ask.blocks, BLOCK_MOST) * BLOCK_EACH
            structured += min(depth(code), DEPTH_MOST) * DEPTH_EACH
        length = 1 - exp(-size / BYTES_PER_TOKEN_TYPICAL / LENGTH_SCALE)
        terms = 1 - exp(-specialised / TERMS_SCALE)
        structure = 1 - exp(-structured / STRUCTURE_SCALE)
        first, second, third = self._weights
        score = first * length + second * terms + third * structure
        return Complexity(
            score=round(min(score, 1.0), 4),
            length=round(length, 4),
            terms=round(terms, 4),
            structure=round(structure, 4),
        )

    def _beside(self, text: bytes, said: set[int], share: float, most: float) -> float:
        """What terms add that stand beside the prose alone."""
        return min(sum(map(self._weight_of, scan(text) - said)) * share, most) if text else 0.0


_ITEMS = {COUNTED.index(ITEMS)}


def _sift(ask: Ask, kinds: bytes) -> tuple[bytes, bytes, set[int]]:
    """The prose without slight sentences and bare lists, the lists, and what `scan` finds outside of these.

    Args:
        kinds: of the prose's bytes.
    """
    raw, found = ask.raw, ask.found
    starts, ends = sentences(raw, kinds)
    listed: dict[int, bytes] = {}
    if max(map(raw.count, repeat(b","), starts, ends), default=0) >= LIST_PARTS - 1:
        listed = {
            place: raw[start:end]
            for place, (start, end) in enumerate(zip(starts, ends, strict=True))
            if raw.count(b",", start, end) >= LIST_PARTS - 1 and not _speaks()(raw[start:end])
        }
    slight = {
        place: raw[starts[place] : ends[place]]
        for place in compress(count(), map(SLIGHT.__ge__, map(sub, ends, starts)))
        if kinds.find(DIGIT, starts[place], ends[place]) < 0 and place not in listed
    }
    if slight:
        slight = _without(_tells(), slight)
        if has_term(found):
            slight = _without(_names_term, slight)
    if not slight and not listed:
        return raw, b"", found
    kept, at = [], 0
    for place in sorted([*listed, *slight]):
        kept.append(raw[at : starts[place]])
        at = ends[place]
    told = b"".join([*kept, raw[at:]])
    return told, b" ".join(listed.values()), scan(told) if listed else found


def _without(holds: Callable[[bytes], object], sentences: dict[int, bytes]) -> dict[int, bytes]:
    """The sentences of which this does not hold. Nothing that is looked for reaches across a line's end."""
    if len(sentences) > 1 and not holds(b"\n".join(sentences.values())):
        return sentences
    return {place: sentence for place, sentence in sentences.items() if not holds(sentence)}


def _names_term(sentence: bytes) -> bool:
    return has_term(scan(sentence))


@cache
def _tells() -> Match:
    """Whether a sentence without a digit holds what no slight one holds: list items, files, demanding verbs. A
    condition alone is none: "this must never be wrong" says nothing of the task."""
    return _matcher("|".join(kind.pattern for kind in (ITEMS, FILES, VERBS)))


@cache
def _speaks() -> Match:
    """Whether a sentence holds a function word."""
    return _matcher(_FUNCTION_WORDS)


def _matcher(pattern: str) -> Match:
    """As a set of one, which answers in less time than an expression does."""
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    found = re2.Set.SearchSet(options)
    found.Add(pattern)
    found.Compile()
    return matcher(found)
