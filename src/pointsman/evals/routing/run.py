"""A whole run: which tables, which parts to learn from, and the processes that judge them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pointsman.core.errors import InvalidRequest
from pointsman.learn.engine import Engine, WorkerLost, spread

from .judge import evaluate_dataset
from .pairs import NAME, Pairs, read_pairs
from .spec import Spec
from .transfer import transfers

SUFFIXES = (".jsonl.gz", ".jsonl")

Told = Callable[[str, dict[str, Any]], None]
"""Called with the name and the result of each question as it is answered."""


def tables_in(folder: Path) -> dict[str, Path]:
    """The tables of a folder, or of its folder `routing`, by name.

    Raises:
        InvalidRequest: there is no such folder, or no table in it.
    """
    if not folder.is_dir():
        raise InvalidRequest(f"There is no folder {folder}.")
    inner = folder / "routing"
    for place in (inner, folder) if inner.is_dir() else (folder,):
        found = {
            path.name.removesuffix(suffix): path
            for suffix in SUFFIXES
            for path in sorted(place.glob(f"*{suffix}"))
            if path.is_file()
        }
        if found:
            return dict(sorted(found.items()))
    raise InvalidRequest(f"There is no table in {folder}: none named *.jsonl.gz or *.jsonl.")


def pairs_of(folder: Path) -> Pairs:
    """Those that lie beside the tables, or those that ship."""
    for place in (folder / NAME, folder.parent / NAME):
        if place.is_file() and (place.parent == folder or folder.name == "routing"):
            return read_pairs(place)
    return read_pairs()


def questions(
    data: Path, *, train: Path | None = None, only: Sequence[str] = (), base: Spec
) -> tuple[list[Spec], list[Spec]]:
    """The tables to judge, and the transfers between them.

    Args:
        only: names of tables; empty: all.
        base: what holds for every table; its name and paths are replaced.

    Raises:
        InvalidRequest: a folder or a table of this name is not there.
    """
    there = tables_in(data)
    unknown = [name for name in only if name not in there]
    if unknown:
        raise InvalidRequest(f"There is no table {', '.join(unknown)} in {data}; there are {', '.join(there)}.")
    named = pairs_of(data)
    learned = {} if train is None else tables_in(train)
    specs = [
        replace(
            base,
            name=name,
            data=path,
            train=learned.get(name),
            others=tuple(other for key, other in learned.items() if key != name),
            held_out=train is not None,
            pairs=tuple((weak, strong) for weak, strong in named.get(name, ())),
        )
        for name, path in there.items()
        if not only or name in only
    ]
    judged = {name: path for name, path in there.items() if not only or name in only}
    return specs, transfers(there if train is None else learned, judged, base)


def evaluate(specs: Sequence[Spec], *, jobs: int, told: Told, engine: Engine = "local") -> dict[str, dict[str, Any]]:
    """Results by the name of the specification, in the order given. With one job everything runs in this process."""
    found = {}
    for name, result in _answers(specs, jobs, engine):
        told(name, result)
        found[name] = result
    return {spec.name: found[spec.name] for spec in specs}


def _answers(specs: Sequence[Spec], jobs: int, engine: Engine) -> Iterator[tuple[str, dict[str, Any]]]:
    # The largest tables begin, lest one of them is left for the end.
    ordered = sorted(specs, key=lambda spec: -_size(spec)) if engine == "ray" or jobs > 1 else list(specs)
    left = {spec.name for spec in specs}
    try:
        for place, result in spread(evaluate_dataset, ordered, engine=engine, jobs=jobs):
            left.discard(ordered[place].name)
            yield ordered[place].name, result
    except WorkerLost as error:
        yield from ((spec.name, {"error": error.message}) for spec in specs if spec.name in left)


def _size(spec: Spec) -> int:
    """Bytes to be read."""
    try:
        return spec.data.stat().st_size
    except OSError:
        return 0


def merged(results: Mapping[str, dict[str, Any]], moved: Mapping[str, dict[str, Any]], base: Spec) -> dict[str, Any]:
    """The whole of a run as JSON. The results of transfers are those of several tables each, or an error."""
    apart: dict[str, Any] = {}
    for name, several in moved.items():
        apart.update({name: several} if "error" in several else several)
    return {
        "datasets": dict(results),
        "transfer": apart,
        "options": {
            "families": list(base.families),
            "folds": base.folds,
            "seed": base.seed,
            "bootstrap": base.bootstrap,
            "labels": base.labels,
            "held_out": base.held_out,
        },
    }
