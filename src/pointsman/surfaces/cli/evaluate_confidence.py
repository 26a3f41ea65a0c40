"""`pointsman eval confidence`: how well an answer's own signs tell whether it is good."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .completion import model_names
from .invocation import Invocation, run, with_invocation
from .numbers import Finite, Seed
from .output import console, note, print_json, table

if TYPE_CHECKING:
    from pointsman.learn.confidence.collect import Progress
    from pointsman.learn.confidence.judging import Figure, Report
    from pointsman.learn.confidence.measured import Row

EVERY = 20
"""Answers between two lines where there is no terminal."""


@click.command()
@click.option(
    "-m", "--model", "models", multiple=True, shell_complete=model_names, help="A model to ask; may be repeated."
)
@click.option(
    "--answers",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file that keeps them [default: confidence.jsonl in the data folder].",
)
@click.option(
    "--evidence",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Judge the evidence in this file instead; no model is asked.",
)
@click.option("--tasks", "limit", type=click.IntRange(1), help="Ask so many of the tasks alone, drawn by the seed.")
@click.option("--temperature", type=Finite(0, 2), default=0.0, show_default=True, help="Of the answers.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Answers at the same time.")
@click.option("--again", is_flag=True, help="Execute the kept answers anew.")
@click.option("--fit", type=click.Path(dir_okay=False, path_type=Path), help="Write what is learned to this file.")
@click.option(
    "--save-evidence", type=click.Path(dir_okay=False, path_type=Path), help="Write the evidence, without the texts."
)
@click.option("--seed", type=Seed(), default=7, show_default=True, help="Of the answers, the folds and the intervals.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@with_invocation
def confidence(
    invocation: Invocation,
    models: tuple[str, ...],
    answers: Path | None,
    evidence: Path | None,
    limit: int | None,
    temperature: float,
    jobs: int,
    again: bool,
    fit: Path | None,
    save_evidence: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """How well log-probabilities, code that does not parse, doubts and the like tell right answers from wrong ones.

    Models write small Python functions, which are executed in a process that can do nothing but compute. Answers and
    verdicts are kept, and what is there is not asked again, so the command may be broken off and goes on where it was.
    Figures are by cross-validation that leaves out whole families of tasks; intervals are at 95 %.
    """
    from pointsman.core.errors import PointsmanError
    from pointsman.learn.confidence.fitting import train
    from pointsman.learn.confidence.judging import judge
    from pointsman.learn.confidence.measured import read_rows, write_rows

    if evidence is not None and (models or answers is not None or again):
        raise click.UsageError("--evidence is judged alone, without --model, --answers and --again.")
    try:
        if evidence is not None:
            rows = read_rows(evidence)
        else:
            path = answers or invocation.settings().data_dir / "confidence.jsonl"
            rows = run(
                _rows(invocation, path, models, limit, temperature=temperature, jobs=jobs, again=again, seed=seed)
            )
        if save_evidence is not None:
            write_rows(save_evidence, rows)
        artefact = train(rows, seed=seed) if fit is not None else None
        report = judge(rows, seed=seed)
    except PointsmanError as error:
        raise click.ClickException(error.message) from None
    if fit is not None:
        import msgspec

        fit.write_bytes(msgspec.json.format(msgspec.json.encode(artefact), indent=1) + b"\n")
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(report))
        return
    _show(report)


async def _rows(
    invocation: Invocation,
    path: Path,
    models: tuple[str, ...],
    limit: int | None,
    *,
    temperature: float,
    jobs: int,
    again: bool,
    seed: int,
) -> list[Row]:
    from pointsman.learn.confidence.collect import collect, execute_kept, sample
    from pointsman.learn.confidence.measured import measure
    from pointsman.learn.confidence.tasks import tasks

    from .launch import gateway

    if models:
        path.parent.mkdir(parents=True, exist_ok=True)
        async with gateway(invocation) as client:
            with _shown() as progress:
                await collect(
                    path, client.events, models, sample(limit, seed=seed),
                    temperature=temperature, seed=seed, jobs=jobs, progress=progress,
                )  # fmt: skip
    return list(measure(await execute_kept(path, again=again), {task.name: task for task in tasks()}))


@contextmanager
def _shown() -> Iterator[Progress]:
    """A bar a model on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield lambda model, done, total: note(f"{model}: {done} of {total}") if done % EVERY == 0 else None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    bars: dict[str, int] = {}
    with Progress(*columns, TimeRemainingColumn(), console=console(sys.stderr)) as shown:

        def tell(model: str, done: int, total: int) -> None:
            if model not in bars:
                bars[model] = shown.add_task(model, total=total)
            shown.update(bars[model], completed=done)  # type: ignore[arg-type]  # its id is an int of a name

        yield tell


def _show(report: Report) -> None:
    columns = ("By", "Answers of", "Number", "Right", "AUC", "ECE", "Brier")
    for figures in (report.figures, report.carried):
        if figures:
            console().print(table(columns, map(_cells, figures), right=columns[2:]))
    for one in report.cascades:
        console().print(
            f"{one.weak} ({one.weak_alone:.1%} right) → {one.strong} ({one.strong_alone:.1%}), {one.tasks} tasks;"
            f" {one.best:.1%} are answered by either"
        )
        rows = [
            (f"{step.escalated:.0%}", f"{step.threshold:.3f}", f"{step.quality:.1%}", f"{step.by_chance:.1%}",
             "–" if step.kept_right is None else f"{step.kept_right:.1%}")
            for step in one.steps
        ]  # fmt: skip
        heads = ("Escalated", "Threshold", "Right", "By chance", "Of the kept, right")
        console().print(table(heads, rows, right=heads))


def _cells(figure: Figure) -> tuple[str, ...]:
    return (
        figure.name,
        figure.model,
        str(figure.answers),
        f"{figure.right:.1%}",
        "–" if figure.auc is None else f"{figure.auc:.3f} ({figure.low or 0:.3f} to {figure.high or 1:.3f})",
        "" if figure.ece is None else f"{figure.ece:.3f}",
        "" if figure.brier is None else f"{figure.brier:.3f}",
    )
