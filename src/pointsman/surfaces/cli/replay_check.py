"""`pointsman replay --check`: whether 95 % intervals hold the truth in 95 of 100 logs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pointsman.core.errors import NotFound

from .learning import shown
from .output import console, note, print_json, table

if TYPE_CHECKING:
    from pointsman.learn.engine import Engine
    from pointsman.learn.ope.coverage import Coverage, Known

TABLES = (
    "routellm_mmlu", "bfcl_2024_08", "alpacaeval2", "swebench_verified_bash", "routerbench_arc_challenge",
)  # fmt: skip
"""Of the tables that are there, those that are checked; where none of them is, all."""

AT_ONCE = 20
"""Logs that a piece of work draws: the table travels with each piece."""


def check_intervals(folder: Path, *, seeds: int, first: int, engine: Engine, jobs: int, as_json: bool) -> None:
    """Draw logs from tables of known outcomes and count how often each interval holds.

    Raises:
        NotFound: there is no table.
        InvalidRequest: one cannot be read.
    """
    from pointsman.learn.engine import spread
    from pointsman.learn.ope.coverage import Cell, Draws, drawn, summed

    found: list[Coverage] = []
    questions = [known for path in _tables(folder) for known in _posed(path)]
    for known in questions:
        cells: dict[int, list[Cell]] = {}
        tasks = [
            Draws(known=known, seeds=tuple(range(start, min(start + AT_ONCE, first + seeds))))
            for start in range(first, first + seeds, AT_ONCE)
        ]
        with shown(known.name, seeds) as tell:
            for place, several in spread(drawn, tasks, engine=engine, jobs=jobs):
                cells.update(zip(tasks[place].seeds, several, strict=True))
                tell(len(cells))
        found += summed(known, [cells[seed] for seed in sorted(cells)])
    overall = {
        f"{estimator}, {interval}": sum(one.coverage for one in ours) / len(ours)
        for estimator, interval in dict.fromkeys((one.estimator, one.interval) for one in found)
        if (ours := [one for one in found if (one.estimator, one.interval) == (estimator, interval)])
    }
    if as_json:
        print_json({"seeds": seeds, "engine": engine, "overall": overall, "tables": found})
        return
    columns = ("Table and policy", "Estimator", "Interval", "Coverage", "Bias", "Deviation", "Width", "Worth")
    rows = [
        (
            one.table, one.estimator.upper(), one.interval, f"{one.coverage:.1%}", f"{one.bias:+.4f}",
            f"{one.deviation:.4f}", f"{one.width:.3f}", f"{one.effective:,.0f}",
        )
        for one in found
    ]  # fmt: skip
    console().print(table(columns, rows, right=columns[3:], spare=("Worth", "Deviation")))
    for name, share in overall.items():
        console().print(f"{name}: {share:.1%} over all")
    note(f"{seeds} logs of each table. Chance alone moves a coverage of 95 % by {1.96 * (0.0475 / seeds) ** 0.5:.1%}.")


def _tables(folder: Path) -> list[Path]:
    inner = folder / "routing"
    where = inner if inner.is_dir() else folder
    paths = sorted([*where.glob("*.jsonl"), *where.glob("*.jsonl.gz")])
    if not paths:
        raise NotFound(f"{where} holds no table (*.jsonl or *.jsonl.gz).")
    chosen = [path for path in paths if path.name.partition(".")[0] in TABLES]
    return chosen or paths


def _posed(path: Path) -> list[Known]:
    import numpy as np

    from pointsman.learn.ope.coverage import posed, prompt_contexts, whole
    from pointsman.learn.reading import PromptReader
    from pointsman.learn.table import read_table

    rng = np.random.default_rng(7)
    table = whole(read_table(path), rng)
    read = PromptReader()
    with shown(f"Reading {table.name}", len(table)) as tell:
        features = []
        for prompt in table.prompts:
            features.append(read(prompt))
            tell(len(features))
    return posed(table, prompt_contexts(features), rng)
