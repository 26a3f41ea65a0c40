"""What one table is to be judged on: a value that a worker elsewhere can be handed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One table of a run."""

    name: str
    data: Path
    train: Path | None = None
    """The same table's training part; None where the table is cross-validated, or only others can be learned from."""
    others: tuple[Path, ...] = ()
    """Other tables of the training folder, for pairs that are in none of the table's own."""
    held_out: bool = False
    """Whether nothing of `data` may be learned from."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Empty: chosen from the table."""
    folds: int = 5
    seed: int = 0
    bootstrap: int = 1000
    families: tuple[str, ...] = ("router",)
    """The first is judged against the baselines; all are shown."""
    labels: int | None = None
    """At most this many prompts to learn from in each fit."""
    online: bool = False
    transfer_to: tuple[tuple[Path, tuple[str, str]], ...] = ()
    """Judge instead what the first of `pairs`, learned on all of `data`, makes of these tables' pairs."""
