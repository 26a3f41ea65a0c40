"""From evidence and verdicts to the artefact: two logistic models, fitted by maximum a posteriori.

Each answer's logit begins at that of its model's share of right answers, so that the weights learn what tells the
answers of one model apart, not what tells models apart.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.core.errors import InvalidRequest
from pointsman.pipeline.execute.confidence.evidence import Evidence
from pointsman.pipeline.execute.confidence.model import (
    INPUTS,
    VERSION,
    Artefact,
    Logistic,
    Part,
    Point,
    inputs_of,
    logit,
)

from .figures import interval
from .measured import USUAL, Row

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FOLDS = 5
STRENGTH = 2.0
"""Of the prior: the inverse of the variance of a weight around what is stipulated, its input being of about unit
size."""
STIPULATED: Mapping[str, float] = {
    "refusal": -3.0,
    "doubt": -1.0,
    "repetition": -2.0,
    "broken": -2.5,
    "codeless": -1.5,
    "stub": -1.5,
    "cut": -1.5,
}
"""What a sign counts for where no answer had it, in logits; what was seen moves it. Others begin at nothing."""
SCALES: Mapping[str, float] = {
    "total": 0.7, "mean_logprob": 0.2, "worst_short": 0.5, "worst_long": 0.25, "doubtful": 0.1, "entropy": 0.25,
    "code_total": 0.7, "code_worst": 0.5, "length": 0.5,
}  # fmt: skip
"""Of the inputs that are no signs: about their standard deviation."""
OF_TOKENS = ("total", "mean_logprob", "worst_short", "worst_long", "doubtful", "entropy", "code_total", "code_worst")
WAYS: Mapping[str, int] = {
    **dict.fromkeys(("total", "mean_logprob", "worst_short", "worst_long", "code_total", "code_worst"), 1),
    **dict.fromkeys(("doubtful", "entropy", *STIPULATED), -1),
}
"""The sign that a weight must have."""
CONDITIONS = ("all", "no alternatives", "no log-probabilities")
"""What a provider tells of the tokens."""
CURVE = 40
"""Steps of a curve."""


def seen_as(evidence: Evidence, condition: str) -> Evidence:
    """The evidence, had the provider told less."""
    if condition == "all":
        return evidence
    poorer = msgspec.structs.replace(evidence, entropy=None)
    if condition == "no alternatives":
        return poorer
    return msgspec.structs.replace(evidence, **dict.fromkeys(OF_TOKENS))


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """Rows as a model sees them."""

    x: Floats
    """(n, inputs), NaN where one is missing."""
    right: NDArray[np.bool_]
    prior: Floats
    """(n,): the logit of what is expected of each answer's model."""
    weight: Floats
    """(n,): what a row counts for."""


def inputs(rows: Sequence[Row], expected: Mapping[str, float], conditions: Sequence[str] = CONDITIONS) -> Inputs:
    """Each row once for every condition, together counting as one.

    Args:
        expected: the share of right answers of each model, as `shares` gives it.

    Raises:
        InvalidRequest: there are no rows.
    """
    if not rows:
        raise InvalidRequest("There are too few executed answers to learn from.")
    table = []
    for row in rows:
        for condition in conditions:
            found = inputs_of(seen_as(row.evidence, condition))
            table.append([np.nan if (value := found[name]) is None else value for name in INPUTS])
    each = len(conditions)
    return Inputs(
        x=np.array(table, dtype=np.float64),
        right=np.repeat([row.right for row in rows], each),
        prior=np.repeat([logit(expected[row.model]) for row in rows], each),
        weight=np.full(len(table), 1 / each),
    )


def shares(rows: Sequence[Row]) -> dict[str, float]:
    """The share of right answers of each model, drawn to a half by two answers' worth."""
    count, right = Counter(row.model for row in rows), Counter(row.model for row in rows if row.right)
    return {model: (right[model] + 1) / (count[model] + 2) for model in count}


def fit(data: Inputs) -> Logistic:
    """Minimise the weighted log loss plus STRENGTH/2 · Σ (scaled weight − stipulated)².

    Likelier tokens may never count against an answer, nor signs of trouble for it: of the inputs whose weight has the
    wrong sign the worst is left out, until none has.
    """
    scale = np.array([SCALES.get(name, 1.0) for name in INPUTS])
    stipulated = np.array([STIPULATED.get(name, 0.0) for name in INPUTS])
    way = np.array([WAYS.get(name, 0) for name in INPUTS])
    told = np.isfinite(data.x)
    count = (told * data.weight[:, None]).sum(axis=0)
    sums = (np.where(told, data.x, 0.0) * data.weight[:, None]).sum(axis=0)
    centre = np.where(count > 0, sums / np.maximum(count, 1e-9), 0.0)
    design = np.where(told, (data.x - centre) / scale, 0.0)
    used = np.ones(len(INPUTS), dtype=bool)
    while True:
        weights = np.zeros(len(INPUTS))
        weights[used], bias = _fitted(design[:, used], data, stipulated[used])
        wrong = weights * way
        if wrong.min() >= 0:
            break
        used[wrong.argmin()] = False
    return Logistic(
        bias=round(bias, 4),
        weights={name: round(float(weight), 4) for name, weight in zip(INPUTS, weights / scale, strict=True)},
        centres={name: round(float(value), 4) for name, value in zip(INPUTS, centre, strict=True)},
    )


def _fitted(design: Floats, data: Inputs, stipulated: Floats) -> tuple[Floats, float]:
    """Weights and bias, by Newton's method."""
    design = np.column_stack([design, np.ones(len(design))])
    goal = np.append(stipulated, 0.0)
    strength = np.append(np.full(len(stipulated), STRENGTH), 1e-3)

    def loss(at: Floats) -> float:
        logits = data.prior + design @ at
        return float(
            (data.weight * (np.logaddexp(0, logits) - data.right * logits)).sum()
            + (strength * (at - goal) ** 2).sum() / 2
        )

    found, last = goal, loss(goal)
    for _ in range(100):
        said = chances(data.prior, design @ found)
        slope = design.T @ (data.weight * (data.right - said)) - strength * (found - goal)
        bend = (design * (data.weight * said * (1 - said))[:, None]).T @ design + np.diag(strength)
        step = np.linalg.solve(bend, slope)
        while (less := loss(found + step)) > last and np.abs(step).max() > 1e-9:
            step /= 2  # far from the end a whole step may go past it
        found, last = found + step, less
        if np.abs(step).max() < 1e-9:
            break
    return found[:-1], float(found[-1])


def shifts(model: Logistic, x: Floats) -> Floats:
    """(n,): by how much the inputs move the logit, as serving reckons it."""
    weights = np.array([model.weights[name] for name in INPUTS])
    centre = np.array([model.centres[name] for name in INPUTS])
    made: Floats = np.where(np.isfinite(x), x - centre, 0.0) @ weights + model.bias
    return made


def chances(prior: Floats, moved: Floats) -> Floats:
    """(n,): the probabilities."""
    made: Floats = 1 / (1 + np.exp(-np.clip(prior + moved, -30, 30)))
    return made


def folds(rows: Sequence[Row], seed: int) -> Ints:
    """The fold of each row; those of one family share it."""
    return np.array([zlib.crc32(f"{seed}:{row.family}".encode()) % FOLDS for row in rows])


def held_out(rows: Sequence[Row], condition: str, *, seed: int) -> tuple[Floats, Floats]:
    """(n,) twice: prior and shift of each row, by a model that never saw its family; nor are the shares that the priors
    stand for from there."""
    fold, prior, moved = folds(rows, seed), np.zeros(len(rows)), np.zeros(len(rows))
    for number in range(FOLDS):
        out = fold == number
        if out.any():
            known = [row for row, left in zip(rows, out, strict=True) if not left]
            asked = [row for row, left in zip(rows, out, strict=True) if left]
            expected = {**dict.fromkeys({row.model for row in asked}, 0.5), **shares(known)}
            test = inputs(asked, expected, (condition,))
            prior[out], moved[out] = test.prior, shifts(fit(inputs(known, expected)), test.x)
    return prior, moved


def curve(said: Floats, right: NDArray[np.bool_]) -> tuple[Point, ...]:
    """What thresholds come to, by shares of the answers escalated: rising."""
    points = []
    for threshold in np.unique(np.round(np.quantile(said, np.linspace(0, 1, CURVE + 1)), 3)):
        kept = said >= threshold
        points.append(
            Point(
                threshold=float(threshold),
                escalated=round(float(1 - kept.mean()), 4),
                quality=round(float(right[kept].mean()), 4) if kept.any() else 1.0,
            )
        )
    return tuple(points)


def train(rows: Sequence[Row], *, seed: int) -> Artefact:
    """The artefact. The same rows and seed give the same.

    Raises:
        InvalidRequest: there are no rows of whole answers, or none of beginnings.
    """
    whole, begun = [row for row in rows if row.whole], [row for row in rows if not row.whole]
    seen = Counter(name for row in whole for name in STIPULATED if inputs_of(row.evidence)[name])
    return Artefact(
        version=VERSION,
        prior=round(float(np.mean(list(shares(whole).values()))), 4),
        whole=_part(whole, whole, seed),
        begun=_part(begun, [row for row in begun if row.begun == USUAL], seed),
        trained_on=dict(sorted(Counter(row.model for row in whole).items())),
        seen={name: seen[name] for name in STIPULATED},
        seed=seed,
    )


def _part(rows: Sequence[Row], told: Sequence[Row], seed: int) -> Part:
    """Args:
    told: those of the rows for which thresholds are told.
    """
    learned = fit(inputs(rows, shares(rows)))
    chosen = {id(row) for row in told}
    here = np.array([id(row) in chosen for row in rows])
    prior, moved = (part[here] for part in held_out(rows, "all", seed=seed))
    right = np.array([row.right for row in told])
    quantiles = np.quantile(moved, np.linspace(0, 1, CURVE + 1))
    return Part(
        model=learned,
        telling=_telling(told, moved, right, seed),
        shifts=tuple(round(float(one), 4) for one in quantiles),
        curve=curve(chances(prior, moved), right),
    )


def _telling(rows: Sequence[Row], moved: Floats, right: NDArray[np.bool_], seed: int) -> bool:
    """Whether a right answer is surely above a wrong one more often than by chance, of the same model and fold."""
    models = sorted({row.model for row in rows})
    apart = folds(rows, seed) * len(models) + np.array([models.index(row.model) for row in rows])
    low, _ = interval(moved, right, apart, [row.family for row in rows], seed)
    return low is not None and low > 0.5
