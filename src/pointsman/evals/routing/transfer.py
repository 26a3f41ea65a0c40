"""What a router that learned on one table makes of another, which it should know little about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pointsman.learn.table import read_table

from .judged import Judged, number
from .material import Material, Plan, Sources, Split
from .metrics import Pair, figures
from .resampling import resampled
from .routers import ask, family
from .spec import Spec
from .two import calibration


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


def transfers(train: Mapping[str, Path], data: Mapping[str, Path], spec: Spec) -> list[tuple[Transfer, Spec]]:
    """Those whose two tables are there, each with what it takes to judge it."""
    return [
        (
            row,
            replace(
                spec,
                name=f"{row.learned_on} → {row.judged_on}",
                data=train[row.learned_on],
                transfer_to=data[row.judged_on],
                pairs=(row.pair, row.other),
                online=False,
            ),
        )
        for row in TRANSFERS
        if row.learned_on in train and row.judged_on in data
    ]


def judge_transfer(spec: Spec) -> dict[str, Any]:
    """APGR of every family on the second table; a constant router has 0.5.

    Raises:
        InvalidRequest: a table cannot be read.
        OSError: likewise.
    """
    assert spec.transfer_to is not None
    pair, other = spec.pairs
    learned = Sources(replace(spec, transfer_to=None)).own
    asked = Material(read_table(spec.transfer_to))
    part = learned.table.of(pair)
    rows = np.flatnonzero(np.isfinite(part.scores).any(axis=1))
    judged_part = asked.table.of(other)
    test = np.flatnonzero(judged_part.complete)
    seen = part.rows(rows)
    split = Split(learned.prompts(rows), seen.scores, seen.costs, seen.groups, test)
    plan = Plan(test, (split,), f"transfer from {learned.table.name}")
    scores = judged_part.scores[test]
    two = Pair(weak=scores[:, 0], strong=scores[:, 1])
    groups = [asked.table.groups[int(row)] for row in test]
    weights = np.concatenate([np.ones((1, len(test))), resampled(groups, spec.bootstrap, spec.seed)])
    told: dict[str, Any] = {}
    for name in dict.fromkeys([*spec.families, "knn", "logistic"]):
        chances = ask(family(name), asked, plan, 2, None, spec.seed)
        found = Judged.of(figures(chances[:, 1] - chances[:, 0], two, weights)._asdict()).told()
        told[name] = {**found, "calibration": calibration(chances, scores)}
    ours = spec.families[0]
    return {
        "learned_on": learned.table.name,
        "learned_pair": list(pair),
        "judged_on": asked.table.name,
        "pair": list(other),
        "rows": len(test),
        "weak_score": number(scores[:, 0].mean()),
        "strong_score": number(scores[:, 1].mean()),
        **told[ours],
        "others": {name: figures for name, figures in told.items() if name != ours},
    }
