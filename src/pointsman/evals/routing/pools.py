"""Judging routers that choose among many models, where costs are known against the hull of single models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from pointsman.core.errors import InvalidRequest
from pointsman.learn.families.base import Floats
from pointsman.learn.table import Table

from .baselines import BASELINES
from .cascade import cascades
from .frontier import Sweep, against, expected_costs, frontier, means, sweep
from .judged import Judged, number
from .material import Ints, Plan, Sources
from .routers import ask, family
from .shortlist import believe
from .two import AFTER, BEFORE, calibration

COVERED = 0.9
"""Share of the prompts on which a model's outcome (and, where costs count, its cost) must be known."""
LEAST_ROWS = 10
LEAST_MODELS = 3
CASCADED = ("random", "logistic")
"""Baselines that run the cascade too: each needs a fit for every model that may go first."""


def judge_pool(sources: Sources, counts: Floats) -> dict[str, Any] | None:
    """The multi-model frontier, or None where fewer than three models share enough prompts.

    Args:
        counts: (w, n): how often each prompt of the table counts, the first row all ones.

    Raises:
        InvalidRequest: there is too little to learn from.
    """
    table = sources.own.table
    offered = None if sources.train is None else set(sources.train.table.models)
    models = [model for model in table.models if offered is None or model in offered]
    costed = tuple(model for model in models if _covered(table, model, cost=True))
    if len(costed) >= LEAST_MODELS:
        part = table.of(costed)
        rows = np.flatnonzero(part.complete & np.isfinite(part.costs).all(axis=1))
        if len(rows) >= LEAST_ROWS:
            return _with_costs(sources, costed, rows, counts)
    scored = tuple(model for model in models if _covered(table, model, cost=False))
    if len(scored) >= LEAST_MODELS:
        rows = np.flatnonzero(table.of(scored).complete)
        if len(rows) >= LEAST_ROWS:
            return _without_costs(sources, scored, rows, counts)
    return None


def _covered(table: Table, model: str, *, cost: bool) -> bool:
    part = table.of([model])
    known = np.isfinite(part.scores[:, 0])
    if cost:
        known &= np.isfinite(part.costs[:, 0])
    return bool(known.mean() >= COVERED)


def _asked(sources: Sources, models: tuple[str, ...], plan: Plan, names: Iterable[str]) -> dict[str, Floats]:
    return {name: ask(family(name), sources.own, plan, len(models), None, sources.spec.seed) for name in names}


def _planned(sources: Sources, models: tuple[str, ...], rows: Ints) -> Plan:
    plan = sources.plan(models, rows)
    if not plan.splits:
        raise InvalidRequest(f"{plan.how}, and a prior that knows nothing of them cannot choose")
    return plan


def _with_costs(sources: Sources, models: tuple[str, ...], rows: Ints, counts: Floats) -> dict[str, Any]:
    """Before any attempt and, where every model's calls are known, in a cascade, which is then the table's protocol."""
    table = sources.own.table.of(models)
    part, weights = table.rows(rows), counts[:, rows]
    plan = _planned(sources, models, rows)
    expected = expected_costs(plan, table)[rows]
    ours = sources.spec.families
    believed = {name: believe(sources, plan, family(name), len(models), expected) for name in ours}
    playable = {name: one.playable for name, one in believed.items()}
    playable |= _asked(sources, models, plan, [name for name in BASELINES if name not in ours])
    sweeps = {name: sweep(chances, expected, part.costs, part.scores) for name, chances in playable.items()}
    told: dict[str, Any] = {
        "rows": len(part),
        "models": len(models),
        "learned_from": plan.how,
        "calibration": calibration(believed[ours[0]].predicted, part.scores),
        **_singles(part, weights),
    }
    before = frontier(ours, part, weights, sweeps, sweeps["random"])
    after = None
    if np.isfinite(part.calls).all():
        names = dict.fromkeys([*ours, *CASCADED])
        ran: dict[str, Sweep] = {}
        for name in names:
            ran[name] = cascades(sources, plan, table, family(name), playable[name], expected, listed=name in believed)
        after = frontier(ours, part, weights, ran, sweeps["random"])
    chosen = before if after is None else after
    return {**told, "protocol": BEFORE if after is None else AFTER, **chosen, BEFORE: before, AFTER: after}


def _singles(part: Table, weights: Floats) -> dict[str, Any]:
    scores = part.scores.mean(axis=0)
    best = int(np.argmax(scores))
    return {
        "best_single": {
            "model": part.models[best],
            "score": number(scores[best]),
            "cost_usd": number(part.costs[:, best].mean()),
        },
        "oracle_score": number(means(weights[:1], part.scores.max(axis=1)[:, None])[0, 0]),
    }


def _without_costs(sources: Sources, models: tuple[str, ...], rows: Ints, counts: Floats) -> dict[str, Any]:
    """Quality alone: what the choice of the likeliest model gains over the best single one, and what the oracle has
    over it."""
    part, weights = sources.own.table.of(models).rows(rows), counts[:, rows]
    plan = _planned(sources, models, rows)
    ours = sources.spec.families
    believed = {name: believe(sources, plan, family(name), len(models)) for name in ours}
    playable = {name: one.playable for name, one in believed.items()}
    playable |= _asked(sources, models, plan, [name for name in BASELINES if name not in ours])
    best = int(np.argmax(part.scores.mean(axis=0)))
    single = means(weights, part.scores[:, [best]])[:, 0]
    oracle = means(weights, part.scores.max(axis=1)[:, None])[:, 0]
    judged = {}
    for name, chances in playable.items():
        picked = part.scores[np.arange(len(part)), np.argmax(chances, axis=1)]
        quality = means(weights, picked[:, None])[:, 0]
        judged[name] = Judged.of({"gain": quality - single, "regret": oracle - quality})
    return {
        "rows": len(part),
        "models": len(models),
        "learned_from": plan.how,
        "calibration": calibration(believed[ours[0]].predicted, part.scores),
        **_singles(part, weights),
        "protocol": BEFORE,
        **judged[ours[0]].told(),
        **against(judged, ours),
    }
