"""`pointsman bench`: what things cost, measured side by side in one run."""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

import click

from .bench_decide import decide
from .bench_faults import faults
from .bench_gateway import gateway
from .bench_soak import soak
from .lazy import Group
from .numbers import Finite


@click.group(cls=Group)
def bench() -> None:
    """Measure what the gateway costs."""


bench.add_command(gateway)
bench.add_command(decide)
bench.add_command(soak)
bench.add_command(faults)


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
@click.option("--cancel", type=Finite(0, 1), default=0.0, show_default=True, help="Share of streams left half-way.")
@click.option("--streams", is_flag=True, help="Ask for streams.")
@click.option(
    "--twice",
    type=click.Choice(["hedge", "escalation", "splice"]),
    help="Have a second model be asked for each request, in this way, as long as there is money.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def budget(
    requests: int,
    affordable: int,
    processes: int,
    redis: str | None,
    cancel: float,
    streams: bool,
    twice: Literal["hedge", "escalation", "splice"] | None,
    as_json: bool,
) -> None:
    """Whether a budget holds against many requests at once; exit code 1 when it does not.

    Starts real gateways before an upstream that holds every answer until all requests are decided, so that nothing is
    settled before.
    """
    if twice and cancel:
        raise click.UsageError("--twice and --cancel are measured apart.")
    if twice is None and affordable > requests:
        raise click.UsageError("--affordable is more than --requests: nothing would be refused.")
    try:
        from pointsman.evals.gateway import budget as once
        from pointsman.evals.gateway import budget_twice
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is needed to measure: pip install {error.name}") from None
    from dataclasses import asdict

    from pointsman.core.errors import PointsmanError

    how: dict[str, Any] = {
        "requests": requests,
        "affordable": affordable,
        "processes": processes,
        "redis": redis,
        "streams": streams,
        "progress": lambda line: click.echo(line, err=True),
    }
    report: once.BudgetReport | budget_twice.TwiceReport
    try:
        report = once.run(cancel=cancel, **how) if twice is None else budget_twice.run(twice, **how)
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
