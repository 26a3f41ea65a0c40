"""Trains the policy that ships.

    python -m pointsman.learn.default_policy --data DIR --output FILE --seed 0

Learned from the tables of `SOURCES` alone, whose licences allow it; from no others, wherever DIR has them. For weak and
for strong models, logit P = z·w + b is fitted over their outcomes, with z the centred and scaled feature vector; for
middling ones, of which there are few, to what they add to the mean of those two logits, shrunk hard. Every table weighs
as the square root of its length. The ability of an anchor is the logit of its mean P over all prompts, so that the
three are told on the same prompts. Logits are divided by a temperature that makes held-out prompts likeliest. The same
arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.core.errors import InvalidRequest
from pointsman.core.features import EMBEDDED, VERSION
from pointsman.learn.families.base import Floats
from pointsman.learn.families.folds import grouped_folds
from pointsman.learn.families.logistic import fit_lines, log_loss, sigmoid
from pointsman.learn.reading import PromptReader
from pointsman.learn.table import Table, read_table
from pointsman.pipeline.decide.learned.artefact import (
    Anchor,
    Head,
    LearnedArtefact,
    Near,
    Prior,
    dump_artefact,
    pack,
    read_artefact,
)

WEAK, MIDDLE, STRONG = -1, 0, 1
LIMIT = 5_000_000
"""Bytes."""
PENALTIES = (10_000.0, 3_000.0, 1_000.0, 300.0)
OWN = 10.0
"""Times the penalty: how much harder what is a middling model's own is shrunk."""
FOLDS = 5
TEMPERATURES = tuple(float(value) for value in np.geomspace(0.6, 2.5, 39))
CENTRES = 384
ROUNDS = 15
INNER, OUTER = 0.5, 0.95
"""Quantiles of the distance of held-out prompts to the nearest centre: up to the first anchors are believed whole, and
beyond the second not at all. A wide gate would take prompts of other kinds for known ones."""
KNOWN = 2
"""Tables that a model must stand in to get a head of its own: one table alone says too little of other prompts."""


class Source(NamedTuple):
    """A table that may train what ships."""

    name: str
    licence: str
    abilities: dict[str, int]
    """Of its models; those that are not named are put into thirds by their mean score."""


SOURCES: tuple[Source, ...] = (
    Source(
        "routellm_mmlu",
        "Apache-2.0; MMLU: MIT",
        {"mixtral-8x7b-instruct-v0.1": WEAK, "gpt-4-1106-preview": STRONG},
    ),
    Source(
        "routellm_gsm8k",
        "Apache-2.0; GSM8K: MIT",
        {"mixtral-8x7b-instruct-v0.1": WEAK, "gpt-4-1106-preview": STRONG},
    ),
    Source(
        "lcb_codegen_o1",
        "MIT",
        {"O1-Preview-2024-09-12 (N=1)": STRONG, "O1-Mini-2024-09-12 (N=1)": STRONG},
    ),
    Source("evalperf", "Apache-2.0", {}),
    Source(
        "infibench",
        "Apache-2.0; adapted from Stack Overflow, CC BY-SA",
        {"gpt-3.5-turbo": WEAK, "Codestral-22B-v0.1": MIDDLE, "gpt-4-0613": STRONG},
    ),
)


@dataclass(frozen=True)
class Outcomes:
    """Prompts of every table under one another, and who made what of them."""

    features: Floats
    """(n, WIDTH)."""
    groups: tuple[str, ...]
    tables: NDArray[np.int64]
    """(n,): place of the prompt's table."""
    scores: Floats
    """(n, 3): mean score of the models of each ability; NaN where there is none."""
    by_model: dict[str, Floats]
    """(n,) scores of every model that stands in `KNOWN` tables; NaN where it was not asked."""
    told: tuple[str, ...]
    """Name, licence and size of each table."""


class Fitted(NamedTuple):
    """Three lines, on centred and scaled features."""

    weights: Floats
    """(3, WIDTH), of weak, middling and strong."""
    biases: Floats
    """(3,)."""


def gather(folder: Path) -> Outcomes:
    """The outcomes of `SOURCES` in a folder, or in its folder `routing`.

    Raises:
        InvalidRequest: one of them is missing or broken; names it.
    """
    place = folder / "routing" if (folder / "routing").is_dir() else folder
    read = PromptReader()
    tables = [_table(place, source) for source in SOURCES]
    counts = [len(table) for table in tables]
    scores = []
    for source, table in zip(SOURCES, tables, strict=True):
        ability = _abilities(source, table)
        columns = []
        for level in (WEAK, MIDDLE, STRONG):
            of_level = [place for place, model in enumerate(table.models) if ability[model] == level]
            columns.append(_means(table.scores[:, of_level]))
        scores.append(np.stack(columns, axis=1))
    places = [model for table in tables for model in table.models]
    known = sorted({model for model in places if places.count(model) >= KNOWN})
    return Outcomes(
        features=np.concatenate([table.featured(read) for table in tables]).astype(np.float64),
        groups=tuple(f"{table.name}/{group}" for table in tables for group in table.groups),
        tables=np.repeat(np.arange(len(tables)), counts),
        scores=np.concatenate(scores),
        by_model={model: np.concatenate([_column(table, model) for table in tables]) for model in known},
        told=tuple(
            f"{source.name} ({source.licence}; {len(table)} prompts, {len(table.models)} models)"
            for source, table in zip(SOURCES, tables, strict=True)
        ),
    )


def _table(place: Path, source: Source) -> Table:
    for suffix in (".jsonl.gz", ".jsonl"):
        path = place / f"{source.name}{suffix}"
        if path.is_file():
            return read_table(path)
    raise InvalidRequest(f"{place} holds no {source.name}.jsonl.gz; the default policy is trained from all its tables.")


def _abilities(source: Source, table: Table) -> dict[str, int]:
    means = {model: float(np.nanmean(table.scores[:, at])) for at, model in enumerate(table.models)}
    unnamed = sorted((model for model in table.models if model not in source.abilities), key=lambda m: (means[m], m))
    thirds = np.array_split(np.array(unnamed, dtype=object), 3)
    found = dict(source.abilities)
    for level, models in zip((WEAK, MIDDLE, STRONG), thirds, strict=True):
        found |= dict.fromkeys([str(model) for model in models], level)
    return found


def _means(scores: Floats) -> Floats:
    known = np.logical_not(np.isnan(scores))
    count = known.sum(axis=1)
    found: Floats = np.where(count > 0, np.where(known, scores, 0).sum(axis=1) / np.maximum(count, 1), np.nan)
    return found


def _column(table: Table, model: str) -> Floats:
    if model not in table.models:
        return np.full(len(table), np.nan)
    return table.scores[:, table.models.index(model)]


def fit_three(rows: Floats, scores: Floats, counts: Floats, penalty: float) -> Fitted:
    """
    Args:
        rows: (n, WIDTH), centred and scaled.
        scores: (n, 3); NaN does not count.
        counts: (n,), how much each prompt counts.
    """
    weak, strong = fit_lines(rows, scores[:, [0, 2]], penalty, counts=counts)
    between = (rows @ (weak.weights + strong.weights) + weak.bias + strong.bias) / 2
    [own] = fit_lines(rows, scores[:, [1]], OWN * penalty, counts=counts, offset=between)
    return Fitted(
        np.stack([weak.weights, (weak.weights + strong.weights) / 2 + own.weights, strong.weights]),
        np.array([weak.bias, (weak.bias + strong.bias) / 2 + own.bias, strong.bias]),
    )


def train(outcomes: Outcomes, *, seed: int, command: str) -> LearnedArtefact:
    """The artefact; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    folds = grouped_folds(outcomes.groups, FOLDS, rng)
    counts = table_weights(outcomes.tables)
    penalty = choose_penalty(outcomes, folds, counts)
    mean, scale = centring(outcomes.features)
    rows = (outcomes.features - mean) / scale
    logits = held_out(rows, outcomes.scores, folds, counts, penalty)
    temperature = choose_temperature(logits, outcomes.scores, counts)
    joint = fit_three(rows, outcomes.scores, counts, penalty)
    weights, biases = joint.weights / temperature, joint.biases / temperature
    abilities = [
        _logit(float(np.average(sigmoid(rows @ w + b), weights=counts))) for w, b in zip(weights, biases, strict=True)
    ]
    # the middling models' few outcomes may put them outside; then the two ends say it all
    keep = [0, 1, 2] if abilities[0] < abilities[1] < abilities[2] else [0, 2]
    lines = fit_lines(rows, np.stack(list(outcomes.by_model.values()), axis=1), penalty, counts=counts)
    heads = {
        model: Head(
            weights=pack((line.weights / temperature).tolist()),
            bias=line.bias / temperature,
            count=float(np.isfinite(outcomes.by_model[model]).sum()),
        )
        for model, line in zip(outcomes.by_model, lines, strict=True)
    }
    return LearnedArtefact(
        features=VERSION,
        prior=Prior(
            mean=pack(mean.tolist()),
            scale=pack(scale.tolist()),
            anchors=tuple(
                Anchor(ability=abilities[at], weights=pack(weights[at].tolist()), bias=float(biases[at])) for at in keep
            ),
            near=nearness(outcomes.features[:, :EMBEDDED], folds, rng),
        ),
        heads=heads,
        note=f"Trained by `{command}` with seed {seed} on {'; '.join(outcomes.told)}.",
    )


def table_weights(tables: NDArray[np.int64]) -> Floats:
    """(n,): each table weighs as the square root of its length; 1 on average."""
    sizes = np.bincount(tables)
    weights = 1 / np.sqrt(sizes[tables])
    found: Floats = weights / weights.mean()
    return found


def centring(features: Floats) -> tuple[Floats, Floats]:
    """Means of the columns, and scales: one for the whole embedding, whose components tell by their size, and one for
    each other column."""
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale[:EMBEDDED] = np.sqrt((scale[:EMBEDDED] ** 2).mean())
    scale[scale < 1e-6] = 1.0
    # as the artefact will hold them
    return mean.astype(np.float32).astype(np.float64), scale.astype(np.float32).astype(np.float64)


def held_out(rows: Floats, scores: Floats, folds: NDArray[np.int64], counts: Floats, penalty: float) -> Floats:
    """(n, 3) logits, of each prompt by a fit without its fold."""
    logits = np.zeros_like(scores)
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        fitted = fit_three(rows[~out], scores[~out], counts[~out], penalty)
        logits[out] = rows[out] @ fitted.weights.T + fitted.biases
    return logits


def choose_penalty(outcomes: Outcomes, folds: NDArray[np.int64], counts: Floats) -> float:
    """The one under which held-out prompts are likeliest."""
    mean, scale = centring(outcomes.features)
    rows = (outcomes.features - mean) / scale

    def loss(penalty: float) -> float:
        return _loss(held_out(rows, outcomes.scores, folds, counts, penalty), outcomes.scores, counts, 1.0)

    return min(PENALTIES, key=loss)


def choose_temperature(logits: Floats, scores: Floats, counts: Floats) -> float:
    """What logits are divided by (Guo et al. 2017)."""
    return min(TEMPERATURES, key=lambda value: _loss(logits, scores, counts, value))


def _loss(logits: Floats, scores: Floats, counts: Floats, temperature: float) -> float:
    known = np.logical_not(np.isnan(scores))
    weights = np.broadcast_to(counts[:, None], scores.shape)
    return log_loss(sigmoid(logits[known] / temperature), scores[known], weights[known])


def nearness(embedding: Floats, folds: NDArray[np.int64], rng: np.random.Generator) -> Near:
    """Centres of all prompts, and bounds from the distances of those that were held out to centres of the others."""
    lengths = np.linalg.norm(embedding, axis=1, keepdims=True)
    unit = embedding / np.where(lengths > 0, lengths, 1.0)
    out = folds == 0
    distance = 1 - (unit[out] @ spherical_means(unit[~out], CENTRES, rng).T).max(axis=1)
    inner, outer = (float(np.quantile(distance, share)) for share in (INNER, OUTER))
    centres = spherical_means(unit, CENTRES, rng)
    return Near(centres=pack(centres.ravel().tolist()), count=len(centres), inner=inner, outer=max(outer, inner + 1e-3))


def spherical_means(unit: Floats, count: int, rng: np.random.Generator) -> Floats:
    """(at most `count`, d) unit vectors: k-means by cosine (Dhillon and Modha 2001), begun at random prompts."""
    centres = unit[rng.permutation(len(unit))[:count]]
    for _ in range(ROUNDS):
        nearest = (unit @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, unit)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 1e-9, sums / np.where(lengths > 1e-9, lengths, 1.0), centres)
    return centres


def _logit(chance: float) -> float:
    inside = min(max(chance, 1e-6), 1 - 1e-6)
    return float(np.log(inside / (1 - inside)))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m pointsman.learn.default_policy", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Folder of the public tables.")
    parser.add_argument("--output", type=Path, required=True, help="File that the policy is written to.")
    parser.add_argument("--seed", type=int, default=0, help="Of whatever is random.")
    given = parser.parse_args(arguments)
    try:
        artefact = train(
            gather(given.data),
            seed=given.seed,
            command="python -m pointsman.learn.default_policy --data DIR --output FILE",
        )
        content = msgspec.json.format(dump_artefact(artefact), indent=1) + "\n"
        read_artefact(content)
    except InvalidRequest as error:
        sys.exit(error.message)
    if len(content) > LIMIT:
        sys.exit(f"The policy has {len(content)} bytes; at most {LIMIT} ship.")
    given.output.write_text(content, encoding="utf-8")
    sys.stdout.write(f"{given.output}: {len(content)} bytes\n")


if __name__ == "__main__":
    main()
