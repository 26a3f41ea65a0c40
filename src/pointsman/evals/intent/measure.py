"""Accuracy, macro-F1 and calibration of the intent: the rules alone, the rules with the classifier, and a majority.

Sets that the classifier is trained on are judged by cross-validation: by regressions that never saw the ask's group
(the template, the source's own `split_key`), and by ones that never saw its source. The held-out templates, and sets
whose licence lets nothing be trained on them, are judged by a regression that was trained on all the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointsman.core.signals import Intent
from pointsman.evals.routing.resampling import interval, resampled
from pointsman.learn.intent.asks import SOURCES, own_asks, public_asks
from pointsman.learn.intent.training import Calibration, Inputs, answers, by_source, calibrate, cross_validated, fit
from pointsman.learn.intent.training import read_inputs as read
from pointsman.pipeline.understand.intent_model import CLASSES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BINS = 15
TIMES = 1_000
"""Bootstrap draws of whole groups."""
GENERAL = CLASSES.index(Intent.GENERAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    value: float
    low: float | None = None
    high: float | None = None
    """Of the 95 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way to tell intents, on one set. `general` counts as wrong where the label is another."""

    method: str
    accuracy: Figure
    macro_f1: Figure
    """The mean over the intents that occur in the set."""
    ece: float
    """Expected calibration error, in 15 bins of equal width, over the asks that got an intent other than `general`."""
    coverage: float
    """Share of the asks that got one."""
    selective: float
    """Accuracy among these."""
    gain: Figure
    """Of accuracy over the rules alone, paired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One set."""

    name: str
    asks: int
    groups: int
    unseen: bool
    """Whether no row of the set ever teaches the classifier that is judged on it."""
    rows: tuple[Row, ...]


def measure(data: Path | None, *, seed: int = 7, progress: Callable[[str], None] = lambda line: None) -> list[Judged]:
    """Judge on the project's own templates, and on the public files that lie in `data`."""
    public = [] if data is None else public_asks(data, seed=seed)
    ships = {source.name for source in SOURCES if source.ships}
    progress("reading the asks")
    seen = read([*own_asks("known", seed=seed), *(ask for ask in public if ask.source in ships)])
    unseen = read([*own_asks("heldout", seed=seed + 1), *(ask for ask in public if ask.source not in ships)])
    progress("cross-validation by group")
    grouped = cross_validated(seen, seed=seed)
    progress("cross-validation by source")
    apart = by_source(seen, seed=seed)
    calibration = calibrate(seen, grouped=grouped, apart=apart)
    final = fit(seen).logits(unseen.x)
    judged = []
    for name in dict.fromkeys(unseen.sources.tolist()):
        here = unseen.sources == name
        judged.append(_judge(name, unseen.rows(here), {"with classifier": final[here]}, calibration, seed, unseen=True))
    for name in dict.fromkeys(seen.sources.tolist()):
        here = seen.sources == name
        logits = {"with classifier": grouped[here], "with classifier, source unseen": apart[here]}
        if name.startswith("own_"):
            del logits["with classifier, source unseen"]  # only groups are left out of the project's own asks
        judged.append(_judge(name, seen.rows(here), logits, calibration, seed, unseen=False))
    return judged


def _judge(
    name: str, inputs: Inputs, logits: dict[str, Floats], calibration: Calibration, seed: int, *, unseen: bool
) -> Judged:
    counts = resampled(inputs.groups.tolist(), TIMES, seed)
    most = int(np.bincount(inputs.y).argmax())
    methods: dict[str, tuple[Ints, Floats]] = {
        "rules": (inputs.rules, inputs.confidence),
        "majority": (np.full(len(inputs.y), most), np.full(len(inputs.y), float((inputs.y == most).mean()))),
    }
    for method, found in logits.items():
        methods[method] = answers(inputs, found, calibration)
    by_rules = inputs.rules == inputs.y
    rows = tuple(
        _row(method, inputs.y, said, confidence, by_rules, counts) for method, (said, confidence) in methods.items()
    )
    return Judged(name=name, asks=len(inputs.y), groups=len(set(inputs.groups.tolist())), unseen=unseen, rows=rows)


def _row(method: str, y: Ints, said: Ints, confidence: Floats, by_rules: Bools, counts: Floats) -> Row:
    right = said == y
    answered = said != GENERAL
    return Row(
        method=method,
        accuracy=_figure(float(right.mean()), _means(right, counts)),
        macro_f1=_figure(float(_f1(y, said, np.ones((1, len(y))))[0]), _f1(y, said, counts)),
        ece=expected_calibration_error(confidence[answered], right[answered]),
        coverage=float(answered.mean()),
        selective=float(right[answered].mean()) if answered.any() else 0.0,
        gain=_figure(float(right.mean() - by_rules.mean()), _means(right, counts) - _means(by_rules, counts)),
    )


def _figure(value: float, replicates: Floats) -> Figure:
    found = interval(replicates)
    return Figure(value=value) if found is None else Figure(value=value, low=found[0], high=found[1])


def _means(right: Bools, counts: Floats) -> Floats:
    made: Floats = counts @ right / counts.sum(axis=1)
    return made


def _f1(y: Ints, said: Ints, counts: Floats) -> Floats:
    """(draws,): the mean over the intents of the set of 2 hits / (said + there)."""
    found = []
    for intent in np.unique(y):
        hits = counts @ ((y == intent) & (said == intent))
        both = counts @ (y == intent).astype(float) + counts @ (said == intent).astype(float)
        found.append(2 * hits / np.maximum(both, 1e-9))
    made: Floats = np.mean(found, axis=0)
    return made


def expected_calibration_error(confidence: Floats, right: Bools) -> float:
    """Σ share of the bin × |mean confidence − share right|, over BINS bins of equal width (Naeini et al. 2015)."""
    if not len(confidence):
        return 0.0
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    total = 0.0
    for place in np.unique(places):
        here = places == place
        total += here.mean() * abs(confidence[here].mean() - right[here].mean())
    return float(total)
