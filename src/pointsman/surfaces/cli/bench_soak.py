"""`pointsman bench soak`: whether the gateway stays as it is under load for a long time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .numbers import Finite, Seed

if TYPE_CHECKING:
    from pointsman.evals.soak.run import Report

MEBIBYTE = 2**20


@click.command()
@click.option("--minutes", type=Finite(0.1, 10_000), default=30.0, show_default=True, help="Of the soak.")
@click.option(
    "--warm-up",
    type=Finite(1, 3600),
    default=None,
    metavar="SECONDS",
    help="Of the same traffic before it [default: a fifth of the soak, at most 300].",
)
@click.option(
    "--rate",
    type=Finite(0.1, 100_000),
    default=None,
    metavar="N",
    help="Requests a second [default: half of what the gateway can do, which is measured first].",
)
@click.option("--callers", type=click.IntRange(1, 1_000), default=32, show_default=True, help="At the same time.")
@click.option(
    "--prompts",
    type=click.IntRange(0, 1_000_000),
    default=50,
    show_default=True,
    help="Different ones of each kind; 0: each is new, and caches grow until they are full.",
)
@click.option("--every", type=Finite(1, 3600), default=30.0, show_default=True, help="Seconds between two rows.")
@click.option(
    "--data-plane", type=click.Choice(["native", "asgi"]), default="native", show_default=True, help="Of the gateway."
)
@click.option("--seed", type=Seed(), default=7, show_default=True, help="Of the traffic.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON report to this file too."
)
def soak(
    minutes: float,
    warm_up: float | None,
    rate: float | None,
    callers: int,
    prompts: int,
    every: float,
    data_plane: str,
    seed: int,
    as_json: bool,
    output: Path | None,
) -> None:
    """Whether memory, descriptors, connections, threads and tasks are back where they were after a long load.

    A real gateway before a mock upstream, asked in every dialect, streamed and not, large and small, with callers who
    leave and upstreams that fail. What it holds at rest is compared with what it held after the warm-up: exit code 1
    where anything is more than 5 % above that, or a request ended otherwise than it was to. Needs psutil (pip install
    psutil).
    """
    try:
        from pointsman.evals.soak import run as runner
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is needed to measure: pip install {error.name}") from None
    import json

    from pointsman.core.errors import PointsmanError

    from .output import note

    seconds = 60 * minutes
    plan = runner.Plan(
        seconds=seconds,
        warm_up=warm_up if warm_up is not None else min(300.0, seconds / 5),
        rate=rate,
        callers=callers,
        prompts=prompts,
        every=every,
        seed=seed,
        data_plane=data_plane,
    )
    try:
        report = runner.run(plan, progress=note)
    except PointsmanError as error:
        raise click.ClickException(error.message) from None
    text = json.dumps(runner.as_json(report), indent=2)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
    if as_json:
        click.echo(text)
    else:
        _show(report)
    if not report.kept:
        sys.exit(1)


def _show(report: Report) -> None:
    from .output import console, table

    out = console()
    half = "" if report.capacity is None else f", half of the {report.capacity:.0f} that it can do"
    ended = ", ".join(f"{count:,} {name}" for name, count in sorted(report.ended.items()))
    out.print(f"{report.seconds:.0f} s at {report.rate:.0f} requests a second{half}: {ended}")
    columns = (
        "s", "Requests", "MiB", "All MiB", "Processes", "Descriptors", "Callers", "Upstreams", "Threads", "Tasks",
        "Active",
    )  # fmt: skip
    rows = [
        (
            f"{one.seconds:.0f}", f"{one.requests:,}", f"{one.memory / MEBIBYTE:.1f}",
            f"{one.memory_of_all / MEBIBYTE:.1f}", str(one.processes), str(one.descriptors), str(one.callers),
            str(one.upstreams), str(one.threads), str(one.tasks), str(one.active),
        )
        for one in report.samples
    ]  # fmt: skip
    out.print(table(columns, rows, right=columns))
    names = ("At rest", "Before", "After", "At most", "")
    verdicts = [
        (one.name, f"{one.before:g}", f"{one.after:g}", f"{one.most:g}", "" if one.kept else "more")
        for one in report.changes
    ]
    out.print(table(names, verdicts, right=names[1:4]))
    out.print(f"memory in the second half: {report.memory_growth_mib_per_hour:+.1f} MiB an hour")
    for failure, count in sorted(report.failures.items()):
        out.print(f"{count} × {failure}")
