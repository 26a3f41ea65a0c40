"""What budgets tell: reports for people, and the alert that one has nearly run out."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

from pointsman.core.books import Booked, Spent
from pointsman.core.budget import Budget
from pointsman.core.caller import Caller
from pointsman.core.signals import Tier

from .budget_rules import BudgetRules


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


class Accounts(Protocol):
    """What reports and admins ask of budgets."""

    rules: BudgetRules

    async def report(self, caller: Caller, *, period: str | None = None) -> Report:
        """How the budgets stand, and what was spent in a day or month, else this one. Raises StoreError."""

    async def release(self, identifier: str) -> Booked | None:
        """Give back what an unsettled call holds; None when there is no such one. Raises StoreError."""
