"""Which weak → strong pairs of models a table is judged on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from pointsman.core.errors import InvalidRequest
from pointsman.learn.table import Table

NAME = "pairs.json"
COVERED = 0.5
"""Share of a table's prompts that a model needs outcomes on to be in a pair that is chosen here."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)[bB](?![a-zA-Z0-9])")

Pairs = Mapping[str, Sequence[tuple[str, str]]]


class Chosen(NamedTuple):
    """A pair for a table that names none."""

    pair: tuple[str, str]
    why: str


def read_pairs(path: Path | None = None) -> Pairs:
    """Pairs by table: from this file, or those that ship.

    Raises:
        InvalidRequest: the file is not of the form {table: [[weak, strong], …]}.
    """
    path = path or Path(__file__).with_name(NAME)
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, list[tuple[str, str]]])
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"{path.name} is not of the form {{table: [[weak, strong], …]}}: {error}.") from None


def choose_pair(table: Table) -> Chosen | None:
    """The weakest and the strongest model by mean score such that the strong one is known to cost more or to be larger;
    where nothing of the kind is known of any two, simply those. None with fewer than two models to choose from."""
    known = np.isfinite(table.scores)
    usable = [place for place in range(len(table.models)) if known[:, place].mean() >= COVERED]
    if len(usable) < 2:
        return None
    quality = {place: float(table.scores[known[:, place], place].mean()) for place in usable}
    cost = {place: _mean(table, place) for place in usable}
    size = {place: _size(table.models[place]) for place in usable}
    best: tuple[float, int, int, str] | None = None
    for weak in usable:
        for strong in usable:
            by = _ordered(cost[weak], cost[strong], "cost") or _ordered(size[weak], size[strong], "size")
            gap = quality[strong] - quality[weak]
            if by and gap > 0 and (best is None or gap > best[0]):
                best = (gap, weak, strong, by)
    if best is not None:
        _, weak, strong, by = best
        why = f"no pair is named for this table: the widest gap in mean score that agrees with the order by {by}"
    else:
        weak, strong = min(usable, key=quality.__getitem__), max(usable, key=quality.__getitem__)
        why = "no pair is named for this table, and no costs or sizes are known: weakest to strongest by mean score"
        if weak == strong:
            return None
    return Chosen((table.models[weak], table.models[strong]), why)


def _mean(table: Table, place: int) -> float | None:
    costs = table.costs[:, place]
    known = np.isfinite(costs)
    return float(costs[known].mean()) if known.mean() >= COVERED else None


def _size(model: str) -> float | None:
    """Billions of parameters, where the name tells: the last of `8x7B` or `70b`, experts multiplied."""
    experts = re.search(r"(\d+)x(\d+(?:\.\d+)?)[bB]", model)
    if experts:
        return float(experts[1]) * float(experts[2])
    found = _SIZE.findall(model)
    return float(found[-1]) if found else None


def _ordered(weak: float | None, strong: float | None, name: str) -> str | None:
    return name if weak is not None and strong is not None and weak < strong else None
