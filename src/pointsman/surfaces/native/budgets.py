"""`/api/v1/budgets`: what may be spent, what was, and what nobody settled."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from pointsman.core.books import Booked
from pointsman.core.errors import InvalidRequest, NotFound
from pointsman.core.periods import bounds_of
from pointsman.core.usage import iso_utc
from pointsman.pipeline.admit.budget_report import Accounts, Report
from pointsman.surfaces.asgi_caller import caller_of


class BudgetRow(BaseModel):
    """One cap and how it stands, in micro-dollars."""

    scope: Literal["global", "key", "model"]
    name: str = Field(description="The key's or the model's id; empty for the global one.")
    cycle: Literal["daily", "monthly"]
    period: str = Field(description="`2026-11` or `2026-11-22`, in UTC.")
    cap_micro_usd: int
    used_micro_usd: int = Field(description="Spent and reserved: what counts against the cap.")
    spent_micro_usd: int = Field(description="Settled, or unsettled at the worst case.")
    reserved_micro_usd: int = Field(description="Of calls under way.")
    left_micro_usd: int
    left_share: float
    tier: Literal["high", "medium", "low"] | None = Field(description="Of a monthly budget, for routing.")
    resets_at: str


class SpentRow(BaseModel):
    """What somebody spent in the period."""

    scope: Literal["global", "key", "model"]
    name: str
    micro_usd: int
    requests: int


class UnsettledRow(BaseModel):
    """A call that a crash interrupted: nobody knows what it cost, and it stands at its worst case."""

    id: str
    at: str
    key_id: str | None
    models: list[str]
    reserved_micro_usd: int


class BudgetReport(BaseModel):
    """Budgets, spending and what is open. A key sees its own alone, an admin everything."""

    available: bool = Field(
        description="False while the counters cannot be reached; the figures are then the last known."
    )
    hard: bool = Field(description="Whether a cap refuses.")
    budgets: list[BudgetRow]
    period: str
    spent: list[SpentRow] = Field(
        description="From the ledger of calls that a budget held for; where none did, from the decision log."
    )
    unsettled: list[UnsettledRow]
    overspent_micro_usd: int = Field(
        description="By how much providers billed more than had been reserved, since this process started."
    )
    alerts: int = Field(description="Raised by this process since it started.")


class Released(BaseModel):
    """What was given back."""

    id: str
    released_micro_usd: int


def router(accounts: Accounts) -> APIRouter:
    routes = APIRouter(tags=["Budgets"])

    @routes.get("/api/v1/budgets", operation_id="get_budgets", summary="Tell what may be spent and what was")
    async def get_budgets(
        request: Request,
        period: Annotated[
            str | None,
            Query(pattern=r"^\d{4}-\d{2}(-\d{2})?$", description="A day or a month for `spent`; else this month."),
        ] = None,
    ) -> BudgetReport:
        if period is not None:
            try:
                bounds_of(period)
            except ValueError:
                raise InvalidRequest("Invalid `period`: there is no such day or month.", param="period") from None
        return _shown(await accounts.report(caller_of(request), period=period), hard=accounts.rules.hard)

    @routes.post(
        "/api/v1/budgets/unsettled/{id}/release",
        operation_id="release_reservation",
        summary="Give back what an interrupted call holds",
    )
    async def release(request: Request, id: str) -> Released:
        """For admins who know that the call cost nothing: the budget gets its worst case back."""
        caller_of(request).require_admin()
        row = await accounts.release(id)
        if row is None:
            raise NotFound("There is no unsettled call with this id.", param="id")
        return Released(id=row.id, released_micro_usd=row.reserved)

    return routes


def _shown(report: Report, *, hard: bool) -> BudgetReport:
    return BudgetReport(
        available=report.available,
        hard=hard,
        budgets=[
            BudgetRow(
                scope=budget.scope,
                name=budget.name,
                cycle=budget.cycle,
                period=budget.period,
                cap_micro_usd=budget.cap_micro_usd,
                used_micro_usd=budget.used_micro_usd,
                spent_micro_usd=spent,
                reserved_micro_usd=budget.used_micro_usd - spent,
                left_micro_usd=budget.left_micro_usd,
                left_share=round(budget.left_share, 4),
                tier=tier,
                resets_at=iso_utc(budget.resets_at),
            )
            for budget, spent, tier in report.budgets
        ],
        period=report.period,
        spent=[
            SpentRow(scope=row.scope, name=row.name, micro_usd=row.micro_usd, requests=row.requests)
            for row in report.spent
        ],
        unsettled=[_unsettled(row) for row in report.unsettled],
        overspent_micro_usd=report.overspent_micro_usd,
        alerts=report.alerts,
    )


def _unsettled(row: Booked) -> UnsettledRow:
    return UnsettledRow(
        id=row.id, at=iso_utc(row.at), key_id=row.key_id, models=list(row.models), reserved_micro_usd=row.reserved
    )
