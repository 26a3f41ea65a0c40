"""Tables with their features, and the parts that a router is fitted on and asked about."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointsman.core.errors import InvalidRequest
from pointsman.learn.families.base import Floats, Prompts
from pointsman.learn.reading import PromptReader
from pointsman.learn.table import Table, read_table

from .resampling import folds_of
from .spec import Spec

Ints = NDArray[np.int64]

COMMON = 0.1
"""Share of a table's groups that have a text from which on it is no prompt's own."""
FEWEST = 20
"""Prompts that a cross-validation needs."""


@dataclass(frozen=True)
class Material:
    """A table, with the feature vectors of its prompts read when they are first asked for."""

    table: Table

    @cached_property
    def features(self) -> NDArray[np.float32]:
        return self.table.featured(PromptReader())

    def prompts(self, rows: Ints, attempt: Floats | None = None) -> Prompts:
        """Args:
        attempt: (n, k), of every prompt of the table."""
        part = self.table.rows(rows)
        return Prompts(
            texts=part.prompts,
            features=self.features[rows],
            attempt=None if attempt is None else attempt[rows],
            categories=part.categories,
        )


@dataclass(frozen=True)
class Split:
    """One fit: what to learn from, and the rows to predict."""

    prompts: Prompts
    scores: Floats
    costs: Floats
    groups: tuple[str, ...]
    test: Ints
    """Rows of the judged table."""
    source: Material | None = None
    """Where the training prompts come from, if from one table."""
    rows: Ints | None = None
    """Theirs in the source."""


@dataclass(frozen=True)
class Plan:
    """How the models of one question are learned and judged."""

    rows: Ints
    """Of the judged table, those that count."""
    splits: tuple[Split, ...]
    """Together they predict each of the rows once. Empty: there is nothing to learn from but the prior."""
    how: str


class Sources:
    """Everything that a table's models can be learned from under one specification.

    Raises:
        InvalidRequest: the table cannot be judged; says why.
        OSError: a file cannot be read.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.own = Material(read_table(spec.data))
        if len(self.own.table.models) < 2:
            raise InvalidRequest(f"{spec.data.name} has outcomes of one model only; routing needs two.")
        self.left_out: list[str] = []
        """Of each training table that holds prompts that are judged, how many, and why they are not learned from."""
        self.train = None if spec.train is None else self._without(read_table(spec.train))
        self._others: dict[Path, Material] = {}

    def plan(self, models: Sequence[str], rows: Ints, signals: Sequence[str] = ()) -> Plan:
        """Args:
            models: whose outcomes are to be predicted.
            rows: prompts of the table to judge on.
            signals: what is looked at of an attempt of the first model; see `attempt_of`.

        Raises:
            InvalidRequest: there are too few prompts to cross-validate.
        """
        if not self.spec.held_out:
            return self._crossed(models, rows, signals)
        if self.train is not None and set(models) <= set(self.train.table.models):
            split = self._split(self.train, models, None, rows, signals)
            if len(split.prompts):
                return Plan(rows, (split,), "the table's own training part")
        found = [] if signals else [other for other in self._read_others() if set(models) <= set(other.table.models)]
        parts = [self._split(other, models, None, rows, signals) for other in found]
        parts = [part for part in parts if len(part.prompts)]
        if not parts:
            all_judged = [*([self.train] if self.train is not None else []), *found]
            if any(set(models) <= set(one.table.models) and not len(one.table) for one in all_judged):
                return Plan(rows, (), "the prior alone: every training prompt with these models is judged too")
            return Plan(rows, (), "the prior alone: no training table has these models")
        names = ", ".join(other.table.name for other in found)
        return Plan(rows, (_joined(parts),), f"transfer from {names}")

    def _crossed(self, models: Sequence[str], rows: Ints, signals: Sequence[str]) -> Plan:
        if len(rows) < FEWEST:
            raise InvalidRequest(
                f"{self.spec.name}: {len(rows)} prompts with outcomes of {', '.join(models[:2])}"
                f"{' …' if len(models) > 2 else ''}; a cross-validation needs {FEWEST}. With --train fewer will do."
            )
        folds = folds_of([self.own.table.groups[int(row)] for row in rows], self.spec.folds, self.spec.seed)
        splits = tuple(
            self._split(self.own, models, rows[folds != fold], rows[folds == fold], signals)
            for fold in np.unique(folds)
            if (folds != fold).any()
        )
        if sum(len(split.test) for split in splits) < len(rows):
            raise InvalidRequest(f"{self.spec.name}: all prompts are of one group and cannot be split.")
        return Plan(rows, splits, f"cross-validation in {len(splits)} folds by group")

    def _split(
        self, material: Material, models: Sequence[str], rows: Ints | None, test: Ints, signals: Sequence[str]
    ) -> Split:
        part = material.table.of(models)
        attempt = attempt_of(part, signals) if signals else None
        if rows is None:
            useful = np.isfinite(part.scores).any(axis=1)
            rows = np.flatnonzero(useful if attempt is None else useful & np.isfinite(attempt).all(axis=1))
        if self.spec.labels is not None:
            rows = some(part, rows, self.spec.labels, self.spec.seed)
        kept = part.rows(rows)
        return Split(material.prompts(rows, attempt), kept.scores, kept.costs, kept.groups, test, material, rows)

    def _read_others(self) -> Iterator[Material]:
        for path in self.spec.others:
            if path not in self._others:
                try:
                    self._others[path] = self._without(read_table(path))
                except (InvalidRequest, OSError):
                    continue  # told where that table itself is judged; here it is only one source less
            yield self._others[path]

    def _without(self, table: Table) -> Material:
        """The table less the groups and the texts that are judged: a prompt is never learned from and asked."""
        by_group = np.array([group in self._groups for group in table.groups], dtype=np.bool_)
        by_text = np.array([same(prompt) in self._judged_texts for prompt in table.prompts], dtype=np.bool_) & ~by_group
        count = int(by_group.sum() + by_text.sum())
        if count:
            self.left_out.append(
                f"{count} of {len(table)} training prompts of {table.name} are judged here and are not learned from"
                f" ({int(by_group.sum())} by their split_key, {int(by_text.sum())} by their text)"
            )
        return Material(table.rows(~(by_group | by_text)))

    @cached_property
    def _groups(self) -> frozenset[str]:
        return frozenset(self.own.table.groups)

    @cached_property
    def _judged_texts(self) -> frozenset[str]:
        return _texts(self.own.table)


SIGNALS = ("calls", "cost_usd", "out_tok")


def signals_of(table: Table, rows: Ints) -> tuple[str, ...]:
    """What is known of every attempt of the table's first model on these rows; nothing where calls are not."""
    known = tuple(name for name in SIGNALS if np.isfinite(_column(table, name)[rows]).all())
    return known if "calls" in known else ()


def attempt_of(table: Table, signals: Sequence[str]) -> Floats:
    """(n, k): these signals of the table's first model."""
    return np.stack([_column(table, name) for name in signals], axis=1)


def _column(table: Table, signal: str) -> Floats:
    column: Floats = {"calls": table.calls, "cost_usd": table.costs, "out_tok": table.output_tokens}[signal][:, 0]
    return column


def same(prompt: str) -> str:
    """Equal for prompts that differ in letters' case, spaces, or forms of a character alone."""
    return " ".join(unicodedata.normalize("NFKC", prompt).casefold().split())


def _texts(table: Table) -> frozenset[str]:
    """Of its prompts, as `same` has them; less those of several groups that are all over the table, such as the one
    line that an agent is started with: they tell no prompt from another."""
    groups: dict[str, set[str]] = {}
    for prompt, group in zip(table.prompts, table.groups, strict=True):
        groups.setdefault(same(prompt), set()).add(group)
    most = max(1.0, COMMON * len(set(table.groups)))
    return frozenset(text for text, among in groups.items() if len(among) <= most)


def some(table: Table, rows: Ints, most: int, seed: int) -> Ints:
    """At most so many of the rows, chosen by a hash of their ids."""
    key = seed.to_bytes(8, "little", signed=True)
    order = sorted(rows, key=lambda row: hashlib.blake2b(table.ids[int(row)].encode(), key=key, digest_size=8).digest())
    return np.sort(np.array(order[:most], dtype=np.int64))


def _joined(parts: Sequence[Split]) -> Split:
    first = parts[0]
    return replace(
        first,
        prompts=Prompts(
            texts=tuple(text for part in parts for text in part.prompts.texts),
            features=np.concatenate([part.prompts.features for part in parts]),
            categories=tuple(label for part in parts for label in part.prompts.categories),
        ),
        scores=np.concatenate([part.scores for part in parts]),
        costs=np.concatenate([part.costs for part in parts]),
        groups=tuple(group for part in parts for group in part.groups),
        source=first.source if len(parts) == 1 else None,
        rows=first.rows if len(parts) == 1 else None,
    )
