"""Measures of sentence vectors: `python -m pointsman.evals.embedding.measure ENCODER_FOLDER DATA_FOLDER`.

Two tasks with known answers: a programmer's question is found by its title (StackEval: recall at 1 and mean reciprocal
rank), and the nearest neighbour of an examination question is of its own subject (MMLU, 57 subjects; only questions
that the table was not fitted to). And how far the table ranks pairs as the encoder does (Spearman's rank correlation of
cosines).
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointsman.providers.static_embedding.bert import Bert
from pointsman.providers.static_embedding.distil import held_out
from pointsman.providers.static_embedding.model import embedded_model
from pointsman.providers.static_embedding.pieces import WordPieces

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]

LONGEST = 254
"""Pieces that the encoder reads; it was trained on 128 and its makers cut at 256."""
_WORD = re.compile(r"\w+")


def recall(queries: Vectors, documents: Vectors) -> tuple[float, float]:
    """Recall at 1 and mean reciprocal rank, where document i answers query i."""
    scores = queries @ documents.T
    ranks = 1 + (scores > np.diag(scores)[:, None]).sum(axis=1)
    return float((ranks == 1).mean()), float((1 / ranks).mean())


def neighbours_agree(vectors: Vectors, labels: Sequence[str]) -> float:
    """The share of rows whose nearest other row has their label."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    known = np.asarray(labels)
    return float((known[scores.argmax(axis=1)] == known).mean())


def rank_correlation(one: Vectors, other: Vectors) -> float:
    """Spearman's, of the cosines of all pairs."""
    above = np.triu_indices(len(one), 1)
    first, second = (np.argsort(np.argsort((vectors @ vectors.T)[above])) for vectors in (one, other))
    return float(np.corrcoef(first, second)[0, 1])


def by_encoder(encoder: Bert) -> Embed:
    """Vectors of the encoder itself; texts of one length go together."""
    pieces = WordPieces(encoder.vocabulary)

    def embed(texts: Sequence[str]) -> Vectors:
        found = [pieces(text[: LONGEST * 12])[:LONGEST] for text in texts]
        by_length: dict[int, list[int]] = {}
        for row, one in enumerate(found):
            by_length.setdefault(len(one), []).append(row)
        made: dict[int, Vectors] = {}
        for rows in by_length.values():
            for at in range(0, len(rows), 16):
                some = rows[at : at + 16]
                made.update(zip(some, encoder([found[row] for row in some]), strict=True))
        return _unit(np.stack([made[row] for row in range(len(texts))]))

    return embed


def by_tf_idf(corpus: Sequence[str]) -> Embed:
    """TF-IDF of words with sublinear counts, as scikit-learn defines them; the corpus gives the frequencies."""
    held = Counter(word for text in corpus for word in set(_WORD.findall(text.lower())))
    columns = {word: column for column, word in enumerate(held)}
    rarity = np.array([np.log((1 + len(corpus)) / (1 + count)) + 1 for count in held.values()], dtype=np.float32)

    def embed(texts: Sequence[str]) -> Vectors:
        made = np.zeros((len(texts), len(columns)), dtype=np.float32)
        for row, text in enumerate(texts):
            for word, count in Counter(_WORD.findall(text.lower())).items():
                if word in columns:
                    made[row, columns[word]] = (1 + np.log(count)) * rarity[columns[word]]
        return _unit(made)

    return embed


def _unit(vectors: Vectors) -> Vectors:
    made: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return made


def _rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m pointsman.evals.embedding.measure ENCODER_FOLDER DATA_FOLDER\n")
        return 2
    folder = Path(arguments[1])
    asked = [row["prompt"].partition("\n") for row in _rows(folder / "intent" / "stackeval.jsonl.gz")]
    asked = [parts for parts in asked if len(parts[2]) >= 80]
    titles, bodies = [title for title, _, _ in asked], [body for _, _, body in asked]
    exams = [row for row in _rows(folder / "routing" / "routellm_mmlu.jsonl.gz") if held_out(row["prompt"])]
    questions, subjects = [row["prompt"] for row in exams], [row["category"] for row in exams]
    model = embedded_model()
    encoder = by_encoder(Bert(Path(arguments[0])))
    kinds: dict[str, Embed] = {"TF-IDF": by_tf_idf([*titles, *bodies, *questions])}
    for width in (64, 128, model.dimensions):
        kinds[f"table, {width}"] = partial(model.embed, dimensions=width)
    kinds["encoder"] = encoder
    reference = encoder(questions[:600])
    for name, embed in kinds.items():
        at_one, reciprocal = recall(embed(titles), embed(bodies))
        same = neighbours_agree(embed(questions), subjects)
        alike = rank_correlation(embed(questions[:600]), reference)
        sys.stdout.write(
            f"{name:12} title→body R@1 {at_one:.3f} MRR {reciprocal:.3f}; subject {same:.3f};"
            f" rank correlation with the encoder {alike:.3f}\n"
        )
    started = time.perf_counter()
    model.embed(questions)
    seconds = time.perf_counter() - started
    kilobytes = sum(len(text.encode()) for text in questions) / 1024
    started = time.perf_counter()
    model.embed(["ten megabytes of text. " * 450_000])
    long_seconds = time.perf_counter() - started
    sys.stdout.write(f"table: {1e3 * seconds / kilobytes:.3f} ms a KB; a text of 10 MB {1e3 * long_seconds:.1f} ms\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
