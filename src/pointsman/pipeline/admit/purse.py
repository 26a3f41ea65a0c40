"""The money of one request: reserved before the first attempt, settled once when its answer has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pointsman.core.budget import Budget, Charge, charges, worst_case_micro_usd
from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Decision
from pointsman.core.trail import Trail


class Bank(Protocol):
    """Who keeps the accounts."""

    async def top_up(self, grant: Grant, reserved: int, models: Mapping[str, int]) -> bool:
        """Reserve what is missing up to these sums; False when a budget does not allow it."""

    def settle(self, grant: Grant, found: list[Charge]) -> None:
        """Replace what was reserved by what was charged. Returns at once."""


class Grant:
    """What was reserved for one request. A `core.budget.Purse`."""

    def __init__(
        self,
        bank: Bank,
        decision: Decision,
        *,
        key_id: str | None,
        at: float,
        reserved: int,
        models: Mapping[str, int],
        budgets: tuple[Budget, ...],
        default_output: int | None,
    ) -> None:
        """
        Args:
            reserved: micro-dollars over all models: the dearest attempt's worst case, and what failed ones may cost.
            models: model → its own worst case.
            budgets: every budget that the request counts against.
        """
        self.id = decision.id
        self.needs = decision.signals.needs
        self.key_id = key_id
        self.at = at
        self.reserved = reserved
        self.models = dict(models)
        self.budgets = budgets
        self.default_output = default_output
        self.held: dict[str, dict[str, int]] = {}
        """Names of reservations in the shared state → total → sum."""
        self.standing: dict[str, int] = {}
        """Totals that count this request without a lease: the database or the shared state was away."""
        self.leased = False
        """Whether the first reservation is held under its lease, or was until it was settled."""
        self.doubtful = False
        """An attempt to settle got no answer: it may have been done."""
        self.memory = b""
        """Of the shared state, when it was last asked to hold something."""
        self.raises = 0
        """How often more was asked for."""
        self._bank = bank
        self._settled = False

    def shares(self, reserved: int, models: Mapping[str, int]) -> dict[str, int]:
        """Total → what a sum over all models and sums of single models add to it."""
        return {
            budget.total: models.get(budget.name, 0) if budget.scope == "model" else reserved for budget in self.budgets
        }

    async def covers(self, card: ModelCard, trail: Trail) -> bool:
        worst = worst_case_micro_usd(card, self.needs, self.default_output)
        if worst == 0:
            return True
        worst = worst or 0  # without a price nothing can be held back; hard budgets have dropped such a model
        need = worst + sum(charge.micro_usd for charge in charges(trail, self.needs, self.default_output))
        if need <= self.reserved and worst <= self.models.get(card.id, 0):
            return True
        models = {card.id: max(worst, self.models.get(card.id, 0))}
        return await self._bank.top_up(self, max(need, self.reserved), models)

    def settle(self, trail: Trail | None) -> None:
        """Charge what the attempts cost, once; None: no attempt was made."""
        if not self._settled:
            self._settled = True
            found = charges(trail, self.needs, self.default_output) if trail is not None else []
            self._bank.settle(self, found)
