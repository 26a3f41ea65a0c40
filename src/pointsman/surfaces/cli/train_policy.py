"""`pointsman train linucb|thompson|grpo|distill`: learn a routing policy, and keep it as a version."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointsman.core.errors import InvalidRequest, PointsmanError

from .invocation import Invocation
from .learning import cards_of, read_stretch, weights_of
from .output import console, note, print_json, table

if TYPE_CHECKING:
    from pointsman.learn.engine import Engine
    from pointsman.learn.training import Report, Tell, Trained, Trainer
    from pointsman.pipeline.decide.learned.artefact import LearnedArtefact
    from pointsman.settings import Settings
    from pointsman.stores.database import Database


async def train_policy(
    invocation: Invocation,
    trainer: Trainer,
    *,
    since: float,
    data: Path | None,
    seed: int,
    name: str,
    promote: bool,
    every: float | None,
    engine: Engine,
    jobs: int,
    as_json: bool,
) -> None:
    """Train once, or again and again every so many seconds until interrupted.

    Raises:
        PointsmanError: there is nothing to learn from, or with `promote`, what was learned is no better. One that is
            trained again and again says so and goes on.
    """
    while True:
        try:
            await _once(invocation, trainer, since=since, data=data, seed=seed, name=name, promote=promote,
                        engine=engine, jobs=jobs, as_json=as_json)  # fmt: skip
        except PointsmanError as error:
            if every is None:
                raise
            note(error.message)
        if every is None:
            return
        note(f"Next in {every / 3600:.3g} hours; Ctrl-C ends it.")
        await asyncio.sleep(every)


async def _once(
    invocation: Invocation,
    trainer: Trainer,
    *,
    since: float,
    data: Path | None,
    seed: int,
    name: str,
    promote: bool,
    engine: Engine,
    jobs: int,
    as_json: bool,
) -> None:
    import msgspec

    from pointsman.core.ports import SystemClock
    from pointsman.stores.policies import PolicyStore

    from .opened import opened_database

    settings = invocation.settings()
    async with opened_database(settings) as database:
        trained = await _train(settings, database, trainer, since=since, data=data, seed=seed, engine=engine, jobs=jobs)
        report = msgspec.to_builtins(trained.report)
        kept = await PolicyStore(database, SystemClock()).add(
            name, kind=trained.kind, artefact=trained.artefact, note=_note(trained.report), report=report
        )
    if not as_json:
        _show(trained.report)
        note(f"{kept.version} is kept; `pointsman policies promote {kept.version}` lets it serve.")
    refusal: PointsmanError | None = None
    if promote:
        from .policy_gate import Refused, promote_if_better

        try:
            await promote_if_better(
                invocation, kept.version, share=None, margin=None, since=since, force=False,
                reason="trained with --promote", as_json=False,
            )  # fmt: skip
        except Refused as error:
            refusal = error
    if as_json:
        promoted = promote and refusal is None
        print_json({"version": kept.version, "kind": trained.kind, "promoted": promoted, "report": trained.report})
    if refusal is not None:
        raise refusal


async def _train(
    settings: Settings,
    database: Database,
    trainer: Trainer,
    *,
    since: float,
    data: Path | None,
    seed: int,
    engine: Engine,
    jobs: int,
) -> Trained:
    import importlib

    from pointsman.learn.training import train_on_log, train_on_table

    app = importlib.import_module(
        "pointsman.app.built_in"
    )  # it stands above this layer, so it is loaded as the entry is
    rules = app.rules_of(settings)
    base = await _base(database)
    if data is not None:
        from pointsman.learn.reading import PromptReader

        with _shown(f"Training {trainer}") as tell:
            return train_on_table(
                trainer, _table(data), base=base, rules=rules, read=PromptReader(), seed=seed, engine=engine, jobs=jobs,
                weights=weights_of(settings), tell=tell,
            )  # fmt: skip
    stretch = await read_stretch(database, since)
    cards = cards_of(settings, stretch.decisions)
    with _shown(f"Training {trainer}") as tell:
        return train_on_log(
            trainer, stretch.decisions, base=base, rules=rules, cards=cards, seed=seed, engine=engine, jobs=jobs,
            weights=weights_of(settings), tell=tell,
        )  # fmt: skip


async def _base(database: Database) -> LearnedArtefact:
    """The learned policy that serves, or the one that ships."""
    from pointsman.core.ports import SystemClock
    from pointsman.pipeline.decide.learned.artefact import read_artefact
    from pointsman.pipeline.decide.learned.shipped import shipped
    from pointsman.stores.policies import PolicyStore

    serving = await PolicyStore(database, SystemClock()).promoted()
    if serving is not None and serving.kind == "learned":
        return read_artefact(serving.artefact)
    return shipped()


def _table(data: Path) -> Any:
    """The table in a file, or those in a folder as one.

    Raises:
        InvalidRequest: there is none, or those of a folder tell of different models.
    """
    from pointsman.learn.table import joined, read_table

    if data.is_file():
        return read_table(data)
    files = sorted([*data.glob("*.jsonl"), *data.glob("*.jsonl.gz")])
    if not files:
        raise InvalidRequest(f"{data} holds no table (*.jsonl, *.jsonl.gz).")
    return joined([read_table(file) for file in files], name=data.name)


def _note(report: Report) -> str:
    told = f"{report.trainer} on {report.rows} rows of {report.source}, seed {report.seed}"
    difference = report.difference
    if difference is not None and difference.value is not None and difference.low is not None:
        return f"{told}; held out: {difference.value:+.3f} (from {difference.low:+.3f})"
    if report.reward is not None and report.best_single is not None:
        return f"{told}; held out: {report.reward:.3f}, best single {report.best_single:.3f}"
    return told


def _show(report: Report) -> None:
    out = console()
    out.print(
        f"{report.trainer}: {report.rows:,} rows of {report.source}, {report.judged:,} judged,"
        f" {report.held_out:,} held out, seed {report.seed}."
    )
    out.print(table(["Model", "Rows"], list(report.models.items()), right=["Rows"]))
    difference = report.difference
    if report.reward is not None:
        out.print(
            f"Reward on what was held out: {report.reward:.3f}; best single model {report.best_single:.3f}, always the"
            f" best {report.oracle:.3f}."
        )
    elif difference is None or difference.value is None:
        out.print("What was held out cannot tell how good it is.")
    else:
        low, high = (f"{end:+.3f}" if end is not None else "?" for end in (difference.low, difference.high))
        out.print(
            f"On what was held out: {difference.value:+.3f} beyond what was done (95 % interval {low} to {high})."
        )
    for warning in difference.warnings if difference is not None else ():
        note(warning)


@contextmanager
def _shown(what: str) -> Iterator[Tell]:
    """A bar on standard error where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr, markup=False), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
