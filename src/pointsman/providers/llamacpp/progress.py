"""How far the fetching of weights has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Phase = Literal["waiting", "fetching", "checking", "ready"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A step of `ensure`. `waiting`: another process is fetching the same model."""

    name: str
    phase: Phase
    done: int = 0
    total: int = 0
    """Bytes to be transferred in all, `done` of them present; those of an earlier, broken run count as done."""


class Meter:
    """Adds up the bytes of parts that are fetched side by side, and tells the caller."""

    def __init__(self, name: str, tell: Callable[[Progress], None] | None) -> None:
        self._name, self._tell = name, tell
        self._parts: dict[str, int] = {}
        self._total = 0

    def begin(self, total: int) -> None:
        """From now on parts add up to `total` bytes; none is here yet."""
        self._parts.clear()
        self._total = total

    def phase(self, phase: Phase) -> None:
        self._report(phase)

    def reached(self, part: str, done: int) -> None:
        """`done` bytes of `part` are here."""
        if self._parts.get(part) != done:
            self._parts[part] = done
            self._report("fetching")

    def _report(self, phase: Phase) -> None:
        if self._tell is not None:
            done = min(sum(self._parts.values()), self._total)
            self._tell(Progress(name=self._name, phase=phase, done=done, total=self._total))
