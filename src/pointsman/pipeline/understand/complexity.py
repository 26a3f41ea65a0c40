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

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import compress, repeat
from operator import methodcaller, sub
from typing import Any

import msgspec
import re2

from pointsman.core.signals import Complexity
from pointsman.core.tokens import BYTES_PER_TOKEN_TYPICAL

from .ask import Ask
from .searching import Match, matcher
from .tables import table

LENGTH_SCALE = 80.0
TERMS_SCALE = 2.1
STRUCTURE_SCALE = 0.7
DEEP, COMMON = 1.0, 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class ComplexityRules:
    """Three weights, of length, specialised terms and structure; they add up to 1."""

    weights: tuple[float, ...] = (0.3, 0.4, 0.3)


@dataclass(frozen=True, slots=True)
class _Count:
    """A count of the prose: what one of it adds, and how many may count."""

    each: float
    most: int
    pattern: str = ""


_SENTENCES = _Count(0.05, 12)
"""Stops before white space or the end, and blank lines."""
_CLAUSES = _Count(0.05, 14, r"\b(?:which|that|while|whereas|although|unless|because|so that|if|then|when)\b")
"""These words, and `,`, `;` and `:` before white space."""
_ITEMS = _Count(0.10, 10, r"(?m)^[ \t]*(?:[-*•]|\d{1,2}[.)]|\([a-z\d]\))[ \t]+\S")
_CONSTRAINTS = _Count(
    0.16,
    8,
    r"\b(?:must|without|at most|at least|no more than|exactly|only|never|always|ensure|guarantee\w*|should not"
    r"|cannot|within|except|under|constraints?|requirements?|support(?:s|ing)?|handle|handling|preserv\w+"
    r"|compatible|bounded|worst[- ]case|edge cases?)\b",
)
_FILES = _Count(
    0.10,
    6,
    r"\b[\w/.-]+\.(?:py|js|ts|tsx|jsx|go|rs|java|kt|c|cc|cpp|h|hpp|cs|rb|php|swift|scala|sql|sh|ya?ml"
    r"|toml|json)\b",
)
_VERBS = _Count(
    0.20,
    4,
    r"\b(?:design|prove|derive|architect|optimi[sz]e|analy[sz]e|compare|justify|formali[sz]e|verify|benchmark"
    r"|migrate|refactor|debug|diagnose|evaluate|integrate|discuss)\b",
)
_COUNTED = (_CLAUSES, _ITEMS, _CONSTRAINTS, _FILES, _VERBS)

SLIGHT = 90
"""Characters up to which a sentence may be slight."""
EDGE = 600
"""Characters at the beginning and at the end of a prose in which slight sentences are looked for."""
_END = re.compile(rb"[.!?\n\xe3\xef](?:(?<=\n)\s*|(?<=[.!?])[.!?]*\s+|(?<=\xe3)\x80\x82|(?<=\xef)\xbc[\x81\x9f])")
"""What ends a sentence or a line, in UTF-8; three stops are ideographic."""
_FUNCTION_WORDS = (
    r"\b(?:an?|the|is|are|be|to|with|in|on|of|for|from|how|what|why|when|that|this|these|it|its|my|our|i|we|you|me|der|die"
    r"|das|ein|eine|und|mit|le|la|les|un|une|des|el|los|las|una|con|por|que|de)\b"
)
LIST_PARTS = 4
"""Parts between commas from which on a sentence without function words is a bare list."""

_STOPS, _COMMAS, _SPACES = b".!?", b",;:", b"\t\f\r "
_KINDS = bytes(
    next(
        (kind for kind, members in zip(b".,_n", (_STOPS, _COMMAS, _SPACES, b"\n"), strict=True) if byte in members), 120
    )
    for byte in range(256)
)
"""Each byte's kind, for `bytes.translate`: stops `.`, commas `,`, spaces `_`, line feeds `n`, all others `x`."""
_WIDE_STOPS = re.compile("。|！|？".encode())
_BLANK_LINE = re.compile(rb"n[_n]*n")
_BLOCK_EACH, _BLOCK_MOST = 0.12, 4
_BRACES = re.compile(r"[{}]")
_INDENT = re.compile(r"^[ \t]+(?=\S)", re.MULTILINE)
_DEPTH_EACH, _DEPTH_MOST = 0.04, 6


class ComplexityScore:
    """Scores asks. Deterministic; the cost is bounded by what an `Ask` holds."""

    def __init__(self, rules: ComplexityRules) -> None:
        self._weights = rules.weights
        self._terms, self._set = _term_set()

    def __call__(self, ask: Ask) -> Complexity:
        prose = self._sift(ask.prose)
        light = len(ask.code) + prose.light
        tokens = (max(ask.length - light, 0) + light / 8) / BYTES_PER_TOKEN_TYPICAL
        length = 1 - math.exp(-tokens / LENGTH_SCALE)
        terms = 1 - math.exp(-self._specialised(ask, prose) / TERMS_SCALE)
        structured = _counted(prose.weighty) if prose.weighty else 0.0
        structured += min(ask.blocks, _BLOCK_MOST) * _BLOCK_EACH
        if ask.code:
            structured += min(_depth(ask.code), _DEPTH_MOST) * _DEPTH_EACH
        structure = 1 - math.exp(-structured / STRUCTURE_SCALE)
        first, second, third = self._weights
        score = first * length + second * terms + third * structure
        return Complexity(
            score=round(min(score, 1.0), 4),
            length=round(length, 4),
            terms=round(terms, 4),
            structure=round(structure, 4),
        )

    def _specialised(self, ask: Ask, prose: _Prose) -> float:
        said = prose.terms
        total = sum([self._terms[index] for index in said])
        if not ask.code and not prose.listed:
            return total
        for text, share, most in ((ask.code.encode("utf-8", "replace"), 1 / 4, 1.0), (prose.listed, 1 / 8, 0.5)):
            if text:
                total += min(sum([self._terms[index] for index in self._found(text) - said]) * share, most)
        return total

    def _sift(self, prose: str) -> _Prose:
        raw = prose.encode("utf-8", "replace")
        terms = self._found(raw)
        starts, ends = _sentences(raw)
        places: Iterable[int] = range(len(ends))
        if max(map(raw.count, repeat(b","), starts, ends), default=0) < LIST_PARTS - 1:
            places = compress(places, map(SLIGHT.__ge__, map(sub, ends, starts)))
        tells, speaks = _tells()
        listed, slight = [], []
        for place in places:
            sentence = raw[starts[place] : ends[place]]
            if sentence.count(b",") >= LIST_PARTS - 1 and not speaks(sentence):
                listed.append(place)
            elif len(sentence) <= SLIGHT and not tells(sentence):
                slight.append(place)
        if not listed and not slight:
            return _Prose(raw, terms, b"", 0)
        if terms and self._found(b"".join([raw[starts[place] : ends[place]] for place in slight])):
            slight = [place for place in slight if not self._found(raw[starts[place] : ends[place]])]
        kept, at = [], 0
        for place in sorted(listed + slight):
            kept.append(raw[at : starts[place]])
            at = ends[place]
        told = b"".join([*kept, raw[at:]])
        lists = b" ".join([raw[starts[place] : ends[place]] for place in listed])
        return _Prose(told, self._found(told) if listed else terms, lists, len(raw) - len(told))

    def _found(self, text: bytes) -> set[int]:
        return set(self._set(text.lower()) or ()) if text else set()


class _Prose(msgspec.Struct, frozen=True, gc=False):
    """A prose, sifted; UTF-8."""

    weighty: bytes
    """Without slight sentences and bare lists."""
    terms: set[int]
    """Those that stand in it."""
    listed: bytes
    """The bare lists."""
    light: int
    """Bytes of slight sentences and of bare lists."""


def _sentences(raw: bytes) -> tuple[list[int], list[int]]:
    """Where the sentences begin, and where they end. Of a long prose, those that lie within either edge."""
    size = len(raw)
    if size <= 2 * EDGE:
        ends = [0, *map(_end_of, _END.finditer(raw))]
        if ends[-1] < size or not size:
            ends.append(size)
        return ends[:-1], ends[1:]
    head = [0, *map(_end_of, _END.finditer(raw, 0, EDGE))]
    if head[-1] == EDGE:  # it may go on behind the edge
        del head[-1]
    tail = [*map(_end_of, _END.finditer(raw, size - EDGE))]
    if not tail or tail[-1] < size:
        tail.append(size)
    return head[:-1] + tail[:-1], head[1:] + tail[1:]


_end_of = methodcaller("end")


def _counted(text: bytes) -> float:
    """What the counts of a prose add up to."""
    sentences, commas = _punctuation(text if text.isascii() else _WIDE_STOPS.sub(b".", text))
    patterns, found = _count_set()
    clauses = commas
    # One pass tells which patterns occur at all: of most, an ask holds none.
    present = found(text) or ()
    if 0 in present and clauses < _CLAUSES.most:
        clauses += _count_up_to(patterns[0], text, _CLAUSES.most)
    total = min(sentences, _SENTENCES.most) * _SENTENCES.each + min(clauses, _CLAUSES.most) * _CLAUSES.each
    for index in sorted(present):
        if index:
            kind = _COUNTED[index]
            total += _count_up_to(patterns[index], text, kind.most) * kind.each
    return total


def _punctuation(text: bytes) -> tuple[int, int]:
    """How many sentences end, and how many clauses."""
    kinds = text.translate(_KINDS)
    sentences, clauses = kinds.count(b"._") + kinds.endswith(b"."), kinds.count(b",_")
    if b"n" in kinds:
        # The line feed behind a stop ends that sentence and begins no blank line.
        sentences += kinds.count(b".n") + len(_BLANK_LINE.findall(kinds.replace(b".n", b".")))
        clauses += kinds.count(b",n")
    return sentences, clauses


def _count_up_to(pattern: Any, text: bytes, most: int) -> int:
    found = 0
    for _ in pattern.finditer(text):
        found += 1
        if found >= most:
            break
    return found


def _depth(code: str) -> int:
    """How deep the code nests: brackets that open blocks, or steps of indentation, whichever is deeper."""
    braces = deepest = 0
    for brace in _BRACES.findall(code):
        braces = braces + 1 if brace == "{" else max(braces - 1, 0)
        deepest = max(deepest, braces)
    return max(deepest, len(set(_INDENT.findall(code))))


@cache
def _tells() -> tuple[Match, Match]:
    """Whether a sentence holds what no slight one holds: numbers, list items, files, demanding verbs. A condition alone
    is none: "this must never be wrong" says nothing of the task. And whether one holds a function word."""
    tells = "|".join((r"\d", *(kind.pattern for kind in (_ITEMS, _FILES, _VERBS))))
    return _matcher(tells), _matcher(_FUNCTION_WORDS)


def _matcher(pattern: str) -> Match:
    """As a set of one, which answers in less time than an expression does."""
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    found = re2.Set.SearchSet(options)
    found.Add(pattern)
    found.Compile()
    return matcher(found)


@cache
def _count_set() -> tuple[tuple[Any, ...], Match]:
    """The patterns of the counted words, those of clauses first, and the set of them all in the same order."""
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    found = re2.Set.SearchSet(options)
    patterns = tuple(kind.pattern for kind in _COUNTED)
    for pattern in patterns:
        found.Add(pattern)
    found.Compile()
    return tuple(re2.compile(pattern, options) for pattern in patterns), matcher(found)


@cache
def _term_set() -> tuple[tuple[float, ...], Match]:
    """The weight of every term, and the set that finds them, in the same order."""
    weights: dict[str, float] = {}
    for domain in table("terms").values():
        for depth, weight in (("common", COMMON), ("deep", DEEP)):
            for term in domain[depth]:
                weights[term.lower()] = weight
    options = re2.Options()
    options.max_mem = 16 << 20
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    found = re2.Set.SearchSet(options)
    for term in weights:
        found.Add(_pattern(term))
    found.Compile()
    return tuple(weights.values()), matcher(found)


_CLOSED = r"\b"


def _pattern(term: str) -> bytes:
    stem = term.removesuffix("*")
    body = re2.escape(stem).replace("\\-", "[- ]?").replace("\\ ", "[- ]")
    closed = term == stem and stem[-1].isalnum()
    return rf"\b{body}{_CLOSED if closed else ''}".encode()
