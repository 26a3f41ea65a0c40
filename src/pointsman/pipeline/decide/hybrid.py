"""Local first: what a local model will do well enough stays here, and the rest may leave.

A local model *will do* when its predicted success is at least a share of the best candidate's, whatever that costs.
The share goes by the priority (`WILL_DO`). Local models that will do come first, in the policy's order; then every
other candidate, in the policy's order: they answer when no local model will do, or when those that would all fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from pointsman.core.catalog import Catalog
from pointsman.core.decision import Candidate
from pointsman.core.request import Priority
from pointsman.core.signals import Signals

from .explore import Allowance
from .policy import Policy
from .predict import Arm

WILL_DO: Mapping[Priority, float] = MappingProxyType(
    {"balanced": 0.6, "speed": 0.6, "quality": 0.85, "privacy": 0.0, "cost": 0.5}
)
"""Judgement: half as good is not good enough, except for who wants it cheap; who wants privacy takes what is here."""


def rank_local_first(
    policy: Policy,
    arms: Sequence[Arm],
    signals: Signals,
    *,
    preferred: frozenset[str],
    allowance: Allowance | None = None,
) -> list[Candidate]:
    """The arms in two groups, each as the policy ranks it. Propensities are those of the first group; they sum to 1."""
    believed = {(one.model, one.effort): one.quality for one in policy.rank(arms, signals, preferred=preferred)}
    least = WILL_DO[signals.priority] * max(believed.values())
    first: list[Arm] = []
    others: list[Arm] = []  # of one model an effort may do and another not
    for arm in arms:
        (first if arm.card.local and believed[arm.card.id, arm.effort] >= least else others).append(arm)
    if not first or not others:
        return policy.rank(arms, signals, preferred=preferred, allowance=allowance)
    following = [
        msgspec.structs.replace(candidate, propensity=0.0)
        for candidate in policy.rank(others, signals, preferred=preferred)
    ]
    return [*policy.rank(first, signals, preferred=preferred, allowance=allowance), *following]


def why_local_first(chosen: Candidate, catalog: Catalog) -> str:
    card = catalog.get(chosen.model)
    if card is not None and card.local:
        return "Mode hybrid: a local model will do."
    return "Mode hybrid: no local model will do, so it goes to the cloud."
