"""`pointsman bench`: what things cost, measured side by side in one run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .bench_decide import decide
from .bench_faults import faults
from .bench_soak import soak
from .lazy import Group

if TYPE_CHECKING:
    from pointsman.evals.gateway.bench import Report


@click.group(cls=Group)
def bench() -> None:
    """Measure what the gateway costs."""


bench.add_command(decide)
bench.add_command(soak)
bench.add_command(faults)


@bench.command()
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Rounds; targets take turns.")
@click.option(
    "--scale", type=click.FloatRange(0.01, 100), default=1.0, show_default=True, help="More or fewer requests."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON report to this file too."
)
@click.option("--profile", is_flag=True, help="Count the steps of each part of the path instead.")
def gateway(rounds: int, scale: float, as_json: bool, output: Path | None, profile: bool) -> None:
    """Processor time and latency that the gateway adds, with nginx as the floor.

    With --profile: how many steps of Python's each part of a request's path takes on the event loop's thread, which a
    busy machine does not change.

    Needs psutil (pip install psutil), and for the floor nginx (on Debian: apt-get install nginx-light).
    """
    try:
        from pointsman.evals.gateway import bench as runner
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is needed to measure: pip install {error.name}") from None
    from pointsman.core.errors import PointsmanError

    if profile:
        _profile(scale, as_json)
        return
    try:
        report = runner.run(rounds=rounds, scale=scale, progress=lambda line: click.echo(line, err=True))
    except PointsmanError as error:
        raise click.ClickException(error.message) from None
    text = json.dumps(runner.as_json(report), indent=2)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
    if as_json:
        click.echo(text)
    else:
        _show(report)


@bench.command()
@click.option("--requests", type=click.IntRange(1, 2_000), default=500, show_default=True, help="At the same time.")
@click.option("--affordable", type=click.IntRange(0, 2_000), default=50, show_default=True, help="That the cap allows.")
@click.option("--processes", type=click.IntRange(1, 8), default=1, show_default=True, help="Gateways that share it.")
@click.option(
    "--redis",
    envvar="REDIS_URL",
    metavar="URL",
    help="Where several gateways count [default: REDIS_URL, else one started here].",
)
@click.option(
    "--cancel", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of streams left half-way."
)
@click.option("--streams", is_flag=True, help="Ask for streams.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def budget(
    requests: int, affordable: int, processes: int, redis: str | None, cancel: float, streams: bool, as_json: bool
) -> None:
    """Whether a budget holds against many requests at once; exit code 1 when it does not.

    Starts real gateways before an upstream that holds every answer until all requests are decided, so that nothing is
    settled before.
    """
    try:
        from pointsman.evals.gateway import budget as runner
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is needed to measure: pip install {error.name}") from None
    from dataclasses import asdict

    from pointsman.core.errors import PointsmanError

    try:
        report = runner.run(
            requests=requests,
            affordable=affordable,
            processes=processes,
            redis=redis,
            cancel=cancel,
            streams=streams,
            progress=lambda line: click.echo(line, err=True),
        )
    except PointsmanError as error:
        raise click.ClickException(error.message) from None
    if as_json:
        click.echo(json.dumps({**asdict(report), "kept": report.kept}, indent=2))
    else:
        for name, value in {**asdict(report), "kept": report.kept}.items():
            click.echo(f"{name.replace('_', ' ')}: {value}")
    if not report.kept:
        sys.exit(1)


@bench.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def privacy(as_json: bool) -> None:
    """What looking for private content costs, beside the bare prefilter and the standard library's expressions."""
    from pointsman.evals.privacy.speed import measure

    from .output import console, print_json, table

    costs = measure()
    if as_json:
        print_json([cost._asdict() for cost in costs])
        return
    rows = [
        (c.text, f"{c.characters:,}", f"{c.detectors:.3f}", f"{c.prefilter:.3f}", f"{c.standard_library:.1f}")
        for c in costs
    ]
    columns = ("Text", "Characters", "Detectors ms", "RE2 set alone ms", "Standard library ms")
    console().print(table(columns, rows, right=columns[1:]))


def _profile(scale: float, as_json: bool) -> None:
    from dataclasses import asdict

    from pointsman.core.errors import PointsmanError
    from pointsman.evals.gateway import profile
    from pointsman.evals.gateway.cases import CASES

    from .output import console, print_json, table

    requests = max(10, round(200 * scale))
    try:
        found = profile.run(CASES, requests=requests, progress=lambda line: click.echo(line, err=True))
    except PointsmanError as error:
        raise click.ClickException(error.message) from None
    if as_json:
        print_json([asdict(one) for one in found])
        return
    cases = [one.case for one in found]
    console().print(table(("Steps a request", *cases), list(profile.table(found)), right=cases))


def _show(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 110)  # a pipe is no reason to cut columns
    console.print(
        f"{report.rounds} interleaved rounds on {report.machine}; processor time at 10 connections, the rest at 1"
    )
    table = Table(box=None, padding=(0, 1))
    for name in ("request", "gateway"):
        table.add_column(name, no_wrap=True)
    for name in ("CPU ms", "× nginx", "+p50 ms", "+p99 ms", "+TTFB ms", "req/s", "errors"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.rows:
        table.add_row(
            row.case,
            row.target,
            f"{row.processor_ms:.3f}",
            "–" if row.processor_ratio is None else f"{row.processor_ratio:.1f}",
            f"{row.added_p50_ms:.2f}",
            f"{row.added_p99_ms:.2f}",
            f"{row.added_first_byte_ms:.2f}",
            f"{row.requests_per_second:.0f}",
            str(row.errors),
        )
    console.print(table)
    for name, seconds in report.start_seconds.items():
        console.print(f"{name}: listens after {seconds:.2f} s, {report.memory_mib[name]:.0f} MiB after the load")
