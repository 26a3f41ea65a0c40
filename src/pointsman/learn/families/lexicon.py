"""Texts as sparse rows: TF-IDF over words, pairs of words and pieces of words.

Weights are (1 + log tf) · idf with idf = 1 + log((1 + n) / (1 + df)), each kind of term brought to length 1 on its own
(Salton and Buckley 1988, with the smoothing that scikit-learn uses). Rows are compressed (CSR), and the same numbers
lie sorted by column (CSC), so that both products are one gather and one segmented sum.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .base import Floats

LOOKED_AT = 8_000
"""Characters of the beginning that are read."""
COMMON = 12
"""Prompts from which a term's column is held whole while inner products are made."""
_WORD = re.compile(r"\w+|[^\w\s]")


class Sparse:
    """An (n, d) matrix of which few entries are not 0; without duplicates.

    Args:
        rows: of the entries, rising.
    """

    def __init__(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], values: Floats, shape: tuple[int, int]
    ) -> None:
        self.shape = shape
        self.rows, self.columns, self.values = rows, columns, values
        self._by_row = _Segments(rows, columns, values, shape[0])
        order = np.argsort(columns, kind="stable")
        self._by_column = _Segments(columns[order], rows[order], values[order], shape[1])

    def __matmul__(self, dense: Floats) -> Floats:
        """(n, d) @ (d, q)."""
        return self._by_row.times(dense)

    def transposed_times(self, dense: Floats) -> Floats:
        """(d, n) @ (n, q)."""
        return self._by_column.times(dense)

    def kernel(self) -> Floats:
        """(n, n): inner products of the rows."""
        size = self.shape[0]
        inner, values, starts = self._by_column.parts()
        counts = np.diff(np.append(starts, len(inner)))
        common = counts >= COMMON
        held = np.repeat(common, counts)
        dense = np.zeros((int(common.sum()), size))
        dense[np.repeat(np.arange(len(dense)), counts[common]), inner[held]] = values[held]
        kernel = (dense.T @ dense).ravel()
        # a rare term touches few pairs of prompts; terms of equally many prompts go together
        for count in range(1, COMMON):
            entries = starts[counts == count, None] + np.arange(count)
            rows, weights = inner[entries], values[entries]
            cells = rows[:, :, None] * size + rows[:, None, :]
            kernel += np.bincount(
                cells.ravel(), (weights[:, :, None] * weights[:, None, :]).ravel(), minlength=size * size
            )
        return kernel.reshape(size, size)

    def pick(self, places: NDArray[np.int64]) -> Sparse:
        """These rows, in this order; the columns stay."""
        starts = np.searchsorted(self.rows, places, side="left")
        counts = np.searchsorted(self.rows, places, side="right") - starts
        entries = np.repeat(starts - np.r_[0, np.cumsum(counts)[:-1]], counts) + np.arange(int(counts.sum()))
        return Sparse(
            np.repeat(np.arange(len(places)), counts),
            self.columns[entries],
            self.values[entries],
            (len(places), self.shape[1]),
        )


class _Segments:
    def __init__(self, outer: NDArray[np.int64], inner: NDArray[np.int64], values: Floats, size: int) -> None:
        self._inner, self._values, self._size = inner, values, size
        self._places, self._starts = np.unique(outer, return_index=True)

    def parts(self) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
        return self._inner, self._values, self._starts

    def times(self, dense: Floats) -> Floats:
        found = np.zeros((self._size, dense.shape[1]))
        if len(self._inner):
            for column in range(dense.shape[1]):
                # a column at a time: the gathered one stays in the cache
                found[self._places, column] = np.add.reduceat(self._values * dense[self._inner, column], self._starts)
        return found


class Lexicon:
    """Learns a vocabulary, then turns texts into rows.

    Args:
        pieces: character n-grams of words of these lengths besides words and their pairs; (0, 0) for none.
        least: prompts that a term must occur in.
        size: the most frequent terms of each kind that are kept.
    """

    def __init__(self, *, pieces: tuple[int, int] = (0, 0), least: int = 2, size: int = 60_000) -> None:
        self._pieces, self._least, self._size = pieces, least, size

    def fit(self, texts: Sequence[str]) -> Sparse:
        """The rows of these texts."""
        self._kinds = 2 + bool(self._pieces[1])
        self.vocabulary_: list[dict[str, int]] = []
        self.idf_: list[Floats] = []
        found = []
        for kind in range(self._kinds):
            growing: dict[str, int] = {}
            rows, terms, counts = _counted([_ids(text, kind, self._pieces, growing, True) for text in texts])
            frequency = np.bincount(terms, minlength=len(growing))
            least = self._least if len(texts) > 20 else 1
            kept = np.flatnonzero(frequency >= least)
            if len(kept) > self._size:
                kept = np.sort(kept[np.argsort(-frequency[kept], kind="stable")[: self._size]])
            place = np.full(len(growing), -1)
            place[kept] = np.arange(len(kept))
            self.vocabulary_.append({term: int(place[at]) for term, at in growing.items() if place[at] >= 0})
            self.idf_.append(1.0 + np.log((1.0 + len(texts)) / (1.0 + frequency[kept])))
            inside = place[terms] >= 0
            found.append((rows[inside], place[terms[inside]], counts[inside]))
        return self._joined(found, len(texts))

    def __call__(self, texts: Sequence[str]) -> Sparse:
        found = [
            _counted([_ids(text, kind, self._pieces, self.vocabulary_[kind], False) for text in texts])
            for kind in range(self._kinds)
        ]
        return self._joined(found, len(texts))

    def _joined(self, found: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats]], size: int) -> Sparse:
        rows, columns, values, offset = [], [], [], 0
        for idf, (row, term, count) in zip(self.idf_, found, strict=True):
            weight = (1.0 + np.log(count)) * idf[term]
            length = np.sqrt(np.bincount(row, weight**2, minlength=size))
            rows.append(row)
            columns.append(term + offset)
            values.append(weight / length[row] if len(row) else weight)
            offset += len(idf)
        row, column, value = np.concatenate(rows), np.concatenate(columns), np.concatenate(values)
        order = np.argsort(row, kind="stable")
        return Sparse(row[order], column[order], value[order], (size, offset))


def _terms(text: str, kind: int, pieces: tuple[int, int]) -> Iterator[str]:
    words = _WORD.findall(text[:LOOKED_AT].lower())
    if kind == 0:
        yield from words
    elif kind == 1:
        for first, second in pairwise(words):
            yield f"{first} {second}"
    else:
        for word in words:
            framed = f"<{word}>"
            for size in range(pieces[0], pieces[1] + 1):
                for start in range(len(framed) - size + 1):
                    yield framed[start : start + size]


def _ids(text: str, kind: int, pieces: tuple[int, int], vocabulary: dict[str, int], growing: bool) -> list[int]:
    if growing:
        return [vocabulary.setdefault(term, len(vocabulary)) for term in _terms(text, kind, pieces)]
    return [vocabulary[term] for term in _terms(text, kind, pieces) if term in vocabulary]


def _counted(ids: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Rows, terms and how often, sorted by row."""
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    flat = np.fromiter((term for row in ids for term in row), dtype=np.int64, count=int(lengths.sum()))
    stride = int(flat.max()) + 1 if len(flat) else 1
    keys, counts = np.unique(np.repeat(np.arange(len(ids)), lengths) * stride + flat, return_counts=True)
    return keys // stride, keys % stride, counts.astype(np.float64)
