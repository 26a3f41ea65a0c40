"""Whether a gateway is back where it was."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import combinations

import msgspec

from .held import Held

SHARE = 0.05
FEW = 2
"""Counts may differ by so much: a thread of a pool, a file that is open for a moment."""
MEBIBYTE = 2**20


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One measure at rest, before and after the load."""

    name: str
    before: float
    after: float
    most: float
    """Up to where it counts as back."""

    @property
    def kept(self) -> bool:
        return self.after <= self.most


def changes(before: Held, after: Held, *, callers: int) -> list[Change]:
    """Every measure. What is less than before is no leak.

    Args:
        callers: requests that were under way at the same time, at most: so many idle connections to upstreams are kept.
    """
    found = [
        _change("memory MiB", before.memory / MEBIBYTE, after.memory / MEBIBYTE, few=0),
        _change("memory of all processes MiB", before.memory_of_all / MEBIBYTE, after.memory_of_all / MEBIBYTE, few=0),
        _change("processes", before.processes, after.processes, few=0),
        _change("descriptors", before.descriptors, after.descriptors),
        _change("connections of callers", before.callers, after.callers),
        _change("threads", before.threads, after.threads),
        _change("tasks", before.tasks, after.tasks),
        _change("answers under way", before.active, after.active, few=0),
    ]
    kept = float(max(before.upstreams, callers + FEW))
    return [
        *found,
        Change(name="connections to upstreams", before=before.upstreams, after=after.upstreams, most=kept),
    ]


def growth_per_hour(samples: Sequence[Held]) -> float:
    """MiB an hour that the gateway's memory grew by in the second half of the samples, by Theil and Sen's slope."""
    later = samples[len(samples) // 2 :]
    slopes = [
        (second.memory - first.memory) / (second.seconds - first.seconds)
        for first, second in combinations(later, 2)
        if second.seconds > first.seconds
    ]
    return round(statistics.median(slopes) * 3600 / MEBIBYTE, 1) if slopes else 0.0


def _change(name: str, before: float, after: float, *, few: int = FEW) -> Change:
    most = max(before * (1 + SHARE), before + few)
    return Change(name=name, before=round(before, 1), after=round(after, 1), most=round(most, 1))
