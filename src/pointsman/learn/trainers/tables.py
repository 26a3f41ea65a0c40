"""Full-information tables as problems: requests whose every arm is known to have been worth something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pointsman.core.decision import Candidate
from pointsman.core.features import EMBEDDED, STRUCTURE
from pointsman.core.reward import RewardWeights
from pointsman.core.signals import Complexity, Conversation, Needs, Privacy, Signals
from pointsman.learn.table import Table

from .problem import Floats, Problem, pose

SECONDS = 5.0
"""Taken for every answer: tables do not tell how long answers took."""
BYTES_A_TOKEN = 4


def signals_of(prompt: str, features: bytes) -> Signals:
    """What the gateway would have understood of a prompt, as far as its feature vector tells."""
    score = features[1 + EMBEDDED + STRUCTURE.index("complexity")] / 127
    return Signals(
        complexity=Complexity(score=score, length=0.0, terms=0.0, structure=0.0),
        privacy=Privacy(),
        needs=Needs(prompt_tokens=max(1, len(prompt) // BYTES_A_TOKEN)),
        conversation=Conversation(),
        features=features,
    )


def table_candidates(table: Table, weights: RewardWeights) -> list[Candidate]:
    """The table's models as arms of any of its prompts: expected success and cost are the model's means, for a prompt's
    own are not known before it is answered."""
    known = costed(table)
    costs = mean_costs(table)
    return [
        Candidate(
            model=model,
            quality=float(table.scores[:, column].mean()),
            cost_micro_usd=round(float(costs[column]) * 1e6) if known[column] else None,
            latency_seconds=SECONDS,
            utility=float(table.scores[:, column].mean() - weights.cost_factor * costs[column]),
        )
        for column, model in enumerate(table.models)
    ]


def pose_table(table: Table, read: Callable[[str], bytes], *, weights: RewardWeights) -> Problem:
    """The problem of the prompts that every model answered. An arm's reward is what it did, less what that cost.

    Args:
        read: a prompt to its feature vector.
        weights: what success may cost.
    """
    table = table.rows(table.complete)
    candidates = table_candidates(table, weights)
    paid = np.where(np.isnan(table.costs), mean_costs(table)[None, :], table.costs)
    asked = [(signals_of(prompt, read(prompt)), candidates) for prompt in table.prompts]
    return pose(asked, table.scores - weights.cost_factor * paid, models=table.models)


def costed(table: Table) -> NDArray[np.bool_]:
    """(m,): of which models any cost is known."""
    return np.array([bool(np.isfinite(column).any()) for column in table.costs.T])


def mean_costs(table: Table) -> Floats:
    """(m,): US dollars a prompt; 0 where none is known."""
    known = costed(table)
    costs = np.zeros(len(table.models))
    costs[known] = np.nanmean(table.costs[:, known], axis=0)
    return costs
