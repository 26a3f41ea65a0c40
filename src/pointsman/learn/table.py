"""Full-information tables: what every one of several models made of the same prompts."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.core.errors import InvalidRequest

Floats = NDArray[np.float64]


class _Cell(msgspec.Struct, frozen=True, gc=False):
    score: float
    cost_usd: float | None = None
    in_tok: float | None = None
    out_tok: float | None = None
    calls: float | None = None


class _Row(msgspec.Struct, frozen=True):
    dataset: str
    prompt_id: str
    split_key: str
    prompt: str
    category: str
    outcomes: dict[str, _Cell]
    lang: str | None = None
    meta: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """`n` prompts by `m` models; a missing outcome is NaN."""

    name: str
    prompts: tuple[str, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    """Prompts of one group stay on one side of any split."""
    categories: tuple[str, ...]
    models: tuple[str, ...]
    scores: Floats
    """(n, m), in [0, 1]."""
    costs: Floats
    """(n, m), US dollars."""
    calls: Floats
    """(n, m), API calls that an agent made."""
    output_tokens: Floats
    """(n, m)."""

    def __len__(self) -> int:
        return len(self.prompts)

    def rows(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Table:
        """These prompts, in this order."""
        places = np.arange(len(self))[index]
        pick = [int(place) for place in places]
        return replace(
            self,
            prompts=tuple(self.prompts[place] for place in pick),
            ids=tuple(self.ids[place] for place in pick),
            groups=tuple(self.groups[place] for place in pick),
            categories=tuple(self.categories[place] for place in pick),
            scores=self.scores[places],
            costs=self.costs[places],
            calls=self.calls[places],
            output_tokens=self.output_tokens[places],
        )

    def of(self, models: Sequence[str]) -> Table:
        """These models, in this order.

        Raises:
            KeyError: one of them is not in the table.
        """
        places = [self.models.index(model) if model in self.models else self._missing(model) for model in models]
        return replace(
            self,
            models=tuple(models),
            scores=self.scores[:, places],
            costs=self.costs[:, places],
            calls=self.calls[:, places],
            output_tokens=self.output_tokens[:, places],
        )

    def _missing(self, model: str) -> int:
        raise KeyError(model)

    @cached_property
    def complete(self) -> NDArray[np.bool_]:
        """(n,): which prompts have a score of every model."""
        whole: NDArray[np.bool_] = np.logical_not(np.isnan(self.scores).any(axis=1))
        return whole

    def featured(self, read: Callable[[str], bytes]) -> NDArray[np.float32]:
        """(n, WIDTH): the prompts' feature vectors, as `core.features.decode` gives them."""
        from pointsman.core.features import decode

        return decode([read(prompt) for prompt in self.prompts])


def joined(tables: Sequence[Table], *, name: str) -> Table:
    """Several tables of the same models as one; groups of different tables stay apart.

    Raises:
        InvalidRequest: they tell of different models.
    """
    models = tables[0].models
    for other in tables:
        if set(other.models) != set(models):
            raise InvalidRequest(
                f"{tables[0].name} and {other.name} tell of different models; name one of them, or tables of the same."
            )
    parts = [table.of(models) for table in tables]

    def stacked(field: str) -> Floats:
        rows: Floats = np.concatenate([getattr(part, field) for part in parts])
        return rows

    return Table(
        name=name,
        prompts=tuple(prompt for part in parts for prompt in part.prompts),
        ids=tuple(one for part in parts for one in part.ids),
        groups=tuple(f"{part.name}/{group}" for part in parts for group in part.groups),
        categories=tuple(category for part in parts for category in part.categories),
        models=models,
        scores=stacked("scores"),
        costs=stacked("costs"),
        calls=stacked("calls"),
        output_tokens=stacked("output_tokens"),
    )


def read_table(path: Path) -> Table:
    """A table from JSON lines, gzipped or not: one prompt a line with `dataset`, `prompt_id`, `split_key`, `prompt`,
    `category` and `outcomes {model: {score, cost_usd?, in_tok?, out_tok?, calls?}}`.

    Raises:
        InvalidRequest: a line is not of this form, or a number in it makes no sense; names the line.
        OSError: the file cannot be read.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    decoder = msgspec.json.Decoder(_Row)
    rows: list[_Row] = []
    try:
        with opener(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    rows.append(_checked(decoder.decode(line), path, number))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path.name}, line {len(rows) + 1}: {error}.") from None
    except (gzip.BadGzipFile, EOFError) as error:
        raise InvalidRequest(f"{path.name} is damaged: {error}.") from None
    if not rows:
        raise InvalidRequest(f"{path.name} holds no prompt.")
    models = tuple(dict.fromkeys(model for row in rows for model in row.outcomes))
    place = {model: column for column, model in enumerate(models)}
    cells = {field: np.full((len(rows), len(models)), np.nan) for field in ("score", "cost_usd", "calls", "out_tok")}
    for line_number, row in enumerate(rows):
        for model, cell in row.outcomes.items():
            for field, values in cells.items():
                value = getattr(cell, field)
                if value is not None:
                    values[line_number, place[model]] = value
    return Table(
        name=path.name.removesuffix(".gz").removesuffix(".jsonl"),
        prompts=tuple(row.prompt for row in rows),
        ids=tuple(row.prompt_id for row in rows),
        groups=tuple(row.split_key for row in rows),
        categories=tuple(row.category for row in rows),
        models=models,
        scores=cells["score"],
        costs=cells["cost_usd"],
        calls=cells["calls"],
        output_tokens=cells["out_tok"],
    )


def _checked(row: _Row, path: Path, number: int) -> _Row:
    for model, cell in row.outcomes.items():
        if not 0 <= cell.score <= 1:
            raise InvalidRequest(f"{path.name}, line {number}: the score of {model} is {cell.score}, not in [0, 1].")
        for value in (cell.cost_usd, cell.in_tok, cell.out_tok, cell.calls):
            if value is not None and not 0 <= value < float("inf"):
                raise InvalidRequest(f"{path.name}, line {number}: {value} of {model} is no amount.")
    return row
