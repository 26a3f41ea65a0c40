"""Judging routers between a weak and a strong model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointsman.core.errors import InvalidRequest
from pointsman.learn.families.base import Floats

from .baselines import AFTER_ATTEMPT, BASELINES
from .costs import expected_after
from .judged import Judged, number
from .material import Plan, Sources, attempt_of, signals_of
from .metrics import Pair, brier, calibration_error, curves, figures, grid_apgr
from .resampling import within
from .routers import ask, family

BEFORE, AFTER = "before", "after_attempt"
COVERED = 0.9
"""Share of the prompts on which the weak model's calls must be known for the cascade to be the protocol."""
DRAWN = 201
"""Points of a curve that are kept for plots."""


@dataclass(frozen=True)
class Outcome:
    """One protocol of one pair: every router's figures, and what is told of them."""

    judged: Mapping[str, Judged]
    told: dict[str, Any]


def judge_pair(sources: Sources, weak: str, strong: str, counts: Floats) -> tuple[str, Mapping[str, Judged], Any]:
    """Both protocols where there is something to see of an attempt.

    Args:
        counts: (w, n): how often each prompt of the table counts, the first row all ones.

    Returns:
        the protocol that is the pair's own (chosen by what the table holds, never by the figures), its figures by
        router, and everything as it is told.

    Raises:
        InvalidRequest: the pair cannot be judged.
    """
    table = sources.own.table
    missing = [model for model in (weak, strong) if model not in table.models]
    if missing:
        raise InvalidRequest(f"{table.name} has no outcomes of {', '.join(missing)}.")
    two = table.of([weak, strong])
    rows = np.flatnonzero(two.complete)
    if not len(rows):
        raise InvalidRequest(f"{table.name}: no prompt has outcomes of both {weak} and {strong}.")
    before = _judge(sources, (weak, strong), rows, (), counts)
    protocol, chosen, after = BEFORE, before, None
    attempted = rows[np.isfinite(two.calls[rows, 0])]
    if len(attempted) >= COVERED * len(rows):
        signals = _shared(sources, (weak, strong), signals_of(two, attempted))
        after = _judge(sources, (weak, strong), attempted, signals, counts)
        protocol, chosen = AFTER, after
    told = {
        "weak": weak,
        "strong": strong,
        "weak_score": number(two.scores[rows, 0].mean()),
        "strong_score": number(two.scores[rows, 1].mean()),
        "protocol": protocol,
        **chosen.told,
        BEFORE: before.told,
        AFTER: None if after is None else after.told,
    }
    return protocol, chosen.judged, told


def _shared(sources: Sources, models: Sequence[str], signals: tuple[str, ...]) -> tuple[str, ...]:
    """Those signals that the training part has as well."""
    train = sources.train
    if train is None or not set(models) <= set(train.table.models):
        return signals
    part = train.table.of(models)
    return tuple(name for name in signals if np.isfinite(attempt_of(part, (name,))).mean() >= COVERED) or signals[:1]


def _judge(
    sources: Sources, models: tuple[str, str], rows: NDArray[np.int64], signals: tuple[str, ...], counts: Floats
) -> Outcome:
    table = sources.own.table.of(models)
    plan = sources.plan(models, rows, signals)
    attempt = attempt_of(table, signals) if signals else None
    names = [*sources.spec.families, *BASELINES, *(AFTER_ATTEMPT if signals else ())]
    predicted = {
        name: ask(AFTER_ATTEMPT.get(name) or family(name), sources.own, plan, 2, attempt, sources.spec.seed)
        for name in dict.fromkeys(names)
    }
    pair = Pair(weak=table.scores[rows, 0], strong=table.scores[rows, 1])
    folds = _folds(plan, len(sources.own.table))[rows]
    gains = {name: chances[:, 1] - chances[:, 0] for name, chances in predicted.items()}
    ranks = {name: within(gain, folds) for name, gain in gains.items()}
    weights = counts[:, rows]
    judged = {name: Judged.of(figures(rank, pair, weights)._asdict()) for name, rank in ranks.items()}
    ours, *others = sources.spec.families
    oracle = figures(pair.strong - pair.weak, pair, weights[:1])
    told: dict[str, Any] = {
        "rows": len(rows),
        "learned_from": plan.how,
        "signals": list(signals),
        **judged[ours].told(),
        "grid_apgr": number(grid_apgr(ranks[ours], pair)),
        "by_cost": None,
        "oracle_apgr": number(oracle.apgr[0]),
        "calibration": calibration(predicted[ours], table.scores[rows]),
        "families": {name: _against(judged, ours, name) for name in others},
        "baselines": {name: _against(judged, ours, name) for name in judged if name not in sources.spec.families},
        "curve": _drawn(ranks[ours], pair),
    }
    paid = _paid(pair, table.costs[rows]) if signals else None
    if paid is not None:
        # where calls are paid for, a router's threshold is on what it expects to gain for a dollar
        dear = _expected(plan, len(sources.own.table), attempt)
        spent = {
            name: Judged.of(figures(within(gain / (1.0 if name == "random" else dear), folds), paid, weights)._asdict())
            for name, gain in gains.items()
        }
        told["by_cost"] = {
            **spent[ours].told(),
            "oracle_apgr": number(figures((paid.strong - paid.weak) / table.costs[rows, 1], paid, weights[:1]).apgr[0]),
            "attempt_share": number(float(np.mean(table.costs[rows, 0]) / np.mean(table.costs[rows, 1]))),
            "families": {name: _against(spent, ours, name) for name in others},
            "baselines": {name: _against(spent, ours, name) for name in spent if name not in sources.spec.families},
        }
    return Outcome(judged, told)


def calibration(predicted: Floats, scores: Floats) -> dict[str, float | None]:
    """ECE and Brier score of P(success), with the Brier score of each model's mean beside it."""
    means = np.tile(np.nanmean(scores, axis=0), (len(scores), 1))
    return {
        "ece": number(calibration_error(predicted, scores)),
        "brier": number(brier(predicted, scores)),
        "brier_of_means": number(brier(means, scores)),
    }


def _against(judged: Mapping[str, Judged], ours: str, name: str) -> dict[str, Any]:
    return {**judged[name].told(), "ours_less_this": judged[ours].less(judged[name])}


def _paid(pair: Pair, costs: Floats) -> Pair | None:
    """The pair with what each run cost; None where that is not known of both, or the strong model costs no more."""
    if not np.isfinite(costs).all() or costs[:, 1].mean() <= costs[:, 0].mean():
        return None
    return Pair(weak=pair.weak, strong=pair.strong, weak_cost=costs[:, 0], strong_cost=costs[:, 1])


def _expected(plan: Plan, size: int, attempt: Floats | None) -> Floats:
    """(rows of the plan,): what the strong model is expected to cost after the attempt; all routers are given the same
    expectation.

    Args:
        size: of the judged table.
    """
    dear = np.ones(size)
    for split in plan.splits:
        if attempt is None or split.prompts.attempt is None:
            continue
        known = np.isfinite(split.costs[:, 1])
        if known.any():
            seen = split.prompts.attempt[known]
            dear[split.test] = expected_after(seen, split.costs[known, 1:], attempt[split.test])[:, 0]
    return dear[plan.rows]


def _folds(plan: Plan, rows: int) -> NDArray[np.int64]:
    folds = np.zeros(rows, dtype=np.int64)
    for number_, split in enumerate(plan.splits):
        folds[split.test] = number_
    return folds


def _drawn(rank: Floats, pair: Pair) -> dict[str, list[float | None]]:
    found = curves(rank, pair, np.ones((1, len(rank))))
    at = np.unique(np.linspace(0, found.shares.shape[1] - 1, DRAWN).astype(np.int64))
    return {
        "x": [number(value) for value in found.shares[0, at]],
        "pgr": [number(value) for value in found.pgr[0, at]],
    }
