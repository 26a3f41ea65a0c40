"""Whether the intervals hold: logged bandit data is cut from tables in which every arm's outcome is known, so that what
another policy would have earned is known too.

A seed draws requests from the table with replacement, lets a policy with known propensities pull one arm for each, and
forgets the outcomes of all others. An interval of the level 95 % should hold the true value in 95 of 100 seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from pointsman.core.features import EMBEDDED, decode
from pointsman.learn.table import Table

from .bandit import Bandit, Floats
from .estimate import ESTIMATORS, INTERVALS, Estimator, Evaluator, Interval

ARMS = 4
DRAWS = 2000
"""Decisions in a log."""
MOST_PROMPTS = 2000
EXPLORING = 0.2
"""What the logging policy spreads over all arms alike."""
SHARPNESS = 2.0


@dataclass(frozen=True, kw_only=True)
class Known:
    """A table with two policies over it. `n` requests, `k` arms."""

    name: str
    rewards: Floats
    """(n, k), in [0, 1]."""
    expected: Floats
    """(n, k): what was believed of the arms beforehand."""
    contexts: Floats
    """(n, d)."""
    logging: Floats
    """(n, k)."""
    target: Floats
    """(n, k)."""
    draws: int = DRAWS

    @property
    def truth(self) -> float:
        """What the target policy earns a request."""
        return float((self.target * self.rewards).sum(axis=1).mean())


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What one estimator said in one seed."""

    estimator: Estimator
    interval: Interval
    error: float
    """The estimate less the truth."""
    held: bool
    """Whether the interval held the truth."""
    width: float
    effective: float


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """How one estimator fared on one table."""

    table: str
    estimator: Estimator
    interval: Interval
    seeds: int
    coverage: float
    bias: float
    deviation: float
    """Of the estimates over the seeds."""
    width: float
    """Of the intervals, on average."""
    effective: float
    truth: float


def one_seed(known: Known, seed: int) -> list[Cell]:
    """Every estimator and interval on one log. Pure: the same seed gives the same cells, anywhere."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(known.rewards), known.draws)
    logging = known.logging[rows]
    actions = np.argmax(logging.cumsum(axis=1) > rng.random((known.draws, 1)), axis=1)
    log = Bandit(
        arms=tuple(map(str, range(logging.shape[1]))),
        actions=actions,
        rewards=known.rewards[rows, actions],
        logging=logging,
        expected=known.expected[rows],
        contexts=known.contexts[rows],
    )
    evaluator, target, truth = Evaluator(log, rng), known.target[rows], known.truth
    cells = []
    for estimator in ESTIMATORS:
        for interval in INTERVALS:
            told = evaluator.value(target, estimator=estimator, interval=interval)
            assert told.value is not None
            low, high = told.low, told.high
            cells.append(
                Cell(
                    estimator=estimator,
                    interval=interval,
                    error=told.value - truth,
                    held=(low is None or low <= truth) and (high is None or truth <= high),
                    width=float("inf") if low is None or high is None else high - low,
                    effective=told.effective,
                )
            )
    return cells


class Draws(NamedTuple):
    """Logs to draw from one table."""

    known: Known
    seeds: tuple[int, ...]


def drawn(draws: Draws) -> list[list[Cell]]:
    """`one_seed` of each."""
    return [one_seed(draws.known, seed) for seed in draws.seeds]


def summed(known: Known, seeds: Iterable[Sequence[Cell]]) -> Iterator[Coverage]:
    """A line for each estimator and interval, over the seeds of one table."""
    by_kind: dict[tuple[Estimator, Interval], list[Cell]] = {}
    for cells in seeds:
        for cell in cells:
            by_kind.setdefault((cell.estimator, cell.interval), []).append(cell)
    for (estimator, interval), cells in by_kind.items():
        errors = np.array([cell.error for cell in cells])
        yield Coverage(
            table=known.name,
            estimator=estimator,
            interval=interval,
            seeds=len(cells),
            coverage=sum(cell.held for cell in cells) / len(cells),
            bias=float(errors.mean()),
            deviation=float(errors.std()),
            width=sum(cell.width for cell in cells) / len(cells),
            effective=sum(cell.effective for cell in cells) / len(cells),
            truth=known.truth,
        )


def posed(table: Table, contexts: Floats, rng: np.random.Generator) -> list[Known]:
    """Two questions of a table: what its strongest arm alone would have earned, and what a policy that looks at the
    request would.

    Args:
        table: whole, without missing scores.
        contexts: (n, d), of which the first column is 1.
    """
    order = np.argsort(table.scores.mean(axis=0), kind="stable")
    places = np.unique(np.linspace(0, len(order) - 1, min(ARMS, len(order))).round().astype(int))
    rewards = table.scores[:, order[places]]
    n, k = rewards.shape
    expected = np.tile(np.linspace(0.4, 0.8, k), (n, 1))  # as a catalog knows it: the order, hardly the level
    tendencies = [SHARPNESS * contexts @ rng.normal(size=(contexts.shape[1], k)) for _ in range(2)]
    logging = (1 - EXPLORING) * _softmax(tendencies[0]) + EXPLORING / k
    targets = {"the strongest": np.tile(np.eye(k)[-1], (n, 1)), "by request": _softmax(tendencies[1])}
    return [
        Known(
            name=f"{table.name}, {name}",
            rewards=rewards,
            expected=expected,
            contexts=contexts,
            logging=logging,
            target=target,
        )
        for name, target in targets.items()
    ]


def whole(table: Table, rng: np.random.Generator) -> Table:
    """The part of a table that has no gaps: models that most prompts have, then the prompts that have all of these."""
    present = np.isfinite(table.scores).mean(axis=0)
    table = table.of(
        [model for model, share in zip(table.models, present, strict=True) if share >= present.max() - 0.02]
    )
    table = table.rows(table.complete)
    return table if len(table) <= MOST_PROMPTS else table.rows(np.sort(rng.permutation(len(table))[:MOST_PROMPTS]))


def prompt_contexts(features: Sequence[bytes], width: int = 16) -> Floats:
    """(n, width + 1): one, then the embeddings on the axes along which they differ most, scaled to a variance of
    1/4."""
    vectors = decode(features)[:, :EMBEDDED].astype(np.float64)
    vectors -= vectors.mean(axis=0)
    _, sizes, axes = np.linalg.svd(vectors, full_matrices=False)
    kept = int(min(width, (sizes > 1e-9).sum()))
    turned = vectors @ axes[:kept].T
    return np.hstack([np.ones((len(turned), 1)), turned / (2 * turned.std(axis=0))])


def _softmax(values: Floats) -> Floats:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Floats = raised / raised.sum(axis=1, keepdims=True)
    return shares
