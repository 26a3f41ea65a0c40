"""`pointsman savings`: what routing saved, and what it cost in quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .completion import model_names
from .invocation import Invocation, run, with_invocation
from .learning import Period, cards_of, read_stretch
from .numbers import Seed

if TYPE_CHECKING:
    from pointsman.learn.savings import Amount, Savings

WORDS = ("strongest", "most-used")


def complete_baseline(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The words, and names of models."""
    names = [name for name in model_names(ctx, param, incomplete) if name != "auto"]
    return [word for word in WORDS if word.startswith(incomplete)] + names


@click.command()
@click.option("--since", type=Period(), default="30d", show_default=True, help="How far back the log is read.")
@click.option("--baseline", default="strongest", show_default=True, metavar="MODEL|strongest|most-used",
              shell_complete=complete_baseline, help="What all would have been sent to.")  # fmt: skip
@click.option("--cluster", type=click.Choice(["conversation", "key", "day", "decision"]), default="conversation",
              show_default=True, help="Which decisions hang together.")  # fmt: skip
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Of the resamples.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def savings(invocation: Invocation, since: float, baseline: str, cluster: str, seed: int, as_json: bool) -> None:
    """What routing saved against sending everything to one model, with 95 % intervals, and what it cost in quality.

    Each answered request is priced with its own tokens, and with the baseline's prices; the length of the baseline's
    answers follows what was measured. Requests of unknown price, with a named model, or on a caller's own key are left
    out and counted. A baseline that a constraint kept from a request (privacy, say) is not compared there.
    """
    from .output import print_json

    report = run(_savings(invocation, since, baseline, cluster, seed))
    if as_json:
        print_json(report)
    else:
        _show(report)


async def _savings(invocation: Invocation, since: float, baseline: str, cluster: str, seed: int) -> Savings:
    import numpy as np

    from pointsman.learn import savings as reckoning

    from .opened import opened_database

    settings = invocation.settings()
    async with opened_database(settings) as database:
        stretch = await read_stretch(database, since)
    return reckoning.savings(
        stretch.decisions,
        baseline=baseline,
        cards=cards_of(settings, stretch.decisions),
        rng=np.random.default_rng(seed),
        since=stretch.since,
        until=stretch.until,
        cluster=cluster,  # type: ignore[arg-type]  # one of the option's choices
        unreadable=stretch.unreadable,
    )


def _show(report: Savings) -> None:
    from .output import console, note, styled, table

    out = console()
    out.print(f"{report.compared:,} of {report.requests:,} routed answers are compared with {report.baseline}.")
    if report.left_out:
        out.print("Left out: " + ", ".join(f"{count:,} {reason}" for reason, count in report.left_out.items()) + ".")
    rows = [
        (styled("saved", "bold"), *_cells(report.saved)),
        ("paid", f"${report.paid:,.4f}", ""),
        ("would have been paid", *_cells(report.would_have_paid)),
    ]
    share = report.share
    if share is not None:
        between = "" if share.low is None or share.high is None else f"{share.low:.1%} to {share.high:.1%}"
        rows.append(("share saved", f"{share.value:.1%}", between))
    quality = report.quality
    if quality is not None:
        value = "cannot be told" if quality.value is None else f"{-quality.value:+.1%}"
        low, high = quality.low, quality.high
        between = "" if low is None or high is None else f"{-high:+.1%} to {-low:+.1%}"
        rows.append(("success against the baseline", value, between))
    out.print(table(("", "Amount", "95 % interval"), rows, right=("Amount",)))
    if report.kept_back:
        note(f"{report.kept_back:,} of them the baseline could not have answered: the same on both sides.")
    for warning in report.warnings:
        note(warning)


def _cells(amount: Amount) -> tuple[str, str]:
    between = "" if amount.low is None or amount.high is None else f"${amount.low:,.4f} to ${amount.high:,.4f}"
    return f"${amount.value:,.4f}", between
