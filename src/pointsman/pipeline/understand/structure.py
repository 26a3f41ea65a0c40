"""The structure of an ask: its sentences, what is counted in them, and how deep its code nests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from operator import methodcaller
from typing import Any

import re2


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A count of the prose: what one of it adds, and how many may count."""

    each: float
    most: int
    pattern: str = ""


SENTENCES = Count(each=0.05, most=12)
"""Stops before white space or the end, and blank lines."""
CLAUSES = Count(
    each=0.05,
    most=14,
    pattern=r"\b(?:which|that|while|whereas|although|unless|because|so that|if|then|when)\b",
)
"""These words, and `,`, `;` and `:` before white space."""
ITEMS = Count(each=0.10, most=10, pattern=r"(?m)^[ \t]*(?:[-*•]|\d{1,2}[.)]|\([a-z\d]\))[ \t]+\S")
CONSTRAINTS = Count(
    each=0.16,
    most=8,
    pattern=r"\b(?:must|without|at most|at least|no more than|exactly|only|never|always|ensure|guarantee\w*|should not"
    r"|cannot|within|except|under|constraints?|requirements?|support(?:s|ing)?|handle|handling|preserv\w+"
    r"|compatible|bounded|worst[- ]case|edge cases?)\b",
)
FILES = Count(
    each=0.10,
    most=6,
    pattern=r"\b[\w/.-]+\.(?:py|js|ts|tsx|jsx|go|rs|java|kt|c|cc|cpp|h|hpp|cs|rb|php|swift|scala|sql|sh|ya?ml"
    r"|toml|json)\b",
)
VERBS = Count(
    each=0.20,
    most=4,
    pattern=r"\b(?:design|prove|derive|architect|optimi[sz]e|analy[sz]e|compare|justify|formali[sz]e|verify|benchmark"
    r"|migrate|refactor|debug|diagnose|evaluate|integrate|discuss)\b",
)
COUNTED = (CLAUSES, ITEMS, CONSTRAINTS, FILES, VERBS)
"""Those that are found by a pattern."""
_WORDED_CLAUSES = COUNTED.index(CLAUSES)

EDGE = 600
"""Bytes at the beginning and at the end of a prose that are cut into sentences."""
BLOCK_EACH, BLOCK_MOST = 0.12, 4
DEPTH_EACH, DEPTH_MOST = 0.04, 6

_STOPS, _COMMAS, _SPACES, _DIGITS = b".!?", b",;:", b"\t\f\r ", b"0123456789"
_KINDS = bytes(
    next(
        (
            kind
            for kind, members in zip(b".,_nvd", (_STOPS, _COMMAS, _SPACES, b"\n", b"\v", _DIGITS), strict=True)
            if byte in members
        ),
        120,
    )
    for byte in range(256)
)
DIGIT = b"d"
_LINE_FEED = ord("n")
# A search that begins with a certain byte is several times as fast as one that begins with any of a class.
_STOPPED = re.compile(rb"\.[_nv]+")
_BROKEN = re.compile(rb"n[_nv]*")
_FULL_STOPS, _WIDE_MARKS = re.compile("。".encode()), re.compile(rb"\xef\xbc[\x81\x9f]")
_WIDE_STOPS = re.compile("。|！|？".encode())
_BLANK_LINE = re.compile(rb"n(?<!\.n)[_n]*n")
"""The line feed behind a stop ends that sentence and begins no blank line."""
_BRACES = re.compile(r"[{}]")
_INDENT = re.compile(r"^[ \t]+(?=\S)", re.MULTILINE)


def kinds_of(prose: bytes) -> bytes:
    """Each byte's kind: stops are `.`, commas `,`, spaces `_`, line feeds `n`, vertical tabs `v`, digits `d`, others
    `x`."""
    return prose.translate(_KINDS)


def sentences(prose: bytes, kinds: bytes) -> tuple[list[int], list[int]]:
    """Where the sentences and lines begin, and where they end. Of a long prose, those that lie within either edge.

    A sentence ends behind the white space that follows a stop, a line behind that which begins with its line feed; an
    ideographic stop ends a sentence by itself.

    Args:
        prose: UTF-8.
        kinds: of its bytes.
    """
    size = len(prose)
    if size <= 2 * EDGE:
        ends = _ends(prose, kinds, 0, size)
        if not ends or ends[-1] < size:
            ends.append(size)
        return [0, *ends[:-1]], ends
    head = [0, *_ends(prose, kinds, 0, EDGE)]
    if head[-1] == EDGE:  # it may go on behind the edge
        head.pop()
    tail = _ends(prose, kinds, size - EDGE, size)
    if not tail or tail[-1] < size:
        tail.append(size)
    return head[:-1] + tail[:-1], head[1:] + tail[1:]


def _ends(prose: bytes, kinds: bytes, start: int, stop: int) -> list[int]:
    ends = [*map(_end_of, _STOPPED.finditer(kinds, start, stop))]
    if _LINE_FEED not in kinds and prose.isascii():
        return ends
    sought = ((_BROKEN, kinds), (_FULL_STOPS, prose), (_WIDE_MARKS, prose))
    return sorted({*ends, *[found.end() for pattern, text in sought for found in pattern.finditer(text, start, stop)]})


_end_of = methodcaller("end")


def counted(prose: bytes, kinds: bytes, present: Iterable[int]) -> float:
    """What the counts of a prose add up to.

    Args:
        prose: UTF-8.
        kinds: of its bytes.
        present: places in `COUNTED` of the patterns that may occur in it.
    """
    ends, clauses = _punctuation(kinds if prose.isascii() else kinds_of(_WIDE_STOPS.sub(b".", prose)))
    worded = set(present)
    if _WORDED_CLAUSES in worded:
        worded.remove(_WORDED_CLAUSES)
        if clauses < CLAUSES.most:
            clauses += _count_up_to(_WORDED_CLAUSES, prose, CLAUSES.most)
    total = min(ends, SENTENCES.most) * SENTENCES.each + min(clauses, CLAUSES.most) * CLAUSES.each
    for place in sorted(worded):
        kind = COUNTED[place]
        total += _count_up_to(place, prose, kind.most) * kind.each
    return total


def _punctuation(kinds: bytes) -> tuple[int, int]:
    """How many sentences end, and how many clauses."""
    ends, clauses = kinds.count(b"._") + kinds.endswith(b"."), kinds.count(b",_")
    if _LINE_FEED in kinds:
        ends += kinds.count(b".n") + len(_BLANK_LINE.findall(kinds))
        clauses += kinds.count(b",n")
    return ends, clauses


def _count_up_to(place: int, prose: bytes, most: int) -> int:
    found = 0
    for _ in _patterns()[place].finditer(prose):
        found += 1
        if found >= most:
            break
    return found


@cache
def _patterns() -> tuple[Any, ...]:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    return tuple(re2.compile(kind.pattern, options) for kind in COUNTED)


def depth(code: str) -> int:
    """How deep the code nests: brackets that open blocks, or steps of indentation, whichever is deeper."""
    braces = deepest = 0
    for brace in _BRACES.findall(code):
        braces = braces + 1 if brace == "{" else max(braces - 1, 0)
        deepest = max(deepest, braces)
    return max(deepest, len(set(_INDENT.findall(code))))
