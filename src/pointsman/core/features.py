"""What a learned policy sees of an ask: a few hundred bytes, small enough to be logged with every decision.

A vector is quantised when it is read, and policies reckon with what the bytes say, so that a decision can be worked
out again from its log entry to the last digit. Layout: one byte `VERSION`, `EMBEDDED` int8 of the sentence embedding
(a unit vector times `EMBEDDING_SCALE`), then one int8 for each name of `STRUCTURE` (a value in [0, 1] times 127).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION = 2
"""Vectors of two versions cannot be compared: another layout, reading or embedding gets another number."""
EMBEDDED = 256
EMBEDDING_SCALE = 384.0
"""Components of a unit vector of 256 dimensions rarely exceed a third."""
STRUCTURE: tuple[str, ...] = (
    "length",
    "code_share",
    "code_blocks",
    "digits",
    "symbols",
    "code_marks",
    "upper",
    "not_ascii",
    "word_length",
    "lines",
    "indented",
    "list_items",
    "questions",
    "quotes",
    "choices",
    "mathematics",
    "complexity",
    "complexity_length",
    "complexity_terms",
    "complexity_structure",
)
"""Shares and saturated counts in [0, 1], in the order of the bytes; `pipeline/understand/features.py` says what of."""
WIDTH = EMBEDDED + len(STRUCTURE)


def readable(features: bytes) -> bool:
    """Whether these bytes are a vector of this version; logs may hold older ones, and requests that were not read have
    none."""
    return len(features) == WIDTH + 1 and features[0] == VERSION


def without_embedding(features: bytes) -> bytes:
    """The vector with zeros in the place of the embedding: the words of a short text can be read back from the
    embedding, and none from the structure. Of another version nothing is left."""
    return features[:1] + bytes(EMBEDDED) + features[1 + EMBEDDED :] if readable(features) else b""


def decode(features: Sequence[bytes]) -> NDArray[np.float32]:
    """Vectors as numbers.

    Returns:
        float32, (vectors, WIDTH): the embedding with a length of about 1, then the structure in [0, 1].

    Raises:
        ValueError: one of them is not of this version.
    """
    import numpy as np

    if not all(map(readable, features)):
        raise ValueError("these are no feature vectors of this version")
    joined = features[0] if len(features) == 1 else b"".join(features)
    raw = np.frombuffer(joined, dtype=np.int8).reshape(len(features), WIDTH + 1)[:, 1:]
    return raw.astype(np.float32) / _scales()


def decode_one(features: bytes) -> NDArray[np.float32]:
    """A readable vector as numbers: (WIDTH,), as `decode` has them."""
    import numpy as np

    return np.frombuffer(features, dtype=np.int8, offset=1).astype(np.float32) / _scales()


@cache
def _scales() -> NDArray[np.float32]:
    import numpy as np

    scales = np.full(WIDTH, 127.0, dtype=np.float32)
    scales[:EMBEDDED] = EMBEDDING_SCALE
    return scales
