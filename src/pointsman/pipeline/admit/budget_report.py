"""What budgets tell: reports for people, and the alert that one has nearly run out."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

from pointsman.core.books import Booked, Books, Spent
from pointsman.core.budget import Budget
from pointsman.core.caller import Caller
from pointsman.core.periods import period_of
from pointsman.core.shared import StateUnavailable
from pointsman.core.signals import Tier

from .budget_rules import BudgetRules, budgets_of, owner_of
from .totals import Totals


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A budget that has nearly run out."""

    event: str = "budget_alert"
    budget: str
    """What people call it."""
    scope: str
    name: str
    cycle: str
    period: str
    cap_micro_usd: int
    used_micro_usd: int
    share: float
    resets_at: float
    at: float


class Report(NamedTuple):
    """Everything that is known of the budgets now."""

    budgets: list[tuple[Budget, int, Tier | None]]
    """Each with what is spent without what is only reserved, and the tier of a monthly one."""
    unsettled: list[Booked]
    spent: list[Spent]
    overspent_micro_usd: int
    alerts: int
    available: bool
    period: str


async def make_report(
    rules: BudgetRules, totals: Totals, books: Books, now: float, caller: Caller, period: str | None
) -> Report:
    """How the budgets stand: an admin's, of everything; others see their key's alone.

    Raises:
        StoreError: the database is away.
    """
    found = {
        budget.total: budget
        for budget in budgets_of(rules, caller, rules.models if caller.admin else (), now)
        if caller.admin or budget.scope == "key"
    }
    if caller.admin:
        for budget, _ in totals.watched.values():
            if budget.resets_at > now:
                found.setdefault(budget.total, budget)
    available = True
    try:
        await totals.load(found.values())
    except StateUnavailable:
        available = False
    month = period_of(now).month
    spent = await books.spent(period or month)
    unsettled = await books.unsettled()
    if not caller.admin:
        own = owner_of(caller)
        spent = [row for row in spent if row.scope == "key" and row.name == own]
        unsettled = [row for row in unsettled if row.key_id == own]
    wanted = [(budget.scope, budget.name, budget.period) for budget in found.values()]
    under_way = await books.sums(wanted, now, under_way=True)
    budgets: list[tuple[Budget, int, Tier | None]] = []
    for budget, open_sum in zip(found.values(), under_way, strict=True):
        used = totals.known.get(budget.total, 0)
        standing = msgspec.structs.replace(budget, used_micro_usd=used)
        tier = totals.tier(standing.left_share) if budget.cycle == "monthly" and budget.scope != "model" else None
        budgets.append((standing, used - min(used, open_sum), tier))
    return Report(budgets, unsettled, spent, 0, 0, available, period or month)


class Accounts(Protocol):
    """What reports and admins ask of budgets."""

    rules: BudgetRules

    async def report(self, caller: Caller, *, period: str | None = None) -> Report:
        """How the budgets stand, and what was spent in a day or month, else this one. Raises StoreError."""

    async def release(self, identifier: str) -> Booked | None:
        """Give back what an unsettled call holds; None when there is no such one. Raises StoreError."""
