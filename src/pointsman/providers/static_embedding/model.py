"""The model: a table of vectors, read once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .pieces import WordPieces

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "static-minilm-v1"
"""Vectors of two tables cannot be compared: a table with other values gets another name."""
TABLE = Path(__file__).parent.parent / "data" / f"{NAME}.npz"
HEAD, TAIL = 6_000, 2_000
"""Characters that are read of a longer text: of its beginning and of its end."""


class StaticEmbedder:
    """Sentence vectors without a network: about a millisecond for a kilobyte of text.

    Args:
        table: int8 vectors (pieces, dimensions); the first dimensions say the most, so vectors may be cut.
        scales: float32 (pieces,): what a row is multiplied by. Rare pieces weigh more than common ones.
        vocabulary: the piece of each row.
        unknown: the row that stands for a text without a known piece.
    """

    def __init__(
        self, table: NDArray[np.int8], scales: NDArray[np.float32], vocabulary: Sequence[str], *, unknown: int
    ) -> None:
        self._table = table
        self._scales = scales
        self._pieces = WordPieces(vocabulary)
        self._unknown = unknown

    @property
    def dimensions(self) -> int:
        return int(self._table.shape[1])

    def pieces(self, text: str) -> list[int]:
        """The pieces that are read of a text: of a long one those of its head and its tail."""
        if len(text) > HEAD + TAIL:
            text = f"{text[:HEAD]} {text[-TAIL:]}"
        return self._pieces(text) or [self._unknown]

    def vectors(self, pieces: Sequence[Sequence[int]], dimensions: int | None = None) -> NDArray[np.float32]:
        """What `embed` makes of texts whose pieces are known."""
        import numpy as np

        width = dimensions or self.dimensions
        made = np.empty((len(pieces), width), dtype=np.float32)
        for row, found in enumerate(pieces):
            made[row] = self._sum(found, width)
        lengths: NDArray[np.float32] = np.sqrt((made * made).sum(axis=1, keepdims=True))
        if not lengths.all():  # cut so short that nothing is left of one: any direction is as good
            made[lengths[:, 0] == 0, 0] = 1
            lengths[lengths == 0] = 1
        made /= lengths
        return made

    def vector(self, pieces: Sequence[int]) -> NDArray[np.float32]:
        """The only one of `vectors` for one text, (dimensions,), in less time."""
        made = self._sum(pieces, self.dimensions)
        length = math.sqrt(made.dot(made))
        if length:
            made /= length
        else:
            made = self.vectors([pieces])[0]
        return made

    def _sum(self, pieces: Sequence[int], width: int) -> NDArray[np.float32]:
        import numpy as np

        # Each routine of NumPy that a request calls must first come into the processor's cache: few are used.
        counts = Counter(pieces)
        numbers = np.fromiter(counts, np.intp, len(counts))
        weights = np.fromiter(counts.values(), np.float32, len(counts))
        np.sqrt(weights, out=weights)
        weights *= self._scales.take(numbers)
        rows = self._table.take(numbers, axis=0)
        if width < self.dimensions:
            rows = rows[:, :width]
        made: NDArray[np.float32] = weights.dot(rows.astype(np.float32))
        return made

    def embed(self, texts: Sequence[str], dimensions: int | None = None) -> NDArray[np.float32]:
        """One vector of length 1 for each text.

        Args:
            dimensions: how many of the model's dimensions to keep, 1 to `dimensions`.

        Returns:
            float32, (texts, dimensions).
        """
        return self.vectors([self.pieces(text) for text in texts], dimensions)


@cache
def embedded_model() -> StaticEmbedder:
    """The model that comes with the package; read at the first call (about 0.1 s and 12 MB)."""
    return read(TABLE)


def embed_one(text: str) -> NDArray[np.float32]:
    """The vector of one text, (dimensions,), by the model that comes with the package."""
    model = embedded_model()
    return model.vector(model.pieces(text))


def read(path: Path) -> StaticEmbedder:
    """A model as `distil` writes it.

    Raises:
        OSError, ValueError, KeyError: the file is not there, or is no such model.
    """
    import numpy as np

    with np.load(path, allow_pickle=False) as held:
        vocabulary = held["vocabulary"].tobytes().decode().split("\n")
        return StaticEmbedder(held["table"], held["scales"], vocabulary, unknown=vocabulary.index("[UNK]"))
