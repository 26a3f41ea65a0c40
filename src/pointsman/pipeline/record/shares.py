"""How much of what is learned of a model one API key may say: no key steers the routing of the others without bound.

Of every model, each key's observations have a total weight. Once several keys speak of a model, no total counts for
more than the share `key_share` of what counts in all (half of it, with two keys), but for at least `FLOOR`, so that
whoever comes second with a first thumb does not silence the first. A key that says more has every weight scaled down.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterator, Sequence

FLOOR = 20.0
"""Total weight that every key may have; twenty outcomes move a posterior, and hardly turn it."""
STEPS = 4
"""A scale is rounded down to a power of 2^(1/STEPS): totals that grow change it seldom, and replicas that know the same
agree."""

Pair = tuple[str, str | None]
"""A model, and whose observations."""


class KeyShares:
    """Counts the observations that are in force, and says what each counts.

    Args:
        share: of a model's weight, in (0, 1]; 1: no bound.
        most: observations that are in force; beyond it the oldest decisions go.
    """

    def __init__(self, *, share: float, most: int) -> None:
        self._share = share
        self._most = most
        self._held: dict[str, tuple[Pair, float, float]] = {}
        self._oldest: list[tuple[float, str]] = []
        self._totals: dict[str, dict[str | None, float]] = {}
        self._counts: dict[Pair, int] = {}
        self._scales: dict[Pair, float] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, decision_id: str) -> bool:
        return decision_id in self._held

    def put(self, decision_id: str, pair: Pair, *, weight: float, at: float) -> None:
        """Take up an observation, in place of an earlier one of the same decision; of weight 0: none."""
        self.drop(decision_id)
        if weight <= 0:
            return
        model, key = pair
        self._held[decision_id] = pair, weight, at
        heapq.heappush(self._oldest, (at, decision_id))
        totals = self._totals.setdefault(model, {})
        totals[key] = totals.get(key, 0.0) + weight
        self._counts[pair] = self._counts.get(pair, 0) + 1

    def drop(self, decision_id: str) -> None:
        found = self._held.pop(decision_id, None)
        if found is None:
            return
        (model, key), weight, _ = found
        self._counts[model, key] -= 1
        if self._counts[model, key]:
            self._totals[model][key] -= weight
            return
        del self._counts[model, key], self._totals[model][key]
        self._scales.pop((model, key), None)
        if not self._totals[model]:
            del self._totals[model]

    def trim(self, since: float) -> list[str]:
        """Let go of decisions before then (seconds since the epoch), and of the oldest beyond `most`; returns them."""
        gone = []
        while self._oldest and (self._oldest[0][0] < since or len(self._held) > self._most):
            at, decision_id = heapq.heappop(self._oldest)
            held = self._held.get(decision_id)
            if held is not None and held[2] == at:
                self.drop(decision_id)
                gone.append(decision_id)
        if len(self._oldest) > 2 * self._most:  # of replaced ones an entry stays behind
            self._oldest = [(at, decision_id) for decision_id, (_, _, at) in self._held.items()]
            heapq.heapify(self._oldest)
        return gone

    def scale(self, pair: Pair) -> float:
        """What the weights of these observations are multiplied with, in (0, 1], as of the last `settle`."""
        return self._scales.get(pair, 1.0)

    def settle(self, models: Collection[str]) -> Iterator[Pair]:
        """Reckon the scales of these models anew; yields those that have changed."""
        for model in models:
            totals = self._totals.get(model, {})
            cap = largest(list(totals.values()), self._share)
            for key, total in totals.items():
                scale = _stepped(cap / total) if total > cap else 1.0
                if scale != self._scales.get((model, key), 1.0):
                    self._scales[model, key] = scale
                    yield model, key


def largest(totals: Sequence[float], share: float) -> float:
    """The largest total that counts whole.

    The cap c solves c = s Σ min(total, c) with s the share, or 1 / keys where that is more: of the k largest totals
    above it, c = s (sum of the others) / (1 − k s). It is at least `FLOOR`.
    """
    share = max(share, 1 / len(totals)) if totals else 1.0
    ordered = sorted(totals, reverse=True)
    rest = sum(ordered)
    if not ordered or ordered[0] <= share * rest:
        return math.inf
    cap = ordered[-1]
    for above, total in enumerate(ordered, 1):
        rest -= total
        if above * share >= 1:
            break
        cap = share * rest / (1 - above * share)
        if above == len(ordered) or ordered[above] <= cap:
            break
    return max(cap, FLOOR)


def _stepped(scale: float) -> float:
    return float(2.0 ** (math.floor(STEPS * math.log2(scale)) / STEPS))
