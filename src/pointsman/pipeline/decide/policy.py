"""Which arm to pull: the protocol, and its first form, a table of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from pointsman.core.decision import Candidate
from pointsman.core.request import Priority
from pointsman.core.signals import Signals, Tier

from .predict import Arm


class Policy(Protocol):
    """Chooses among the models that no constraint excluded."""

    @property
    def version(self) -> str:
        """`name@version`, kept with every decision."""

    def rank(
        self, arms: Sequence[Arm], signals: Signals, *, preferred: frozenset[str] = frozenset()
    ) -> list[Candidate]:
        """The arms, the one picked first, then the order in which others should stand in.

        `preferred` are ids of models that the caller hinted at. Propensities are the probabilities with which this
        policy picks each first; they sum to 1. `arms` is never empty.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What each good is worth, in probability of success."""

    cost: float
    """Per US dollar."""
    latency: float
    """Per second until the end of the answer."""
    remote: float = 0.0
    """For sending a prompt off the machine at all."""
    enough: float = 1.0
    """Predicted success beyond which more is worth nothing: the cheapest model that will do the job gets it. Not above
    the complexity threshold, where every bit counts."""
    hard: float = 3.0
    """Above the complexity threshold: per unit of success short of the best candidate's. High enough that a hard
    request with a long prompt, which costs more everywhere, does not go to a weak model for that."""


WEIGHTS: Mapping[Priority, Weights] = MappingProxyType(
    {
        "balanced": Weights(cost=30.0, latency=0.004, remote=0.02, enough=0.8, hard=6.0),
        "speed": Weights(cost=10.0, latency=0.03, hard=1.0, enough=0.8),
        "quality": Weights(cost=1.0, latency=0.0005),
        "privacy": Weights(cost=30.0, latency=0.002, remote=10.0, enough=0.8),
        "cost": Weights(cost=1_000.0, latency=0.001, hard=2.0, enough=0.65),
    }
)
"""`balanced` says that a good answer is worth about three cents or four minutes; `cost`, a tenth of a cent."""

TIER_COST: Mapping[Tier, float] = MappingProxyType({"high": 1.0, "medium": 4.0, "low": 16.0})
"""What the cost weight is multiplied with as the monthly budget runs out."""
ABLE = 0.5
"""Share of the best candidate's predicted success that a local model must have to go first with a demanding request
when the tier is low."""

BUILT_IN_VERSION = "rules@2"

HINT_BONUS = 0.15
"""What a hinted model gets: it wins unless another is clearly better."""


class RulePolicy:
    """The arm of the highest utility, always.

        utility = min(P(success), enough) − cost weight × tier factor × dollars − latency weight × seconds
                  − remote weight, if it leaves the machine
                  − hard weight × (best P − P), above the complexity threshold
                  + HINT_BONUS, for a model that the caller hinted at

    Exactly equal utilities are told apart by the default provider, then the lower cost, then the lower price, then the
    id, so that the order of the catalog never matters. When little of the monthly budget is left (tier low) local
    models go before all others, whatever their utility; with a demanding request only those that are at least half as
    likely to do it as the best. Raising the cost weight alone, or a lower tier, never raises the cost of the
    choice, and an arm that is worse in every respect never changes it.
    """

    def __init__(
        self,
        *,
        complexity_threshold: float = 0.65,
        default_provider: str | None = None,
        weights: Mapping[Priority, Weights] = WEIGHTS,
        version: str = BUILT_IN_VERSION,
    ) -> None:
        self.complexity_threshold = complexity_threshold
        self.default_provider = default_provider
        self.weights = weights
        self._version = version

    @property
    def version(self) -> str:
        return self._version

    def rank(
        self, arms: Sequence[Arm], signals: Signals, *, preferred: frozenset[str] = frozenset()
    ) -> list[Candidate]:
        weights = self.weights[signals.priority]
        per_micro_usd = weights.cost * TIER_COST[signals.budget_tier] / 1_000_000
        frugal = signals.budget_tier == "low"
        demanding = signals.complexity.score > self.complexity_threshold
        hard = weights.hard if demanding else 0.0
        enough = 1.0 if demanding else weights.enough
        best = max(arm.quality for arm in arms)
        keyed = []
        for arm in arms:
            card, quality = arm.card, arm.quality
            utility = (
                min(quality, enough) - per_micro_usd * arm.weighed_micro_usd - weights.latency * arm.latency_seconds
            )
            if hard:
                utility -= hard * (best - quality)
            if weights.remote and not card.local:
                utility -= weights.remote
            if card.id in preferred:
                utility += HINT_BONUS
            price = (card.price_input or 0) + (card.price_output or 0)
            other = card.provider != self.default_provider
            able = not demanding or quality >= ABLE * best
            behind = frugal and not (card.local and not arm.weighed_micro_usd and able)
            keyed.append((behind, -utility, other, arm.weighed_micro_usd, price, card.id, arm))
        keyed.sort()
        picked = 1.0
        ranked = []
        for _, minus, _, _, _, model, arm in keyed:
            ranked.append(
                Candidate(
                    model=model,
                    quality=arm.quality,
                    cost_micro_usd=arm.cost_micro_usd,
                    latency_seconds=arm.latency_seconds,
                    utility=-minus,
                    propensity=picked,
                )
            )
            picked = 0.0
        return ranked
