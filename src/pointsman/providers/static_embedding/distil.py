"""Distil a sentence encoder into a table: `python -m pointsman.providers.static_embedding.distil FOLDER TABLE`.

Each piece of the vocabulary goes through the encoder alone; the vectors are rotated by a principal component analysis,
so that the first dimensions say the most and later ones can be cut, and weighted by smooth inverse frequency (Arora et
al. 2017, `a / (a + p)`), where p is Zipf's for the piece's rank in the vocabulary, which is sorted by frequency. This
is the recipe of Model2Vec (Tulkens and van Dongen 2024). Each row is rounded to int8 by a scale of its own.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

from .bert import Array, Bert

DIMENSIONS = 256
SMOOTHING = 1e-3
"""The `a` of the weights; Arora et al. found 1e-3 to 1e-4 to serve alike."""
BATCH = 512
_LEFT_OUT = re.compile(r"\[(?:unused\d+|PAD|CLS|SEP|MASK)\]")


def distil(encoder: Bert, *, dimensions: int = DIMENSIONS) -> tuple[Array, list[str]]:
    """The weighted vectors (pieces, dimensions) and the pieces, without the model's own marks."""
    kept = [number for number, piece in enumerate(encoder.vocabulary) if piece and not _LEFT_OUT.fullmatch(piece)]
    raw = np.concatenate([encoder([[number] for number in kept[at : at + BATCH]]) for at in range(0, len(kept), BATCH)])
    weights = _zipf(len(kept))
    centred = raw - raw.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    return (centred @ directions[:dimensions].T) * weights[:, None], [encoder.vocabulary[number] for number in kept]


def _zipf(count: int) -> Array:
    """The weight of each rank."""
    share = 1 / np.arange(2, count + 2)
    share /= share.sum()
    return (SMOOTHING / (SMOOTHING + share)).astype(np.float32)


def write(path: Path, vectors: Array, vocabulary: list[str]) -> None:
    """The table as `model.read` reads it."""
    scales = np.maximum(np.abs(vectors).max(axis=1), np.float32(1e-12)) / np.float32(127)
    table = np.rint(vectors / scales[:, None]).astype(np.int8)
    words = np.frombuffer("\n".join(vocabulary).encode(), dtype=np.uint8)
    np.savez_compressed(path, table=table, scales=scales.astype(np.float32), vocabulary=words)


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m pointsman.providers.static_embedding.distil FOLDER TABLE\n")
        return 2
    vectors, vocabulary = distil(Bert(Path(arguments[0])))
    write(Path(arguments[1]), vectors, vocabulary)
    sys.stdout.write(f"{len(vocabulary)} pieces of {vectors.shape[1]} dimensions in {arguments[1]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
