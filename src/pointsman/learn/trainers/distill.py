"""Distils a full-information table into a learned policy: a logistic head for each model, anchors for those that were
not in the table, and where both hold.

For every model, over centred and scaled features x and scores y in [0, 1],

    minimise  Σ −y log σ(w·x + b) − (1 − y) log(1 − σ(w·x + b)) + λ/2 |w|²

by steps of bounded curvature; λ is the one of `PENALTIES` under which held-out groups are likeliest. Two anchors are
fitted alike to the mean scores of the weaker and of the stronger half of the models, so that a model that was not
there is placed between or beyond them by its quality.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.core.errors import InvalidRequest
from pointsman.core.features import EMBEDDED
from pointsman.learn.table import Table
from pointsman.pipeline.decide.learned.artefact import Anchor, Head, LearnedArtefact, Near, Prior, pack

Floats = NDArray[np.float64]

PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0)
FOLDS = 4
STEPS = 60
LEAST = 40
"""Prompts below which nothing is fitted."""
CENTRES = 64
ROUNDS = 8
INNER, OUTER = 0.9, 1.35
"""Anchors are believed whole as far from the nearest centre as this share of the prompts they were fitted on, and not
at all beyond so many times that distance."""


class Distiller:
    """Fits heads, anchors and their nearness gate. Afterwards `artefact_` is the policy, `penalty_` is λ and `skill_`
    the share of the held-out deviance that the features explain, by model.

    Args:
        base: everything else of the policy.
    """

    def __init__(self, *, base: LearnedArtefact) -> None:
        self.base = base

    def fit(self, table: Table, read: Callable[[str], bytes], *, rng: np.random.Generator) -> Self:
        """
        Args:
            read: a prompt to its feature vector.

        Raises:
            InvalidRequest: too few prompts, one model only, or scores that are all alike.
        """
        table = table.rows(table.complete)
        check(table)
        x = table.featured(read).astype(np.float64)
        mean, spread = x.mean(axis=0), x.std(axis=0)
        scale = np.where(spread > 1e-6, spread, 1.0)
        rows = (x - mean) / scale
        folds = _dealt(table.groups, rng)
        trials = {penalty: self._held_out(rows, table.scores, folds, penalty) for penalty in PENALTIES}
        self.penalty_ = min(trials, key=lambda penalty: float(trials[penalty].sum()))
        flat = _deviance(_logit(table.scores.mean(axis=0))[None, :], table.scores).sum(axis=0)
        lost = trials[self.penalty_] / np.maximum(flat, 1e-9)
        self.skill_ = dict(zip(table.models, (1 - lost).tolist(), strict=True))
        weights, bias = logistic(rows, table.scores, self.penalty_)
        heads = {
            model: Head(weights=pack(weights[:, column].tolist()), bias=float(bias[column]), count=float(len(table)))
            for column, model in enumerate(table.models)
        }
        prior = Prior(
            mean=pack(mean.tolist()),
            scale=pack(scale.tolist()),
            anchors=self._anchors(rows, table.scores),
            near=_near(x[:, :EMBEDDED], rng),
        )
        self.artefact_ = msgspec.structs.replace(self.base, prior=prior, heads=heads, state=None)
        return self

    def _held_out(self, rows: Floats, scores: Floats, folds: NDArray[np.int64], penalty: float) -> Floats:
        """(models,): deviance of what each fold's models say of the others."""
        total = np.zeros(scores.shape[1])
        for fold in range(FOLDS):
            out = folds == fold
            weights, bias = logistic(rows[~out], scores[~out], penalty)
            total += _deviance(rows[out] @ weights + bias, scores[out]).sum(axis=0)
        return total

    def _anchors(self, rows: Floats, scores: Floats) -> tuple[Anchor, ...]:
        order = np.argsort(scores.mean(axis=0), kind="stable")
        targets = np.stack([scores[:, half].mean(axis=1) for half in np.array_split(order, 2)], axis=1)
        weights, bias = logistic(rows, targets, self.penalty_)
        abilities = _logit(targets.mean(axis=0))
        found = [
            Anchor(ability=float(abilities[half]), weights=pack(weights[:, half].tolist()), bias=float(bias[half]))
            for half in range(2)
        ]
        if found[0].ability >= found[1].ability:  # two models that are equally good
            found[1] = msgspec.structs.replace(found[0], ability=found[0].ability + 1.0, bias=found[0].bias + 1.0)
        return tuple(found)


def logistic(rows: Floats, targets: Floats, penalty: float) -> tuple[Floats, Floats]:
    """Weights (d, m) and biases (m,), which are not shrunk, of ridge logistic regressions on m targets (n, m).

    Steps with the bound p (1 − p) ≤ ¼ in the place of the curvature (Böhning and Lindsay 1988): it never overshoots,
    and one factor serves every model and step.
    """
    n, d = rows.shape
    whole = np.hstack([rows, np.ones((n, 1))])
    shrink = np.append(np.full(d, penalty), 1e-6)[:, None]
    bound = np.linalg.inv(whole.T @ whole / 4 + np.diag(shrink[:, 0]))
    weights = np.zeros((d + 1, targets.shape[1]))
    weights[-1] = _logit(targets.mean(axis=0))
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(whole @ weights, -30, 30)))
        step = bound @ (whole.T @ (p - targets) + shrink * weights)
        weights -= step
        if np.abs(step).max() < 1e-4:
            break
    return weights[:-1], weights[-1]


def check(table: Table) -> None:
    """
    Raises:
        InvalidRequest: this table teaches nothing.
    """
    if len(table.models) < 2:
        raise InvalidRequest(f"{table.name} tells of one model only; there is nothing to choose between.")
    if len(table) < LEAST:
        raise InvalidRequest(
            f"{table.name} has {len(table)} prompts that every model answered; at least {LEAST} are needed."
        )
    if np.ptp(table.scores) == 0:
        raise InvalidRequest(f"Every score of {table.name} is {table.scores[0, 0]:g}: nothing tells the models apart.")


def _near(embedded: Floats, rng: np.random.Generator) -> Near:
    """Centres of the prompts by k-means on the sphere, and how far from them the prompts lie."""
    unit = embedded / np.maximum(np.linalg.norm(embedded, axis=1, keepdims=True), 1e-9)
    count = min(CENTRES, max(1, len(unit) // 8))
    centres = unit[rng.choice(len(unit), count, replace=False)]
    for _ in range(ROUNDS):
        nearest = (unit @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, unit)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 1e-9, sums / np.maximum(lengths, 1e-9), centres)
    inner = float(np.clip(np.quantile(1 - (unit @ centres.T).max(axis=1), INNER), 0.05, 1.0))
    return Near(centres=pack(centres.ravel().tolist()), count=count, inner=inner, outer=min(inner * OUTER, 2.0))


def _dealt(groups: Sequence[str], rng: np.random.Generator) -> NDArray[np.int64]:
    """(n,): a fold for each prompt; those of a group are in the same."""
    _, places = np.unique(np.array(groups), return_inverse=True)
    folds: NDArray[np.int64] = (rng.permutation(int(places.max()) + 1) % FOLDS)[places]
    return folds


def _deviance(logits: Floats, scores: Floats) -> Floats:
    clipped = np.clip(logits, -30, 30)
    deviance: Floats = np.log1p(np.exp(clipped)) - scores * clipped
    return deviance


def _logit(p: Floats) -> Floats:
    held = np.clip(p, 0.01, 0.99)
    logits: Floats = np.log(held / (1 - held))
    return logits
