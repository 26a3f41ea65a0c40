"""How well the evidence tells good answers from bad ones, on answers that the model had not seen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.core.errors import InvalidRequest
from pointsman.pipeline.execute.confidence.model import inputs_of

from .figures import auc, ece, interval
from .fitting import CONDITIONS, OF_TOKENS, chances, fit, folds, held_out, inputs, shares, shifts
from .measured import BEGINNINGS, Row

Floats = NDArray[np.float64]

SINGLE = OF_TOKENS
LOWER_IS_BETTER = ("doubtful", "entropy")
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One row of figures, of `answers` of which the share `right` was right."""

    name: str
    model: str
    answers: int
    right: float
    auc: float | None
    """Area under the ROC curve: how often a right answer gets more than a wrong one of the same model and fold."""
    low: float | None
    high: float | None
    """95 % of the area, by drawing whole families. None where there are no pairs."""
    ece: float | None = None
    """Expected calibration error over ten bins of equal numbers; None of what is no probability."""
    brier: float | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A cascade that hands the least confident answers to the stronger model."""

    escalated: float
    threshold: float
    quality: float
    """Share of right answers that the caller gets."""
    by_chance: float
    """Had as many been escalated blindly."""
    kept_right: float | None
    """Share of right ones among those that were kept."""


class Cascade(msgspec.Struct, frozen=True, kw_only=True):
    weak: str
    strong: str
    tasks: int
    weak_alone: float
    strong_alone: float
    best: float
    """Had only the weak model's wrong answers been escalated."""
    steps: tuple[Step, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    figures: tuple[Figure, ...]
    carried: tuple[Figure, ...]
    """By what was fitted to another model's answers; of the model itself its share of right answers alone is known."""
    cascades: tuple[Cascade, ...]


def judge(rows: Sequence[Row], *, seed: int) -> Report:
    """Every figure, by cross-validation that leaves out whole families of tasks.

    Raises:
        InvalidRequest: there is nothing to judge.
    """
    whole = [row for row in rows if row.whole]
    if len({row.family for row in whole}) < 2:
        raise InvalidRequest("There are too few executed answers to judge; ask a model for some with --model.")
    models = sorted({row.model for row in whole})
    figures = []
    for condition in CONDITIONS:
        figures += _by_model(f"whole, {condition}", whole, *held_out(whole, condition, seed=seed), seed)
    begun = [row for row in rows if not row.whole]
    if begun:
        prior, moved = held_out(begun, "all", seed=seed)
        for tokens in BEGINNINGS:
            here = np.array([row.begun == tokens for row in begun])
            part = [row for row, at in zip(begun, here, strict=True) if at]
            figures += _by_model(f"first {tokens} tokens", part, prior[here], moved[here], seed)
    for name in SINGLE:
        figures += _single(name, whole, seed)
    return Report(
        figures=tuple(figures),
        carried=tuple(_carried(whole, *pair, seed) for pair in permutations(models, 2)),
        cascades=tuple(_cascades(whole, models, seed)),
    )


def _figure(name: str, model: str, rows: Sequence[Row], said: Floats, seed: int, *, calibrated: bool = True) -> Figure:
    right, fold = np.array([row.right for row in rows]), folds(rows, seed)
    low, high = interval(said, right, fold, [row.family for row in rows], seed)
    return Figure(
        name=name,
        model=model,
        answers=len(rows),
        right=round(float(right.mean()), 4),
        auc=_number(auc(said, right, fold)),
        low=low,
        high=high,
        ece=round(ece(said, right), 4) if calibrated else None,
        brier=round(float(((said - right) ** 2).mean()), 4) if calibrated else None,
    )


def _number(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _by_model(name: str, rows: Sequence[Row], prior: Floats, moved: Floats, seed: int) -> list[Figure]:
    made, said = [], chances(prior, moved)
    for model in sorted({row.model for row in rows}):
        here = np.array([row.model == model for row in rows])
        part = [row for row, at in zip(rows, here, strict=True) if at]
        made.append(_figure(name, model, part, said[here], seed))
    return made


def _single(name: str, rows: Sequence[Row], seed: int) -> list[Figure]:
    """One signal by itself, as far as it is known."""
    made = []
    for model in sorted({row.model for row in rows}):
        part = [row for row in rows if row.model == model and inputs_of(row.evidence)[name] is not None]
        if part:
            values = np.array([inputs_of(row.evidence)[name] for row in part], dtype=np.float64)
            signed = -values if name in LOWER_IS_BETTER else values
            made.append(_figure(f"{name} alone", model, part, signed, seed, calibrated=False))
    return made


def _carried(rows: Sequence[Row], learned: str, asked: str, seed: int) -> Figure:
    """What was fitted to one model's answers, of another's answers to families that were left out of the fit."""
    test = [row for row in rows if row.model == asked]
    fold, of_all, said = folds(test, seed), folds(rows, seed), np.zeros(len(test))
    for number in np.unique(fold):
        known = [row for row, at in zip(rows, of_all, strict=True) if at != number]
        expected = {learned: 0.5, asked: 0.5, **shares(known)}
        teaching = [row for row in known if row.model == learned]
        if teaching:
            here = fold == number
            part = inputs([row for row, at in zip(test, here, strict=True) if at], expected, ("all",))
            said[here] = chances(part.prior, shifts(fit(inputs(teaching, expected)), part.x))
    return _figure(f"fitted to {learned}", asked, test, said, seed)


def _cascades(rows: Sequence[Row], models: Sequence[str], seed: int) -> list[Cascade]:
    """Of every two models, the weaker first, over the tasks that both have answered."""
    share, made = shares(rows), []
    said = chances(*held_out(rows, "all", seed=seed))
    for weak, strong in permutations(models, 2):
        known = {(row.task, row.temperature): row.right for row in rows if row.model == strong}
        pairs = [
            (float(chance), row.right, known[row.task, row.temperature])
            for row, chance in zip(rows, said, strict=True)
            if row.model == weak and (row.task, row.temperature) in known
        ]
        if pairs and share[weak] < share[strong]:
            made.append(_cascade(weak, strong, pairs))
    return made


def _cascade(weak: str, strong: str, pairs: Sequence[tuple[float, bool, bool]]) -> Cascade:
    said = np.array([chance for chance, _, _ in pairs])
    first, second = np.array([one for _, one, _ in pairs]), np.array([other for _, _, other in pairs])
    order = np.argsort(said, kind="stable")
    steps = []
    for wanted in SHARES:
        count = round(wanted * len(order))
        away, kept = order[:count], order[count:]
        quality = float((second[away].sum() + first[kept].sum()) / len(order))
        by_chance = float(first.mean() + count / len(order) * (second.mean() - first.mean()))
        steps.append(
            Step(
                escalated=round(count / len(order), 4),
                threshold=round(float(said[kept[0]]), 3) if len(kept) else 1.0,
                quality=round(quality, 4),
                by_chance=round(by_chance, 4),
                kept_right=round(float(first[kept].mean()), 4) if len(kept) else None,
            )
        )
    return Cascade(
        weak=weak,
        strong=strong,
        tasks=len(pairs),
        weak_alone=round(float(first.mean()), 4),
        strong_alone=round(float(second.mean()), 4),
        best=round(float((first | second).mean()), 4),
        steps=tuple(steps),
    )
