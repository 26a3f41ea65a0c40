"""Text to word pieces: BERT's uncased WordPiece, over words as code and prose write them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import chain, repeat

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_IDEOGRAPHS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W_{_IDEOGRAPHS}]+|[^\w\s]|_")
_ACCENT = re.compile(r"[\u0300-\u036f]")

LONGEST_WORD = 100
"""Letters; a longer run is no word, and finding its pieces is quadratic."""
MOST_REMEMBERED = 10_000
"""Words whose pieces are kept, and as many runs between white space; about 200 bytes each. Five times as many make
12,000 passages of source and prose no faster to read."""
LONGEST_KEPT = 32
"""Letters of a word or a run that is remembered: longer ones seldom come again, and can be as long as a text."""


class _Runs(dict[str, Sequence[int]]):
    """The pieces of runs between white space that were met before; of others they are found."""

    def __init__(self, find: Callable[[str], Sequence[int]]) -> None:
        self._find = find

    def __missing__(self, run: str) -> Sequence[int]:
        pieces = self._find(run)
        if len(run) <= LONGEST_KEPT:
            if len(self) >= MOST_REMEMBERED:
                self.clear()
            self[run] = pieces
        return pieces


class WordPieces:
    """Finds the pieces of a text.

    Args:
        vocabulary: every piece, by id; pieces that continue a word begin with `##`.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        pieces = {piece: number for number, piece in enumerate(vocabulary) if piece}
        self._begin = pieces
        """The pieces that a word may begin with, and those that may stand in it anywhere else, without their `##`."""
        self._continue = {piece[2:]: number for piece, number in pieces.items() if piece.startswith("##")}
        self._words: dict[str, tuple[int, ...]] = {}
        self._runs = _Runs(self._of_run)

    def __call__(self, text: str) -> list[int]:
        """The ids of the pieces, in order; a word that cannot be made of pieces has none.

        Beside BERT's own rules `camelCase` counts as two words.
        """
        if not text.isascii():
            text = _ACCENT.sub("", unicodedata.normalize("NFD", text))
        # No word reaches across white space, and most of a text's runs between it were met before.
        return list(chain.from_iterable(map(self._runs.__getitem__, text.split())))

    def _of_run(self, run: str) -> Sequence[int]:
        found: list[int] = []
        known = self._words
        lower = run.lower()
        if lower.isascii() and lower.isalpha():
            words = [lower] if lower == run else _CAMEL.sub(" ", run).lower().split()
        else:
            words = _WORD.findall(lower if lower == run else _CAMEL.sub(" ", run).lower())
        for word in words:
            pieces = known.get(word)
            if pieces is None:
                pieces = self._of_word(word)
                if len(word) <= LONGEST_KEPT:
                    if len(known) >= MOST_REMEMBERED:
                        known.clear()
                    known[word] = pieces
            found += pieces
        return found

    def _of_word(self, word: str) -> tuple[int, ...]:
        whole = self._begin.get(word)
        if whole is not None:
            return (whole,)
        if len(word) > LONGEST_WORD:
            return ()
        found, start, pieces = [], 0, self._begin
        while start < len(word):
            ends = range(len(word), start, -1)
            longest = next(filter(pieces.__contains__, map(word.__getitem__, map(slice, repeat(start), ends))), None)
            if longest is None:
                return ()
            found.append(pieces[longest])
            start, pieces = start + len(longest), self._continue
        return tuple(found)
