"""`pointsman limits`: what a key may ask, and what is left of it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from .invocation import Invocation, run, with_invocation
from .output import console, note, print_json, table


def _key_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
    from .keys import key_names

    return key_names(ctx, param, incomplete)


@click.command()
@click.argument("key", required=False, shell_complete=_key_names)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def limits(invocation: Invocation, key: str | None, as_json: bool) -> None:
    """Show the limits of a key and what is left of them, as the running gateway counts.

    KEY is a key's name or id; without one, the limits of whoever asks.
    """
    report = run(_ask(invocation, key))
    if as_json:
        print_json(report)
        return
    who = key or report["key_id"] or "you"
    note(f"{who}: tier {report['tier']}, priority {report['priority']}")
    if not report["limits"]:
        note("Nothing is limited.")
        return
    rows = [
        (use["name"], f"{use['limit']:,}", f"{use['used']:,}", f"{use['remaining']:,}", use["reset_at"])
        for use in report["limits"]
    ]
    console().print(
        table(("Limit", "Requests", "Used", "Left", "Starts anew"), rows, right=("Requests", "Used", "Left"))
    )


async def _ask(invocation: Invocation, key: str | None) -> dict[str, Any]:
    from .client import connect

    settings = invocation.settings()
    trusted = invocation.trusted(settings)
    path = "/api/v1/usage" + (f"?key_id={quote(key, safe='')}" if key else "")
    async with connect(invocation.gateway_url(settings), invocation.key(settings), trusted) as client:
        report: dict[str, Any] = await client.get(path)
        return report
