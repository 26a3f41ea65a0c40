"""`pointsman budgets`: what may be spent, what was, and what nobody settled. Asks the running gateway."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import quote

import click

from pointsman.core.errors import PointsmanError

from .invocation import Invocation, run, with_invocation
from .lazy import Group
from .output import console, note, print_json, table, usd


@click.group(cls=Group, invoke_without_command=True)
@click.option("--period", metavar="PERIOD", help="What was spent in a day (2026-11-22) or month (2026-11).")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def budgets(ctx: click.Context, period: str | None, as_json: bool) -> None:
    """Show the budgets: caps, what is spent, reserved and left, and calls that a crash left unsettled."""
    if ctx.invoked_subcommand is not None:
        return
    if period is not None and not _is_period(period):
        raise click.BadParameter("a day is written 2026-11-22, a month 2026-11", param_hint="--period")
    report = run(_ask(ctx.find_object(Invocation) or Invocation(), period))
    if as_json:
        print_json(report)
        return
    _show(report, period)


@budgets.command()
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="Print what was given back as JSON.")
@with_invocation
def release(invocation: Invocation, id: str, as_json: bool) -> None:
    """Give back what an interrupted call holds, when you know that it cost nothing."""
    released = run(_release(invocation, id))
    if as_json:
        print_json(released)
    else:
        click.echo(f"{released['id']}: gave back {usd(released['released_micro_usd'])}")


async def _ask(invocation: Invocation, period: str | None) -> dict[str, Any]:
    from .client import connect

    settings = invocation.settings()
    trusted = invocation.trusted(settings)
    async with connect(invocation.gateway_url(settings), invocation.key(settings), trusted) as client:
        report: dict[str, Any] = await client.get("/api/v1/budgets" + (f"?period={period}" if period else ""))
        rows = [row for row in (*report["budgets"], *report["spent"]) if row["scope"] == "key" and row["name"]]
        if rows:
            with contextlib.suppress(PointsmanError):  # who may not list the keys is told their ids
                names = {key["id"]: key["name"] for key in (await client.get("/api/v1/keys"))["data"]}
                for row in rows:
                    row["key_name"] = names.get(row["name"])
        return report


async def _release(invocation: Invocation, identifier: str) -> dict[str, Any]:
    from .client import connect

    settings = invocation.settings()
    trusted = invocation.trusted(settings)
    async with connect(invocation.gateway_url(settings), invocation.key(settings), trusted) as client:
        path = f"/api/v1/budgets/unsettled/{quote(identifier, safe='')}/release"
        released: dict[str, Any] = await client.post(path, {})
        return released


def _is_period(text: str) -> bool:
    import re

    return re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", text) is not None


def _show(report: dict[str, Any], period: str | None) -> None:
    out = console()
    if period is None:
        if not report["budgets"]:
            note("No budget is set: budgets.monthly (MONTHLY_BUDGET) sets one; see `pointsman config example`.")
        else:
            rows = [
                (
                    " ".join(filter(None, (row["scope"], _name(row)))), row["period"], _sum(row["cap_micro_usd"]),
                    _sum(row["spent_micro_usd"]), _sum(row["reserved_micro_usd"]), _sum(row["left_micro_usd"]),
                    f"{row['left_share']:.0%}", row["tier"] or "",
                )
                for row in report["budgets"]
            ]  # fmt: skip
            heads = ("Budget", "Period", "Cap", "Spent", "Reserved", "Left", "Share", "Tier")
            out.print(table(heads, rows, right=heads[2:7], spare=("Share", "Reserved")))
            if not report["hard"]:
                note("These budgets only warn and shift the mix (budgets.hard is false).")
    if not report["available"]:
        note("The counters cannot be reached now; these are the last known figures.")
    if report["spent"] or period is not None:
        sums = [
            (row["scope"], _name(row) or ("local user" if row["scope"] == "key" else ""), _sum(row["micro_usd"]),
             row["requests"])
            for row in report["spent"]
        ]  # fmt: skip
        out.print(table((f"Spent in {report['period']}", "By", "Sum", "Calls"), sums, right=("Sum", "Calls")))
    if report["unsettled"]:
        unsettled = [
            (row["id"], row["at"], ", ".join(row["models"]), _sum(row["reserved_micro_usd"]))
            for row in report["unsettled"]
        ]
        out.print(table(("Unsettled", "At", "Models", "Worst case"), unsettled, right=("Worst case",)))
        note(
            "These calls were interrupted and stand at their worst case. `pointsman budgets release ID` gives it back."
        )


def _name(row: dict[str, Any]) -> str:
    return str(row.get("key_name") or row["name"])


def _sum(micro_usd: int) -> str:
    return "$0" if micro_usd == 0 else usd(micro_usd)
