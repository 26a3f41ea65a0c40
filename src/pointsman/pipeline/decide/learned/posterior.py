"""What outcomes teach of each model: a Bayesian linear deviation of its success from what was believed before.

With φ the context of a decision, y how well the answer did and p what was believed of it, for every model

    y − p = φ · β + noise,    β ~ N(0, prior_sd² I),    noise ~ N(0, noise_sd²)

so that after observations of weights w the posterior has the precision A = I / prior_sd² + Σ w d φφᵀ / noise_sd² and
the mean A⁻¹ Σ w d φ (y − p) / noise_sd² (Bishop 2006, 3.49 to 3.51). d = 2^(−age / half life) lets old outcomes fade;
because it depends on the time of the decision alone, the order in which observations come does not matter, replicas
that have seen the same agree, and an observation can be taken out again.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pointsman.core.observation import Observation
from pointsman.core.signals import Signals

from .artefact import Learned, Posterior, unpack
from .context import CONTEXT_WIDTH, context, contexts, shape_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DAY = 86_400.0
MOST_KEPT = 50_000
"""Observations that count: beyond it the oldest decisions go. About 0.7 kilobytes each."""
MOST_WAITING = 5_000
"""Observations of models that the catalog does not have, kept until it does."""
MOST_MODELS = 512
MOST_STACKS = 64
"""Sets of models whose solved posteriors lie side by side."""
RESUM = 1_000
"""Subtractions after which a model's sums are made anew: each leaves a rounding error."""
FRESH = 1 / 200
"""Of a half life: how old a solved posterior may be."""

Expected = Callable[[Sequence[Observation]], Sequence[float | None]]
"""What was believed of the success of each, before any observation; None: nothing is known of the model now."""


class _Kept(NamedTuple):
    model: str
    at: float
    weight: float
    gap: float
    """Success less what was believed."""
    context: Floats


class _Sums:
    """Of one model: Σ w d φφᵀ / noise² and Σ w d φ (y − p) / noise², as of the bank's reference time."""

    def __init__(self) -> None:
        import numpy as np

        self.precision = np.zeros((CONTEXT_WIDTH, CONTEXT_WIDTH))
        self.shift = np.zeros(CONTEXT_WIDTH)
        self.subtracted = 0
        self.solved: tuple[float, Floats, Floats] | None = None
        """When, the mean, and the covariance."""


class PosteriorBank:
    """The posteriors of every model. For one thread.

    Args:
        numbers: the scales.
        state: what was learned before, by model id; it fades like the rest.
        expected: what was believed of observations before any was made.
    """

    def __init__(self, numbers: Posterior, *, expected: Expected, state: Mapping[str, Learned] | None = None) -> None:
        self.revision = 0
        """Rises whenever something was learned or forgotten."""
        self.waiting: dict[str, dict[str, Observation]] = {}
        """By model, then decision: what cannot be used yet because the catalog does not have the model."""
        self._numbers = numbers
        self._half_life = numbers.half_life_days * DAY
        self._expected = expected
        self._state = dict(state or {})
        self._kept: dict[str, _Kept] = {}
        self._oldest: list[tuple[float, str]] = []
        self._models: dict[str, _Sums] = {}
        self._reference = max((one.at for one in self._state.values()), default=0.0)
        self._stacks: dict[tuple[str, ...], tuple[int, float, Floats, Floats]] = {}
        self._read_state = False

    def __len__(self) -> int:
        """How many observations count."""
        return len(self._kept)

    @property
    def empty(self) -> bool:
        """Whether nothing was learned of any model."""
        return not self._kept and not self._state

    def counts(self) -> Counter[str]:
        """Observations that count, by model."""
        return Counter(kept.model for kept in self._kept.values())

    def fold(self, observations: Iterable[Observation], now: float) -> None:
        """Take up observations. One of a decision that is known replaces what was known of it.

        What makes no sense (a success outside [0, 1], a time that is no number) is passed over; one of the future
        counts as of now.

        Args:
            now: seconds since the epoch, UTC.
        """
        self._begin()
        latest: dict[str, Observation] = {}
        for one in observations:
            if 0 <= one.success <= 1 and 0 <= one.weight <= 1 and math.isfinite(one.at) and not self._taught(one):
                latest.pop(one.decision_id, None)
                latest[one.decision_id] = one
        if now < self._reference:  # the clock went back: what lies ahead of it counts as of now
            self._turn_back(now)
        self._take_out(latest)
        self._put_in([one for one in latest.values() if one.weight], now)
        self._bound()
        self.revision += 1

    def forget(self, decisions: Iterable[str]) -> None:
        """Take observations out again, as if they had never come."""
        self._begin()
        self._take_out(decisions)
        self.revision += 1

    def settle(self, now: float) -> None:
        """Try again those that wait for their model."""
        waiting = [one for several in self.waiting.values() for one in several.values()]
        self.waiting = {}
        self.fold(waiting, now)

    def deviation(
        self, models: tuple[str, ...], signals: Signals, now: float, x: NDArray[np.float32] | None = None
    ) -> tuple[list[float], list[float]]:
        """The mean of each model's deviation in this context, and its standard deviation.

        Args:
            now: seconds since the epoch, UTC.
            x: (WIDTH,), the feature vector; None: there is none.
        """
        if self.empty:
            if x is None:  # NumPy is not needed to say how little is known
                squares = sum(number * number for number in shape_of(signals))
            else:
                phi = context(signals, x)
                squares = float(phi.dot(phi))
            return [0.0] * len(models), [self._numbers.prior_sd * math.sqrt(squares)] * len(models)
        self._begin()
        phi = context(signals, x)
        means, covariances = self._stack(models, now)
        spread = (covariances @ phi).reshape(len(models), CONTEXT_WIDTH) @ phi
        return (means @ phi).tolist(), [math.sqrt(max(one, 0.0)) for one in spread.tolist()]

    def posterior(self, model: str, now: float) -> tuple[Floats, Floats]:
        """The mean (CONTEXT_WIDTH,) and the covariance (CONTEXT_WIDTH, CONTEXT_WIDTH) of a model's weights."""
        import numpy as np

        self._begin()
        sums = self._models.get(model)
        if sums is None:
            return np.zeros(CONTEXT_WIDTH), np.eye(CONTEXT_WIDTH) * self._numbers.prior_sd**2
        if sums.solved is None or abs(now - sums.solved[0]) > FRESH * self._half_life:
            fade = self._fade(self._reference, max(now, self._reference))
            precision = np.eye(CONTEXT_WIDTH) / self._numbers.prior_sd**2 + fade * (
                (sums.precision + sums.precision.T) / 2
            )
            covariance = np.linalg.inv(precision)
            sums.solved = now, covariance @ (fade * sums.shift), (covariance + covariance.T) / 2
        return sums.solved[1], sums.solved[2]

    def _stack(self, models: tuple[str, ...], now: float) -> tuple[Floats, Floats]:
        """Means (models, CONTEXT_WIDTH), and covariances one under the other."""
        import numpy as np

        found = self._stacks.get(models)
        if found is None or found[0] != self.revision or abs(now - found[1]) > FRESH * self._half_life:
            pairs = [self.posterior(model, now) for model in models]
            if len(self._stacks) >= MOST_STACKS:
                self._stacks.clear()
            found = self._stacks[models] = (
                self.revision,
                now,
                np.stack([mean for mean, _ in pairs]),
                np.concatenate([covariance for _, covariance in pairs]),
            )
        return found[2], found[3]

    def _taught(self, one: Observation) -> bool:
        """Whether the state that came with the policy was learned from decisions of this time, and so from this one:
        nothing is learned twice."""
        learned = self._state.get(one.model)
        return learned is not None and one.at <= learned.at

    def _fade(self, at: float, now: float) -> float:
        return math.exp2(-max(now - at, 0.0) / self._half_life)

    def _begin(self) -> None:
        """Read the state that came with the policy, once."""
        if self._read_state:
            return
        self._read_state = True
        for model in self._state:
            self._models[model] = self._from_state(model)

    def _from_state(self, model: str) -> _Sums:
        import numpy as np

        sums = _Sums()
        learned = self._state.get(model)
        if learned is not None:
            fade = self._fade(learned.at, self._reference)
            precision = np.frombuffer(unpack(learned.precision, CONTEXT_WIDTH**2, "state"), dtype=np.float32)
            shift = np.frombuffer(unpack(learned.shift, CONTEXT_WIDTH, "state"), dtype=np.float32)
            sums.precision += fade * precision.reshape(CONTEXT_WIDTH, CONTEXT_WIDTH)
            sums.shift += fade * shift
        return sums

    def _put_in(self, observations: list[Observation], now: float) -> None:
        import numpy as np

        believed = self._expected(observations)
        known = []
        for one, before in zip(observations, believed, strict=True):
            if before is None:
                self._wait(one)
            elif math.isfinite(before) and (one.model in self._models or len(self._models) < MOST_MODELS):
                if one.model not in self._models:
                    self._models[one.model] = _Sums()
                known.append((one, before))
        if not known:
            return
        rows = contexts([one.signals for one, _ in known])
        times = [min(one.at, now) for one, _ in known]
        newest = max(times)
        if newest > self._reference:
            self._move_reference(newest)
        of: dict[str, list[int]] = {}
        for place, (one, before) in enumerate(known):
            self._kept[one.decision_id] = _Kept(one.model, times[place], one.weight, one.success - before, rows[place])
            heapq.heappush(self._oldest, (times[place], one.decision_id))
            of.setdefault(one.model, []).append(place)
        for model, places in of.items():
            kept = [self._kept[known[place][0].decision_id] for place in places]
            weights = np.array([self._weight(one) for one in kept])
            self._add(model, rows[places], weights, np.array([one.gap for one in kept]))

    def _weight(self, kept: _Kept) -> float:
        return kept.weight * self._fade(kept.at, self._reference) / self._numbers.noise_sd**2

    def _add(self, model: str, rows: Floats, weights: Floats, gaps: Floats) -> None:
        sums = self._models[model]
        weighted = rows * weights[:, None]
        sums.precision += rows.T @ weighted
        sums.shift += gaps @ weighted
        sums.solved = None

    def _take_out(self, decisions: Iterable[str]) -> None:
        import numpy as np

        for decision in decisions:
            for several in self.waiting.values():
                several.pop(decision, None)
            kept = self._kept.pop(decision, None)
            if kept is None:
                continue
            sums = self._models[kept.model]
            sums.subtracted += 1
            if sums.subtracted >= RESUM:
                self._sum_anew(kept.model)
            else:
                self._add(kept.model, kept.context[None, :], np.array([-self._weight(kept)]), np.array([kept.gap]))

    def _sum_anew(self, *models: str) -> None:
        import numpy as np

        of: dict[str, list[_Kept]] = {model: [] for model in models}
        for kept in self._kept.values():
            if kept.model in of:
                of[kept.model].append(kept)
        for model, several in of.items():
            self._models[model] = self._from_state(model)
            if several:
                self._add(
                    model,
                    np.stack([one.context for one in several]),
                    np.array([self._weight(one) for one in several]),
                    np.array([one.gap for one in several]),
                )

    def _move_reference(self, to: float) -> None:
        """Let everything fade up to a later time."""
        fade = self._fade(self._reference, to)
        for sums in self._models.values():
            sums.precision *= fade
            sums.shift *= fade
            sums.solved = None
        self._reference = to

    def _turn_back(self, now: float) -> None:
        self._reference = now
        self._kept = {decision: kept._replace(at=min(kept.at, now)) for decision, kept in self._kept.items()}
        self._oldest = [(kept.at, decision) for decision, kept in self._kept.items()]
        heapq.heapify(self._oldest)
        self._sum_anew(*self._models)

    def _bound(self) -> None:
        while len(self._kept) > MOST_KEPT:
            at, decision = heapq.heappop(self._oldest)
            kept = self._kept.get(decision)
            if kept is not None and kept.at == at:
                self._take_out([decision])
        if len(self._oldest) > 2 * MOST_KEPT:  # of replaced ones an entry stays behind
            self._oldest = [(kept.at, decision) for decision, kept in self._kept.items()]
            heapq.heapify(self._oldest)

    def _wait(self, one: Observation) -> None:
        if sum(map(len, self.waiting.values())) < MOST_WAITING:
            self.waiting.setdefault(one.model, {})[one.decision_id] = one
