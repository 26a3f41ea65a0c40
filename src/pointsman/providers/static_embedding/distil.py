"""Distil a sentence encoder into a table.

    python -m pointsman.providers.static_embedding.distil FOLDER TABLE TEXTS...

Each piece of the vocabulary goes through the encoder alone, as Model2Vec does it (Tulkens and van Dongen 2024). The
vectors are whitened in part, and weighted by the square of what their piece tells: its inverse document frequency in
the texts and in Zipf's law for its rank in the vocabulary, which is sorted by frequency. `fit` then brings sums of them
closer to what the encoder makes of sentences of the texts. A rotation by principal components puts first what says the
most, so that vectors may be cut; each row is rounded to int8 by a scale of its own.

TEXTS are files of JSON lines (gzipped) with a `prompt`. A fourth of them, by a checksum, is left for measuring.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from .bert import Array, Bert
from .fit import fit
from .pieces import WordPieces

DIMENSIONS = 256
SENTENCES = 10_000
SHORTEST, LONGEST = 6, 40
"""Pieces of the sentences that are fitted to."""
WHITENING = 0.75
"""1 would give every direction the same weight, 0 leaves them as the encoder has them."""
BATCH = 512
_LEFT_OUT = re.compile(r"\[(?:unused\d+|PAD|CLS|SEP|MASK)\]")
_SENTENCE = re.compile(r"(?<=[.?!])\s+|\n+")


def held_out(text: str) -> bool:
    """Whether a text is for measuring alone."""
    return zlib.crc32(text.encode()) % 4 == 0


def distil(encoder: Bert, texts: Sequence[str]) -> tuple[Array, list[str]]:
    """The weighted vectors (pieces, DIMENSIONS) and the pieces, without the model's own marks."""
    kept = [number for number, piece in enumerate(encoder.vocabulary) if piece and not _LEFT_OUT.fullmatch(piece)]
    vocabulary = [encoder.vocabulary[number] for number in kept]
    raw = np.concatenate([encoder([[number] for number in kept[at : at + BATCH]]) for at in range(0, len(kept), BATCH)])
    left, strengths, right = np.linalg.svd(raw - raw.mean(axis=0), full_matrices=False)
    whitened = (left * strengths ** (1 - WHITENING)) @ right
    pieces = WordPieces(vocabulary)
    information = _information(len(kept), [pieces(text) for text in texts])
    sentences = _sentences(texts, pieces)
    to_encoder = np.asarray(kept)
    wanted = _encoded(encoder, [to_encoder[found].tolist() for found in sentences])
    table = fit(whitened * np.square(information)[:, None], information, sentences, wanted)
    sums = np.stack([table[found].sum(axis=0) for found in sentences])
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.float32(1e-12))
    _, _, directions = np.linalg.svd(sums, full_matrices=False)
    return table @ directions[:DIMENSIONS].T, vocabulary


def _information(count: int, texts: Iterable[Sequence[int]]) -> Array:
    """What each piece tells: the logarithm of how few texts hold it; Zipf's law stands for as many texts again."""
    shares = 1 / np.arange(2, count + 2)
    shares /= shares.sum()
    held, number = np.zeros(count), 0
    for found in texts:
        held[list(set(found))] += 1
        number += 1
    held += number * np.minimum(1, 20 * shares)  # a text has some twenty words
    return np.log((1 + 2 * number) / (1 + held)).astype(np.float32)


def _sentences(texts: Iterable[str], pieces: WordPieces) -> list[list[int]]:
    found = dict.fromkeys(
        tuple(ids)
        for text in texts
        for sentence in _SENTENCE.split(text[:6_000])
        if SHORTEST <= len(ids := pieces(sentence)) <= LONGEST
    )
    every = list(found)
    chosen = np.random.default_rng(7).permutation(len(every))[:SENTENCES]
    return [list(every[at]) for at in chosen]


def _encoded(encoder: Bert, sentences: Sequence[Sequence[int]]) -> Array:
    """The encoder's vectors, of length 1; sentences of one length go together."""
    made = np.empty((len(sentences), encoder.width), dtype=np.float32)
    for length in {len(found) for found in sentences}:
        rows = [row for row, found in enumerate(sentences) if len(found) == length]
        for at in range(0, len(rows), 64):
            made[rows[at : at + 64]] = encoder([sentences[row] for row in rows[at : at + 64]])
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def write(path: Path, vectors: Array, vocabulary: list[str]) -> None:
    """The table as `model.read` reads it."""
    scales = np.maximum(np.abs(vectors).max(axis=1), np.float32(1e-12)) / np.float32(127)
    table = np.rint(vectors / scales[:, None]).astype(np.int8)
    words = np.frombuffer("\n".join(vocabulary).encode(), dtype=np.uint8)
    np.savez_compressed(path, table=table, scales=scales.astype(np.float32), vocabulary=words)


def read_texts(path: Path) -> list[str]:
    """The prompts of a file of JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["prompt"] for line in lines]


def main(arguments: list[str]) -> int:
    if len(arguments) < 3:
        sys.stderr.write("usage: python -m pointsman.providers.static_embedding.distil FOLDER TABLE TEXTS...\n")
        return 2
    texts = [text for name in arguments[2:] for text in read_texts(Path(name)) if not held_out(text)]
    vectors, vocabulary = distil(Bert(Path(arguments[0])), texts)
    write(Path(arguments[1]), vectors, vocabulary)
    sys.stdout.write(f"{len(vocabulary)} pieces of {vectors.shape[1]} dimensions in {arguments[1]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
