"""Decide within a budget: reserve the worst case, and decide anew when somebody else took the money in between."""

from __future__ import annotations

from collections.abc import Callable

from pointsman.core.budget import Means, Refused
from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog
from pointsman.core.decision import Decision
from pointsman.core.errors import BudgetExceeded
from pointsman.core.shared import StateUnavailable

from .protocols import Grant, Spends

TRIES = 5
"""How often a request decides anew; the last time, only free models are left."""


async def afford(
    choose: Callable[[Means], Decision], caller: Caller, budgets: Spends, catalog: Callable[[Decision], Catalog]
) -> tuple[Decision, Grant | None]:
    """A decision whose worst case is reserved.

    Args:
        catalog: what the models of a decision's plan cost the installation.

    Raises:
        BudgetExceeded: no model that could answer can be afforded.
        StateUnavailable: the counters are away, they count closed, and no free model could answer.
        PointsmanError: what `choose` raises.
    """
    means: Means | None = budgets.means(caller)
    away: StateUnavailable | None = None
    for tries in range(TRIES):
        try:
            if means is None:
                means = await budgets.learn(caller)
            decision = choose(means)
            grant = await budgets.reserve(decision, catalog(decision), caller)
        except StateUnavailable as error:
            if away is not None:
                raise
            away, means = error, budgets.destitute(caller)
            continue
        except BudgetExceeded:
            if away is not None:
                raise away from None
            raise
        if not isinstance(grant, Refused):
            return decision, grant
        means = budgets.means(caller) if tries < TRIES - 2 else budgets.destitute(caller)
    raise BudgetExceeded("Too many requests want the rest of the budget at once.")
