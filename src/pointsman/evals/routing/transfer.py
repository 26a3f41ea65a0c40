"""What a router that learned on one table makes of another, which it should know little about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pointsman.core.errors import InvalidRequest, PointsmanError
from pointsman.learn.families.base import Family
from pointsman.learn.table import read_table

from .judged import Judged, number
from .material import Material, some
from .metrics import Pair, figures
from .resampling import resampled
from .routers import family
from .spec import Spec
from .two import calibration

BESIDE = ("knn", "logistic")
"""Baselines that are judged beside ours."""


class Transfer(NamedTuple):
    """A weak → strong pair of one table, and the pair in another whose place it takes."""

    learned_on: str
    pair: tuple[str, str]
    judged_on: str
    other: tuple[str, str]


MMLU = ("mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview")
TRANSFERS = (
    Transfer("routellm_mmlu", MMLU, "routellm_gsm8k", MMLU),
    Transfer("routellm_mmlu", MMLU, "alpacaeval1", ("gpt-3.5-turbo-1106", "gpt4_1106_preview")),
    Transfer("routellm_mmlu", MMLU, "alpacaeval2", ("gpt-3.5-turbo-1106", "gpt4_1106_preview")),
)
"""Where the second table lacks the first one's models, the pair is one of about their abilities with a clear gap."""


def transfers(train: Mapping[str, Path], data: Mapping[str, Path], spec: Spec) -> list[Spec]:
    """One specification for each table to learn on, with those to judge that are there."""
    found: dict[tuple[str, tuple[str, str]], list[Transfer]] = {}
    for row in TRANSFERS:
        if row.learned_on in train and row.judged_on in data:
            found.setdefault((row.learned_on, row.pair), []).append(row)
    return [
        replace(
            spec,
            name=f"learned on {learned_on}",
            data=train[learned_on],
            pairs=(pair,),
            transfer_to=tuple((data[row.judged_on], row.other) for row in rows),
            online=False,
        )
        for (learned_on, pair), rows in found.items()
    ]


def judge_transfer(spec: Spec) -> dict[str, Any]:
    """Figures of every family on each of the tables, by `first → second`; a constant router has an APGR of 0.5.

    Raises:
        InvalidRequest: the table to learn on cannot be read.
        OSError: likewise.
    """
    learned = Material(read_table(spec.data))
    part = learned.table.of(spec.pairs[0])
    rows = np.flatnonzero(np.isfinite(part.scores).any(axis=1))
    if spec.labels is not None:
        rows = some(part, rows, spec.labels, spec.seed)
    seen, prompts = part.rows(rows), learned.prompts(rows)
    names = dict.fromkeys([*spec.families, *BESIDE])
    fitted = {
        name: family(name)().fit(prompts, seen.scores, groups=seen.groups, rng=np.random.default_rng([spec.seed, 0]))
        for name in names
    }
    found: dict[str, Any] = {}
    for path, pair in spec.transfer_to:
        try:
            asked = Material(read_table(path))
            found[f"{part.name} → {asked.table.name}"] = _judge(spec, fitted, asked, pair)
        except (PointsmanError, OSError) as error:
            found[f"{part.name} → {path.name}"] = {"error": str(error)}
    return found


def _judge(spec: Spec, fitted: Mapping[str, Family], asked: Material, pair: tuple[str, str]) -> dict[str, Any]:
    missing = [model for model in pair if model not in asked.table.models]
    if missing:
        raise InvalidRequest(f"{asked.table.name} has no outcomes of {', '.join(missing)}.")
    part = asked.table.of(pair)
    test = np.flatnonzero(part.complete)
    if not len(test):
        raise InvalidRequest(f"{asked.table.name}: no prompt has outcomes of both {' and '.join(pair)}.")
    scores = part.scores[test]
    two = Pair(weak=scores[:, 0], strong=scores[:, 1])
    draws = resampled([asked.table.groups[int(row)] for row in test], spec.bootstrap, spec.seed)
    weights = np.concatenate([np.ones((1, len(test))), draws])
    prompts = asked.prompts(test)
    told = {}
    for name, one in fitted.items():
        chances = one.predict(prompts)
        figures_ = Judged.of(figures(chances[:, 1] - chances[:, 0], two, weights)._asdict())
        told[name] = {**figures_.told(), "calibration": calibration(chances, scores)}
    ours = spec.families[0]
    return {
        "pair": list(pair),
        "rows": len(test),
        "weak_score": number(scores[:, 0].mean()),
        "strong_score": number(scores[:, 1].mean()),
        **told[ours],
        "others": {name: one for name, one in told.items() if name != ours},
    }
