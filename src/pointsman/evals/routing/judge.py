"""Judging one table: a pure function of its specification, so that it can run in any process on any machine."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from pointsman.core.errors import PointsmanError

from .judged import mean_of, number
from .material import Sources
from .pairs import choose_pair
from .pools import judge_pool
from .resampling import LEAST_GROUPS, resampled
from .spec import Spec
from .transfer import judge_transfer
from .two import AFTER, judge_pair

_log = logging.getLogger(__name__)

FAULTS = (ArithmeticError, LookupError, ValueError, np.linalg.LinAlgError)
"""What a family may raise over numbers that it cannot deal with."""
TOP = ("apgr", "cpt50", "cpt80")
OF_POOL = ("aiq", "hull_gain", "hull_gain_in_hindsight", "gain", "saving", "regret")


def evaluate_dataset(spec: Spec) -> dict[str, Any]:
    """Every figure of one table as values that JSON knows; with an `error` that says why for one that cannot be
    judged."""
    try:
        return judge_transfer(spec) if spec.transfer_to else _judge(spec)
    except PointsmanError as error:
        return {"error": error.message}
    except OSError as error:
        return {"error": f"{spec.data.name} cannot be read: {error.strerror or error}."}
    except FAULTS as error:
        _log.warning("judging %s failed", spec.name, exc_info=True)  # a family's fault must not lose the other tables
        return {"error": f"A family failed on it: {type(error).__name__}: {error}."}


def _judge(spec: Spec) -> dict[str, Any]:
    sources = Sources(spec)
    table = sources.own.table
    groups = len(set(table.groups))
    draws = spec.bootstrap if groups >= LEAST_GROUPS else 0
    counts = np.concatenate([np.ones((1, len(table))), resampled(table.groups, draws, spec.seed)])
    pairs, notes = list(spec.pairs), []
    if not draws:
        several = "s" if groups > 1 else ""
        notes.append(f"{groups} group{several} of prompts: no interval can be told of fewer than {LEAST_GROUPS}")
    if not pairs:
        found = choose_pair(table if sources.train is None else sources.train.table)
        if found is None:
            notes.append("no two models share enough prompts for a pair")
        else:
            pairs = [found.pair]
            notes.append(f"{found.pair[0]} → {found.pair[1]}: {found.why}")
    told: dict[str, Any] = {"rows": len(table), "models": len(table.models), "groups": groups}
    told |= _pairs(sources, pairs, counts, notes)
    try:
        pool = judge_pool(sources, counts)
    except PointsmanError as error:
        pool = None
        notes.append(f"the pool is left out: {error.message}")
    except FAULTS as error:
        _log.warning("judging the pool of %s failed", spec.name, exc_info=True)  # which must not lose the pairs
        pool = None
        notes.append(f"the pool is left out: a family failed on it: {type(error).__name__}: {error}.")
    for name in OF_POOL:
        told[name] = None if pool is None else pool.get(name)
        told["interval"][name] = None if pool is None else pool["interval"].get(name)
    told["pool"] = pool
    if spec.online:
        from .online import judge_online

        told["online"] = judge_online(sources, [(one["weak"], one["strong"]) for one in told["pairs"]])
    told["notes"] = [*notes, *sources.left_out]
    if not told["pairs"] and pool is None:
        told["error"] = "No part of it can be judged."
    return told


def _pairs(
    sources: Sources, pairs: list[tuple[str, str]], counts: np.ndarray[Any, np.dtype[np.float64]], notes: list[str]
) -> dict[str, Any]:
    """The mean over the pairs, with each beside it. A pair that cannot be judged is noted, and does not count."""
    judged, told = [], []
    for weak, strong in pairs:
        try:
            protocol, figures, one = judge_pair(sources, weak, strong, counts)
        except PointsmanError as error:
            notes.append(f"{weak} → {strong} is left out: {error.message}")
            continue
        judged.append((protocol, figures))
        told.append(one)
    if not judged:
        empty = dict.fromkeys(TOP)
        return {
            **empty,
            "apgr_by_cost": None,
            "interval": dict(empty),
            "protocol": None,
            "pairs": [],
            "baselines": {},
            "calibration": None,
        }
    ours = sources.spec.families[0]
    everywhere = [name for name in judged[0][1] if all(name in figures for _, figures in judged)]
    means = {name: mean_of([figures[name] for _, figures in judged]) for name in everywhere}
    others = {
        name: {**means[name].told(), "ours_less_this": means[ours].less(means[name])}
        for name in everywhere
        if name != ours
    }
    protocols = {protocol for protocol, _ in judged}
    paid = [one["by_cost"]["apgr"] for one in told if one["by_cost"] is not None]
    return {
        **means[ours].told(),
        "protocol": protocols.pop()
        if len(protocols) == 1
        else f"mixed; {AFTER} where the weak model's calls are known",
        "apgr_by_cost": number(float(np.mean(paid))) if paid else None,
        "pairs": told,
        "families": {name: figures for name, figures in others.items() if name in sources.spec.families},
        "baselines": {name: figures for name, figures in others.items() if name not in sources.spec.families},
        "calibration": {
            name: number(float(np.mean([one["calibration"][name] for one in told]))) for name in ("ece", "brier")
        },
    }
