"""What a crash left open: rows of the ledger and reservations whose process is gone."""

from __future__ import annotations

import logging
from collections.abc import Container

from pointsman.core.books import Booked, Books, Settle
from pointsman.core.periods import period_of
from pointsman.core.ports import DecisionLog
from pointsman.core.shared import Lapsed, SharedState

from .totals import Totals

log = logging.getLogger(__name__)


class Reconciler:
    """Decides what open calls cost, as far as the decision log knows. All raise StoreError when a store is away."""

    def __init__(self, books: Books, decisions: DecisionLog, state: SharedState, totals: Totals) -> None:
        self._books = books
        self._log = decisions
        self._state = state
        self._totals = totals
        self._taken: list[Lapsed] = []
        """Lapsed reservations that wait for the database."""

    async def close_all(self) -> None:
        """Close every row of other processes, none of which is there any more."""
        for row in await self._books.lapsed(self._state.now(), alone=True, limit=10_000):
            await self.close(row)

    async def reap(self, own: Container[str], *, alone: bool) -> None:
        """Close rows and reservations whose lease has lapsed, but for this process's own.

        Args:
            alone: no other process counts, so that every row of others is lost.
        """
        for row in await self._books.lapsed(self._state.now() - 1.0, alone=alone):
            if row.id not in own:
                await self.close(row)
        self._taken += await self._state.take_lapsed()
        while self._taken:
            deltas = await self.corrections(self._taken[0], own)
            self._taken.pop(0)  # before the totals change: a change whose answer is lost must not be made twice
            if any(deltas.values()):
                await self._state.adjust(deltas)
                self._totals.forget(deltas)

    async def release(self, identifier: str) -> Booked | None:
        """Give back what an unsettled row holds; None when there is no such row."""
        row = await self._books.get(identifier)
        if row is None or row.state != "unsettled":
            return None
        deltas = shares_of(row)
        released = Settle(id=identifier, at=self._state.now(), micro_usd=0, models={}, state="released")
        if not await self._books.settle(released):
            return None
        await self._state.adjust({total: -micro_usd for total, micro_usd in deltas.items()})
        self._totals.forget(deltas)
        return row

    async def close(self, row: Booked) -> Booked | None:
        """Close a row that its process left open; returns it as it stands then."""
        cost = await self._logged_cost(row.id)
        settled = Settle(
            id=row.id,
            at=self._state.now(),
            micro_usd=sum(cost.values()) if cost is not None else 0,
            models=cost or {},
            state="unsettled" if cost is None else "settled",
        )
        if await self._books.settle(settled):
            if cost is None:
                log.warning(
                    "nobody knows what %s cost: its process died. It stands at its worst case of %d micro-dollars;"
                    " `pointsman budgets release %s` releases it", row.id, row.reserved, row.id,
                )  # fmt: skip
            else:
                log.info("settled %s, whose process died, as the decision log says", row.id)
        return await self._books.get(row.id)

    async def _logged_cost(self, identifier: str) -> dict[str, int] | None:
        """What the decision log says a request cost, by model; None when it does not know for certain."""
        record = await self._log.get(identifier)
        outcome = record["outcome"] if record is not None else None
        if outcome is None:
            return None
        attempts = outcome["attempts"] or []
        if not attempts:
            return {}
        cost: dict[str, int] = {}
        for attempt in attempts:
            if attempt["status"] == "refused" or attempt.get("caller_key"):
                continue
            if attempt["status"] != "ok" or attempt.get("estimated") or attempt.get("cost_micro_usd") is None:
                return None
            cost[attempt["model"]] = cost.get(attempt["model"], 0) + max(0, int(attempt["cost_micro_usd"]))
        return cost

    async def corrections(self, lapsed: Lapsed, own: Container[str]) -> dict[str, int]:
        """What brings the totals in line with the row of a reservation that lapsed; its amounts still stand in them."""
        identifier, _, extra = lapsed.reservation.partition("+")
        if identifier in own:
            return {}  # its answer outlasted the lease; it is settled when it ends
        row = await self._books.get(identifier)
        if row is not None and row.state == "reserved":
            row = await self.close(row)
        deltas: dict[str, int] = {}
        for amount in lapsed.amounts:
            if row is None:  # the call was never made
                actual = 0
            elif row.state == "unsettled":
                continue
            else:
                scope, _, rest = amount.total.partition(":")
                model = rest.rpartition(":")[0]
                actual = 0 if extra else row.counted_of(model) if scope == "model" else row.counted
            deltas[amount.total] = actual - amount.micro_usd
        return deltas


def shares_of(row: Booked) -> dict[str, int]:
    """Total → what an unsettled row holds of it."""
    period = period_of(row.at)
    deltas = {}
    for at in (period.day, period.month):
        deltas[f"global:{at}"] = row.reserved
        if row.key_id is not None:
            deltas[f"key:{row.key_id}:{at}"] = row.reserved
        for model, (reserved, _) in row.models.items():
            deltas[f"model:{model}:{at}"] = reserved
    return deltas
