"""`pointsman eval routing`: how well requests are routed, on tables of what several models made of the same prompts."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .engines import engine_option
from .numbers import Seed

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from pointsman.evals.routing.run import Told
    from pointsman.learn.engine import Engine

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FEWEST_DRAWS = 20


def complete_table(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the tables in the folder that --data names."""
    from click.shell_completion import CompletionItem

    from pointsman.core.errors import PointsmanError
    from pointsman.evals.routing.run import tables_in

    before, _, last = incomplete.rpartition(",")
    try:
        names = tables_in(Path(ctx.params["data"]))
    except (PointsmanError, KeyError, TypeError):
        return []
    return [CompletionItem(f"{before},{name}" if before else name) for name in names if name.startswith(last)]


def complete_family(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of families."""
    from click.shell_completion import CompletionItem

    from pointsman.evals.routing.routers import known

    before, _, last = incomplete.rpartition(",")
    return [CompletionItem(f"{before},{name}" if before else name) for name in sorted(known()) if name.startswith(last)]


@click.command()
@click.option("--data", type=FOLDER, required=True, help="The folder of tables (*.jsonl.gz) to judge on.")
@click.option("--train", type=FOLDER, help="Learn from the tables of this folder [default: cross-validate --data].")
@click.option(
    "--datasets", metavar="A,B", default="", shell_complete=complete_table, help="These tables alone [default: all]."
)
@click.option(
    "--families",
    metavar="A,B",
    default="router",
    show_default=True,
    shell_complete=complete_family,
    help="Families to compare; the first is judged against the baselines.",
)
@click.option("--folds", type=click.IntRange(2, 20), default=5, show_default=True, help="Of the cross-validation.")
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Of folds, fits and draws.")
@click.option(
    "--bootstrap",
    type=click.IntRange(FEWEST_DRAWS, 100_000),
    default=1000,
    show_default=True,
    help="Draws of the intervals.",
)
@click.option("--labels", type=click.IntRange(10), metavar="N", help="Learn from at most N prompts of each part.")
@click.option("--online", is_flag=True, help="Learn online too: each prompt once, the chosen model's outcome alone.")
@click.option(
    "--plots", type=click.Path(file_okay=False, path_type=Path), help="Write the curves as SVG to this folder."
)
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write the tables as a page.")
@engine_option
@click.option(
    "--jobs", type=click.IntRange(1, 256), help="Tables judged side by side [default: the processor's cores]."
)
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
def routing(
    data: Path,
    train: Path | None,
    datasets: str,
    families: str,
    folds: int,
    seed: int,
    bootstrap: int,
    labels: int | None,
    online: bool,
    plots: Path | None,
    markdown: Path | None,
    engine: Engine,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Cost-quality curves, APGR, CPT and the gain over single models, with 95 % intervals and baselines.

    A table is cross-validated by group, or learned from the table of the same name in --train. A table that fails says
    why and does not stop the others. The weak → strong pairs are those of pairs.json beside the tables, else those that
    ship; a table without any is judged from its weakest to its strongest model.
    """
    from pointsman.core.errors import PointsmanError
    from pointsman.evals.routing.plots import write_plots
    from pointsman.evals.routing.report import markdown as as_markdown
    from pointsman.evals.routing.routers import family
    from pointsman.evals.routing.run import evaluate, merged, questions
    from pointsman.evals.routing.spec import Spec

    from .output import note, print_json

    base = Spec(
        name="",
        data=data,
        folds=folds,
        seed=seed,
        bootstrap=bootstrap,
        families=tuple(dict.fromkeys(_names(families))) or ("router",),
        labels=labels,
        held_out=train is not None,
        online=online,
    )
    try:
        _writable(plots, markdown)
    except OSError as error:
        raise click.ClickException(f"a file cannot be written: {error}") from None
    try:
        for name in base.families:
            family(name)
        specs, moved = questions(data, train=train, only=_names(datasets), base=base)
        with _shown([spec.name for spec in (*specs, *moved)]) as told:
            answers = evaluate([*specs, *moved], jobs=jobs or os.cpu_count() or 1, engine=engine, told=told)
    except PointsmanError as error:
        raise click.ClickException(error.message) from None
    whole = merged(
        {spec.name: answers[spec.name] for spec in specs}, {spec.name: answers[spec.name] for spec in moved}, base
    )
    unwritten: OSError | None = None
    try:
        if plots is not None:
            note(f"{len(write_plots(whole['datasets'], plots))} plots are in {plots}.")
        if markdown is not None:
            markdown.write_text(as_markdown(whole), encoding="utf-8")
    except OSError as error:
        unwritten = error
    if as_json:
        print_json(whole)
    else:
        _show(whole)
    if unwritten is not None:
        raise click.ClickException(f"a file cannot be written: {unwritten}")
    if answers and all("error" in answer for answer in answers.values()):
        raise click.ClickException("no table could be judged")


def _writable(plots: Path | None, markdown: Path | None) -> None:
    """Try both places before the work is done. Leaves an empty folder for the plots at most.

    Raises:
        OSError: nothing can be written there.
    """
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=plots):
            pass
    if markdown is not None:
        there = markdown.exists()
        with markdown.open("a", encoding="utf-8"):
            pass
        if not there:
            markdown.unlink()


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


@contextmanager
def _shown(names: list[str]) -> Iterator[Told]:
    """A bar on a terminal, a line for each table elsewhere; on standard error."""
    from .output import note

    if not sys.stderr.isatty():
        done = 0

        def line(name: str, result: dict[str, Any]) -> None:
            nonlocal done
            done += 1
            note(f"{done}/{len(names)} {name}: {_briefly(result)}")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr, markup=False)) as bars:
        task = bars.add_task("Judging tables", total=len(names))

        def bar(name: str, result: dict[str, Any]) -> None:
            bars.update(task, advance=1)
            if "error" in result:
                bars.console.print(f"{name}: {result['error']}")

        yield bar


def _briefly(result: Mapping[str, Any]) -> str:
    if "error" in result:
        return str(result["error"])
    return "judged" if result.get("apgr") is None else f"APGR {result['apgr']:.3f}"


def _show(whole: Mapping[str, Any]) -> None:
    from pointsman.evals.routing.report import tables

    from .output import console, styled, table

    out = console()
    for made in tables(whole):
        if made.rows:
            out.print(styled(made.title, "bold"))
            out.print(table(made.columns, made.rows, right=made.columns[made.words :], spare=made.spare))
            out.print()
    for name, result in {**whole["datasets"], **whole["transfer"]}.items():
        if "error" in result:
            out.print(f"{name}:", styled(result["error"], "red"))
        for said in result.get("notes", ()):
            out.print(f"{name}:", styled(said))
