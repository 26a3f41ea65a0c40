"""The families that can be judged, by name, and how they are asked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pointsman.core.errors import InvalidRequest
from pointsman.learn.families import FAMILIES, ROUTER
from pointsman.learn.families.base import Family, Floats

from .baselines import BASELINES
from .material import Material, Plan

Factory = Callable[[], Family]

NO_PRIOR = 0.5
"""What is predicted of every model where there is nothing to learn from."""


def family(name: str) -> Factory:
    """The family of this name: `router` is the one that serves, baselines have theirs.

    Raises:
        InvalidRequest: there is none; names those that there are.
    """
    found = known().get(name)
    if found is None:
        raise InvalidRequest(f"There is no family {name}; there are {', '.join(sorted(known()))}.")
    return found


def known() -> dict[str, Factory]:
    """Every family by name, the baselines among them."""
    return {**BASELINES, **FAMILIES, "router": ROUTER}


def ask(factory: Factory, material: Material, plan: Plan, models: int, attempt: Floats | None, seed: int) -> Floats:
    """(rows of the plan, models): predictions for each row by a fit that did not see it.

    Raises:
        InvalidRequest: the family gave something that is no probability.
    """
    predicted = np.full((len(material.table), models), NO_PRIOR)
    for number, split in enumerate(plan.splits):
        rng = np.random.default_rng([seed & 0xFFFFFFFF, number])
        fitted = factory().fit(split.prompts, split.scores, groups=split.groups, rng=rng)
        predicted[split.test] = fitted.predict(material.prompts(split.test, attempt))
    found = predicted[plan.rows]
    if not np.isfinite(found).all():
        raise InvalidRequest("a family predicted what is no probability")
    return found
