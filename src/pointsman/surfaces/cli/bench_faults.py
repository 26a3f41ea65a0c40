"""`pointsman bench faults`: what becomes of requests whose upstreams fail in every way."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .numbers import Seed

if TYPE_CHECKING:
    from pointsman.evals.faults.report import Report


@click.command()
@click.option("--seed", type=Seed(), default=7, show_default=True, help="Of what is asked, and of every fault.")
@click.option("--requests", type=click.IntRange(20, 100_000), default=3_000, show_default=True, help="Over all runs.")
@click.option("--concurrency", type=click.IntRange(1, 500), default=32, show_default=True, help="At the same time.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as a page to this file too."
)
def faults(seed: int, requests: int, concurrency: int, as_json: bool, markdown: Path | None) -> None:
    """What becomes of requests whose upstreams fail; exit code 1 when anything happened that must not.

    Starts real gateways before scripted upstreams that refuse, stall, break off, lie, and answer nonsense, asks in
    every dialect, streamed and not, and reads each answer word by word. Needs psutil (pip install psutil).
    """
    try:
        from pointsman.evals.faults import run as runner
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is needed to measure: pip install {error.name}") from None
    from pointsman.core.errors import PointsmanError
    from pointsman.evals.faults import report as reporting

    from .output import note, print_json

    try:
        results = runner.run(seed=seed, requests=requests, concurrency=concurrency, progress=note)
    except PointsmanError as error:
        raise click.ClickException(error.message) from None
    told = reporting.report(results, seed=seed, concurrency=concurrency)
    if markdown is not None:
        markdown.write_text(reporting.markdown(told), encoding="utf-8")
    if as_json:
        print_json(reporting.as_json(told))
    else:
        _show(told)
    if not told.kept:
        sys.exit(1)


def _show(told: Report) -> None:
    from pointsman.evals.faults.report import columns, rows_of

    from .output import console, table

    out = console()
    for part in told.parts:
        out.print(f"{part.title}: {part.requests} requests in {part.seconds:g} s. {part.told}")
        for first, rows in (("Fault", part.by_fault), ("Dialect", part.by_dialect)):
            out.print(table(columns(first), rows_of(rows), right=columns(first)[1:]))
        out.print()
    for part in told.parts:
        for sample in part.samples:
            for name, words in sample.defects.items():
                how = "streamed" if sample.stream else "whole"
                out.print(
                    f"{part.title}, request {sample.number} ({sample.dialect}, {how}, {sample.model}): {name}: {words}"
                )
        for words in part.notes:
            out.print(f"{part.title}: {words}")
        if part.traces:
            out.print(f"{part.title}, from the gateway's log:\n{part.traces}")
    names = list(told.parts[0].defects)
    counts = [(name, *(str(part.defects[name]) for part in told.parts)) for name in names]
    titles = [part.title for part in told.parts]
    out.print(table(("Must be 0", *titles), counts, right=titles))
