"""What a policy is trained on: requests, the arms that each could have gone to, and what each would have been worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pointsman.core.decision import Candidate
from pointsman.core.signals import Signals
from pointsman.pipeline.decide.network import ARM_FEATURES, label, read_arm, read_inputs

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """`n` requests and `m` arms."""

    models: tuple[str, ...]
    """Labels of the arms."""
    inputs: Floats
    """(n, INPUTS), as `read_inputs` gives them."""
    arms: Floats
    """(n, m, ARM_FEATURES); zeros where an arm was not there."""
    utilities: Floats
    """(n, m): of the policy that is improved on, in probability of success; −inf where an arm was not there."""
    rewards: Floats
    """(n, m), in probability of success; 0 where an arm was not there."""
    weights: Floats
    """(n,): how far the rewards of a request are to be believed."""

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def there(self) -> NDArray[np.bool_]:
        """(n, m): which arms a request could have gone to."""
        return np.isfinite(self.utilities)

    def rows(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Problem:
        """These requests, in this order."""
        return replace(
            self,
            inputs=self.inputs[index],
            arms=self.arms[index],
            utilities=self.utilities[index],
            rewards=self.rewards[index],
            weights=self.weights[index],
        )


def pose(
    asked: Sequence[tuple[Signals, Sequence[Candidate]]],
    rewards: Floats,
    *,
    models: Sequence[str],
    weights: Floats | None = None,
) -> Problem:
    """The problem of these requests with these candidates.

    Args:
        rewards: (requests, models); what stands there for an arm that was no candidate is not read.
        weights: (requests,); None: all count alike.
    """
    place = {model: column for column, model in enumerate(models)}
    n, m = len(asked), len(models)
    arms = np.zeros((n, m, ARM_FEATURES))
    utilities = np.full((n, m), -np.inf)
    for row, (_, candidates) in enumerate(asked):
        for candidate in candidates:
            column = place.get(label(candidate))
            if column is not None:
                arms[row, column] = read_arm(candidate)
                utilities[row, column] = candidate.utility
    return Problem(
        models=tuple(models),
        inputs=np.array([read_inputs(signals) for signals, _ in asked]),
        arms=arms,
        utilities=utilities,
        rewards=np.where(np.isfinite(utilities), rewards, 0.0),
        weights=np.ones(n) if weights is None else weights,
    )
