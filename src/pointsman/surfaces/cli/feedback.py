"""`pointsman feedback`: say how good an answer was."""

from __future__ import annotations

import math
import re
from typing import Any

import click

from .invocation import Invocation, run, with_invocation
from .output import console, print_json, table


class Share(click.ParamType[float]):
    """A number from 0 to 1."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number <= 1:
            self.fail(f"{value!r} is not a number from 0 to 1.", param, ctx)
        return number


class Counts(click.ParamType[dict[str, int]]):
    """`PASSED/TOTAL`."""

    name = "passed/total"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        found = re.fullmatch(r"\s*(\d{1,7})\s*/\s*(\d{1,7})\s*", str(value), re.ASCII)
        if found is None or int(found[1]) > int(found[2]) or int(found[2]) == 0:
            self.fail(f"{value!r} is not a count such as 17/20: passed, then all.", param, ctx)
        return {"passed": int(found[1]), "total": int(found[2])}


@click.command()
@click.argument("id")
@click.option("--score", type=Share(), metavar="0..1", help="0 is useless, 1 is perfect.")
@click.option("--thumb", type=click.Choice(["up", "down"]))
@click.option("--outcome", type=click.Choice(["success", "failure", "partial"]))
@click.option("--tests", type=Counts(), metavar="PASSED/TOTAL", help="What a run of tests on the answer gave.")
@click.option("--accepted/--rejected", default=None, help="Whether an edit that it proposed was taken.")
@click.option("--kept", type=Share(), metavar="0..1", help="Share of the accepted edit that was left as proposed.")
@click.option("--comment", metavar="TEXT", help="Kept with the decision, for people.")
@click.option("--json", "as_json", is_flag=True, help="Print what was kept as JSON.")
@with_invocation
def feedback(
    invocation: Invocation,
    id: str,
    score: float | None,
    thumb: str | None,
    outcome: str | None,
    tests: dict[str, int] | None,
    accepted: bool | None,
    kept: float | None,
    comment: str | None,
    as_json: bool,
) -> None:
    """Say how good an answer was; routing learns from it within seconds.

    ID is that of a decision (header x-pointsman-decision) or of an answer. What is said takes the place of what was
    said of the answer before. Of several, what is measured counts: tests, then outcome, score, edit and thumb.
    """
    if kept is not None and not accepted:
        raise click.UsageError("--kept says how much of an accepted edit was kept: give --accepted too.")
    edit = None if accepted is None else {"accepted": accepted, "kept_share": kept}
    said = {"score": score, "thumb": thumb, "outcome": outcome, "tests": tests, "edit": edit}
    given = {name: value for name, value in said.items() if value is not None}
    if not given:
        raise click.UsageError("Say at least one of --score, --thumb, --outcome, --tests and --accepted or --rejected.")
    answer = run(_send(invocation, {"id": id, **given, **({"comment": comment} if comment else {})}))
    if as_json:
        print_json(answer)
        return
    rows = [("decision", answer["id"]), *((name, _shown(answer[name])) for name in given)]
    console().print(table(("", ""), [*rows, ("success", f"{answer['success']:g}")]))


async def _send(invocation: Invocation, body: dict[str, Any]) -> dict[str, Any]:
    from .client import connect

    settings = invocation.settings()
    trusted = invocation.trusted(settings)
    async with connect(invocation.gateway_url(settings), invocation.key(settings), trusted) as client:
        answer: dict[str, Any] = await client.post("/v1/feedback", body)
        return answer


def _shown(value: Any) -> str:
    if not isinstance(value, dict):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if "passed" in value:
        return f"{value['passed']} passed, {value['failed']} failed"
    share = value["kept_share"]
    return ("accepted" if value["accepted"] else "rejected") + (f", {share:.0%} kept" if share is not None else "")
