"""Says once that a budget has nearly run out: in the log, and to whoever is to be told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import msgspec

from pointsman.core.books import Books
from pointsman.core.budget import Budget, dollars
from pointsman.core.errors import StoreError
from pointsman.core.periods import shown_time
from pointsman.core.shared import SharedState

from .budget_report import Alert
from .budget_rules import BudgetRules
from .totals import Totals

log = logging.getLogger(__name__)

GRACE = 2.0
"""Seconds that alerts get when the gateway stops."""

Notify = Callable[[Alert], Awaitable[None]]


class Alerts:
    """Looks at the totals that are watched.

    Args:
        notify: told each alert, in a task of its own; None: the log alone.
    """

    def __init__(
        self, *, rules: BudgetRules, state: SharedState, books: Books, totals: Totals, notify: Notify | None
    ) -> None:
        self._rules = rules
        self._state = state
        self._books = books
        self._totals = totals
        self._notify = notify
        self._raised: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.count = 0

    async def look(self) -> None:
        """Raise what is due.

        Raises:
            StateUnavailable: the state is away.
        """
        self._raised &= self._totals.watched.keys()
        for total, (budget, _) in list(self._totals.watched.items()):
            used, due = self._totals.spent(total), self._rules.alert_at * budget.cap_micro_usd
            if total in self._raised or budget.cap_micro_usd <= 0 or used < due:
                continue
            at = self._state.now()
            seconds = budget.resets_at - at + self._rules.lease_seconds
            first = await self._state.once(f"budget-alert:{total}", seconds=seconds)
            self._raised.add(total)
            with contextlib.suppress(StoreError):  # the books remember it over restarts, when they can
                first = await self._books.first_alert(total, at) and first
            if first:
                self._raise(msgspec.structs.replace(budget, used_micro_usd=used), at)

    def _raise(self, budget: Budget, at: float) -> None:
        self.count += 1
        share = budget.used_micro_usd / budget.cap_micro_usd
        log.warning(
            "%s (%s): %s of %s spent (%.0f %%); it starts anew at %s", budget.title, budget.period,
            dollars(budget.used_micro_usd), dollars(budget.cap_micro_usd), share * 100,
            shown_time(budget.resets_at),
        )  # fmt: skip
        if self._notify is None:
            return
        alert = Alert(
            budget=budget.title,
            scope=budget.scope,
            name=budget.name,
            cycle=budget.cycle,
            period=budget.period,
            cap_micro_usd=budget.cap_micro_usd,
            used_micro_usd=budget.used_micro_usd,
            share=round(share, 4),
            resets_at=budget.resets_at,
            at=at,
        )
        task = asyncio.create_task(self._tell(self._notify, alert), name="budget-alert")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, notify: Notify, alert: Alert) -> None:
        try:
            await notify(alert)
        except Exception:  # the accounts go on whatever became of it
            log.exception("an alert could not be told")

    async def close(self) -> None:
        """Let alerts go that are on their way; a receiver that hangs holds nobody up."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE)
        for task in self._tasks:
            task.cancel()
