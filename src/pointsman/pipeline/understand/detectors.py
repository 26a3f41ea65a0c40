"""Private content found by pattern, then proven by checksum, entropy or context.

One RE2 set over all triggers tells in a single pass which detectors may match; only those run their own pattern, and
only until a match is proven. RE2 works in time linear in the text whatever the pattern or the text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
import re2

from pointsman.core.signals import PrivacyClass

from .candidate import Candidate
from .plain import aligned, plain
from .searching import matcher
from .tables import table
from .validators import VALIDATORS

SET_MEMORY = 32 << 20
"""Bytes that the set's automaton may take. It grows with the variety of the texts; when full it starts anew. It reads
every byte of every request: with 4 MiB source takes three times as long, and text full of random values 15 times."""
MOST_CANDIDATES = 5_000
"""Of one detector in one text. Where more fail their check, the text counts as private: unchecked is not harmless."""
_CONTEXT = 32
_BLOCK = 16 << 10
"""Bytes matched at once. A detector runs over the blocks in which it was triggered, not over the whole text."""
_OVERLAP = 1 << 10
"""Bytes that a block shares with the one before, so that a match on the border is whole in one of them."""


class Detector(msgspec.Struct, frozen=True, kw_only=True, rename={"kind": "class"}, forbid_unknown_fields=True):
    """One row of detectors.toml."""

    name: str
    kind: PrivacyClass
    pattern: str | None = None
    alternatives: tuple[str, ...] = ()
    """In place of a pattern: several that mean the same."""
    trigger: str | None = None
    """A short pattern that every match holds, for the set; the pattern itself when it is short."""
    validate: str | None = None

    @property
    def expression(self) -> str:
        return self.pattern or f"(?:{'|'.join(self.alternatives)})"


class Place(NamedTuple):
    """Where a detector found a value: byte positions in the text."""

    detector: Detector
    begin: int
    """Of the whole match, with what must stand before the value."""
    start: int
    end: int


class TooManyCandidates(Exception):
    """More values than are checked one by one in one text."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    public_examples: tuple[str, ...]
    detector: tuple[Detector, ...]


class Detectors:
    """The table's detectors, and one for an installation's own words.

    Args:
        sensitive_tokens: words that count as class `internal`, found without regard to case between characters that
            are no letters or digits.
    """

    def __init__(self, sensitive_tokens: Iterable[str] = ()) -> None:
        rows = _table()
        self._examples = frozenset(map(_compact, rows.public_examples))
        self._detectors: Sequence[Detector] = rows.detector + _own_words(sensitive_tokens)
        self.classes = {detector.name: detector.kind for detector in self._detectors}
        options = re2.Options()
        options.max_mem = SET_MEMORY
        options.log_errors = False
        self._set = re2.Set.SearchSet(options)
        for detector in self._detectors:
            self._set.Add(detector.trigger or detector.expression)
        self._canary: int = self._set.Add(r"\z")
        self._set.Compile()
        self._match = matcher(self._set)

    def find(self, text: str) -> tuple[str, ...]:
        """Names of the detectors that match, in the table's order."""
        return self.find_in(text.encode("utf-8", "replace"))

    def find_in(self, whole: bytes) -> tuple[str, ...]:
        """The same of a text in UTF-8."""
        if not whole:
            return ()
        proven: set[int] = set()
        tried: defaultdict[int, int] = defaultdict(int)
        for raw in (whole,) if len(whole) <= _BLOCK else [raw for _, raw in _blocks(whole)]:
            block = plain(raw)
            for index in self._triggered(block):
                if index not in proven and self._proves(index, block, tried):
                    proven.add(index)
        return tuple(self._detectors[index].name for index in sorted(proven)) if proven else ()

    @property
    def expressions(self) -> list[str]:
        """The detectors' own patterns, in RE2's writing."""
        return [detector.expression for detector in self._detectors]

    def prefilter(self, text: str) -> set[str]:
        """Names of the detectors that may match: the first step of `find` alone."""
        blocks = _blocks(text.encode("utf-8", "replace"))
        return {self._detectors[index].name for _, raw in blocks for index in self._triggered(plain(raw))}

    def places(self, text: bytes, kinds: frozenset[PrivacyClass]) -> list[Place]:
        """Every proven value of these classes in a UTF-8 text, in no order; values on a block's border may overlap.

        Raises:
            TooManyCandidates: more than can be checked one by one.
        """
        found: list[Place] = []
        tried: defaultdict[int, int] = defaultdict(int)
        for offset, raw in _blocks(text):
            block, origins = aligned(raw)
            for index in self._triggered(block):
                detector = self._detectors[index]
                if detector.kind not in kinds:
                    continue
                for match, start, end in self._proven(index, block, tried):
                    found.append(
                        Place(
                            detector=detector,
                            begin=offset + origins[match],
                            start=offset + origins[start],
                            end=offset + origins[end],
                        )
                    )
                if tried[index] > MOST_CANDIDATES:
                    raise TooManyCandidates
        return found

    def _triggered(self, block: bytes) -> Sequence[int]:
        """Places of the detectors that may match."""
        triggered = self._match(block)
        if self._canary not in triggered:
            # The set reports a failure of its automaton as "nothing matched"; the canary always does.
            return range(len(self._detectors))
        return () if len(triggered) == 1 else [index for index in triggered if index != self._canary]

    def _proves(self, index: int, block: bytes, tried: defaultdict[int, int]) -> bool:
        return next(self._proven(index, block, tried), None) is not None

    def _proven(self, index: int, block: bytes, tried: defaultdict[int, int]) -> Iterator[tuple[int, int, int]]:
        """Where a detector's matches begin, and where the value in each begins and ends.

        Each search begins where the last value ended: what stands behind one value may stand before the next.
        """
        detector = self._detectors[index]
        validate = VALIDATORS[detector.validate] if detector.validate else None
        pattern = _compiled(detector.expression)
        groups = range(1, pattern.groups + 1)
        at = 0
        while (match := pattern.search(block, at)) is not None:
            tried[index] += 1
            begin, end = match.span()
            start = begin
            for group in groups:
                span = match.span(group)
                if span[0] >= 0:
                    start, end = span
                    break
            at = max(end, at + 1)
            if validate is None or tried[index] > MOST_CANDIDATES:
                yield begin, start, end
                continue
            value = block[start:end].decode("utf-8", "replace")
            before = block[max(0, start - _CONTEXT) : start].decode("utf-8", "replace")
            after = block[end : end + _CONTEXT].decode("utf-8", "replace")
            if validate(Candidate(value, before, after)) and not self._is_example(value):
                yield begin, start, end

    def _is_example(self, value: str) -> bool:
        return _compact(value) in self._examples or _compact(value.rpartition(".")[2]) in self._examples


@cache
def _table() -> _Table:
    return msgspec.convert(table("detectors"), _Table)


def _blocks(text: bytes) -> Iterator[tuple[int, bytes]]:
    """The text in overlapping blocks that begin and end at white space wherever there is any, and where they begin."""
    start, size = 0, len(text)
    while size - start > _BLOCK:
        end = start + _BLOCK
        cut = max(text.rfind(b"\n", start + _BLOCK // 2, end), text.rfind(b" ", start + _BLOCK // 2, end))
        end = cut if cut > 0 else end
        yield start, text[start:end]
        begin = end - _OVERLAP
        again = text.find(b"\n", begin, end)
        if again < 0:
            again = text.find(b" ", begin, end)
        start = again if again >= 0 else begin
    yield start, text[start:]


@cache
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def _own_words(tokens: Iterable[str]) -> tuple[Detector, ...]:
    words = [
        plain(token.strip().encode("utf-8", "replace")).decode("utf-8", "replace") for token in tokens if token.strip()
    ]
    if not words:
        return ()
    boundary = r"[^\pL\pN]"
    either = "|".join(re2.escape(word) for word in sorted(set(words)))
    pattern = f"(?i)(?:^|{boundary})(?:{either})(?:$|{boundary})"
    return (Detector(name="sensitive_token", kind=PrivacyClass.INTERNAL, pattern=pattern),)


def _compact(text: str) -> str:
    return text.replace(" ", "").replace("-", "").replace(".", "").upper()
