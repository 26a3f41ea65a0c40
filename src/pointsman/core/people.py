"""What the understand stage asks of a model that finds names of people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class ModelAway(Exception):
    """The model gave no answer; says why."""


class FindsPeople(Protocol):
    def __call__(self, texts: Sequence[str]) -> list[list[str]]:
        """What the model takes for a person, of each text. Blocks, for no longer than its own bound.

        Raises:
            ModelAway: it cannot say.
        """
