"""A quality floor: which arms are at most so far below the best one, as surely as is asked.

With P and s the predicted success of an arm and its standard deviation, an arm is allowed when

    P_arm − P_best − CONFIDENT × √(s_arm² + s_best²) ≥ −floor

and the best one always is. Each arm's posterior is its own, so the two are taken as independent. Predictions are right
on average, not one by one: so the floor is a promise on the average of the traffic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

CONFIDENT = 1.645
"""Standard deviations: 95 % of a normal distribution lie above this far below its mean."""


def within(floor: float, qualities: Sequence[float], deviations: Sequence[float]) -> frozenset[int]:
    """Places of the arms that keep the floor."""
    best = max(range(len(qualities)), key=qualities.__getitem__)
    spread = deviations[best] ** 2
    return frozenset(
        place
        for place, (quality, deviation) in enumerate(zip(qualities, deviations, strict=True))
        if quality == qualities[best]
        or quality - qualities[best] - CONFIDENT * math.sqrt(deviation**2 + spread) >= -floor
    )
