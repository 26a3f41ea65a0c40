"""`pointsman bench gateway`: what a request costs here, at nginx and at other gateways, measured in one run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .invocation import Invocation, with_invocation
from .numbers import Finite

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from pointsman.evals.gateway.report import Report

FILE = click.Path(dir_okay=False, path_type=Path)


def complete_target(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of gateways."""
    from click.shell_completion import CompletionItem

    try:
        from pointsman.evals.gateway.peers import GATEWAYS
    except ModuleNotFoundError:
        return []
    before, _, last = incomplete.rpartition(",")
    names = [gateway.name for gateway in GATEWAYS if gateway.name.startswith(last)]
    return [CompletionItem(f"{before},{name}" if before else name) for name in names]


@click.command()
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Rounds; targets take turns.")
@click.option("--scale", type=Finite(0.01, 100), default=1.0, show_default=True, help="More or fewer requests.")
@click.option(
    "--targets",
    metavar="A,B",
    default="",
    shell_complete=complete_target,
    help="These gateways alone [default: all that are installed].",
)
@click.option("--install", is_flag=True, help="Install missing peers, each in an environment of its own in the cache.")
@click.option("--tls", is_flag=True, help="The upstream speaks TLS, under an authority made for the run.")
@click.option(
    "--workers", type=click.IntRange(1, 16), default=1, show_default=True, help="Processes of each gateway that can."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--output", type=FILE, help="Write the JSON report to this file too.")
@click.option("--markdown", type=FILE, help="Write the figures as a page, and a chart (.svg) beside it.")
@click.option("--profile", is_flag=True, help="Count the steps of each part of the path instead.")
@with_invocation
def gateway(
    invocation: Invocation,
    rounds: int,
    scale: float,
    targets: str,
    install: bool,
    tls: bool,
    workers: int,
    as_json: bool,
    output: Path | None,
    markdown: Path | None,
    profile: bool,
) -> None:
    """Processor time, latency and memory of this gateway, of nginx as the floor, and of other gateways.

    All of them stand before the same mock upstream and take turns. Peers are measured where they are installed:
    LiteLLM, Portkey, vLLM Router, SGLang Router, Switchyard, TensorZero; --install fetches them from PyPI and npm. A
    peer that does not start is reported and left out.

    With --profile: how many steps of Python's each part of a request's path takes on the event loop's thread, which a
    busy machine does not change.

    Needs psutil (pip install psutil), and for the floor nginx (on Debian: apt-get install nginx-light).
    """
    try:
        from pointsman.evals.gateway import bench as runner
        from pointsman.evals.gateway import page, report
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is needed to measure: pip install {error.name}") from None
    from pointsman.core.errors import PointsmanError
    from pointsman.settings import child_environment

    if profile:
        _profile(scale, as_json)
        return
    try:
        found = runner.run(
            rounds=rounds,
            scale=scale,
            targets=[name.strip() for name in targets.split(",") if name.strip()],
            install=install,
            tls=tls,
            workers=workers,
            cache_dir=invocation.settings().cache_dir,
            environment=child_environment({}),
            progress=lambda line: click.echo(line, err=True),
        )
    except PointsmanError as error:
        raise click.ClickException(error.message) from None
    text = json.dumps(report.as_json(found), indent=2)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
    if markdown is not None:
        chart = markdown.with_suffix(".svg")
        chart.write_text(page.chart(found), encoding="utf-8")
        markdown.write_text(page.markdown(found, chart.name), encoding="utf-8")
    if as_json:
        click.echo(text)
    else:
        _show(found)


def _profile(scale: float, as_json: bool) -> None:
    from dataclasses import asdict

    from pointsman.core.errors import PointsmanError
    from pointsman.evals.gateway import profile

    from .output import console, print_json, table

    requests = max(10, round(200 * scale))
    try:
        found = profile.run(requests=requests, progress=lambda line: click.echo(line, err=True))
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

    from pointsman.evals.gateway import page

    console = Console(width=None if sys.stdout.isatty() else 130)  # a pipe is no reason to cut columns
    console.print(page.conditions(report), highlight=False)
    for title, head, rows in page.tables(report):
        console.print(f"\n{title}", highlight=False)
        table = Table(box=None, padding=(0, 1))
        table.add_column(head[0], no_wrap=True)
        for name in head[1:]:
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for name, reason in report.skipped.items():
        console.print(f"\n{name} was not measured: {reason}", highlight=False)
