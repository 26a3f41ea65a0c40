"""Which arm to pull: the protocol, and its first form, a table of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pointsman.core.decision import Candidate
from pointsman.core.request import Priority
from pointsman.core.signals import Signals

from .explore import Allowance
from .floor import within
from .predict import Arm
from .utility import WEIGHTS, Scales, Weights


class Policy(Protocol):
    """Chooses among the models that no constraint excluded."""

    @property
    def version(self) -> str:
        """`name@version`, kept with every decision."""

    def rank(
        self,
        arms: Sequence[Arm],
        signals: Signals,
        *,
        preferred: frozenset[str] = frozenset(),
        allowance: Allowance | None = None,
    ) -> list[Candidate]:
        """The arms, the one that is thought best first, then the order in which others should stand in.

        `preferred` are ids of models that the caller hinted at. Propensities are the probabilities with which each is
        to be picked; they sum to 1. Without an allowance, or where a policy does not explore, the first has 1; with
        one, whoever asked draws. The answer depends on nothing but what is given and what the policy has learned.
        `arms` is never empty.
        """


def rules_of(policy: Policy) -> Policy:
    """The rules that a policy falls back to, or itself. They tell what to expect of a model that a request names: there
    is nothing to choose, so nothing is asked of what was learned."""
    rules: Policy = getattr(policy, "rules", policy)
    return rules


BUILT_IN_VERSION = "rules@2"


class RulePolicy:
    """The arm of the highest utility, always; `utility` has the formula and the order. A quality floor is taken by the
    predictions alone, for these rules know nothing of how sure they are.

    Raising the cost weight alone, or a lower tier, never raises the cost of the choice, and an arm that is worse in
    every respect never changes it.
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
        self._scales = Scales(weights, complexity_threshold)

    @property
    def version(self) -> str:
        return self._version

    def rank(
        self,
        arms: Sequence[Arm],
        signals: Signals,
        *,
        preferred: frozenset[str] = frozenset(),
        allowance: Allowance | None = None,
    ) -> list[Candidate]:
        scale = self._scales.of(signals, preferred)
        if len(arms) == 1:
            arm = arms[0]
            return [candidate_of(arm, utility=scale.alone(arm, arm.quality), propensity=1.0)]
        qualities = [arm.quality for arm in arms]
        least = signals.quality_floor
        allowed = None if least is None else within(least, qualities, [0.0] * len(arms))
        prices = list(map(scale.price, arms))
        utilities, order = scale.order(arms, qualities, prices, default_provider=self.default_provider, allowed=allowed)
        return [
            candidate_of(arms[place], utility=utilities[place], propensity=0.0 if behind else 1.0)
            for behind, place in enumerate(order)
        ]


def candidate_of(arm: Arm, *, utility: float, propensity: float) -> Candidate:
    """An arm as the rules rank it."""
    return Candidate(
        model=arm.card.id,
        quality=arm.quality,
        cost_micro_usd=arm.cost_micro_usd,
        latency_seconds=arm.latency_seconds,
        cost_high_micro_usd=arm.cost_high_micro_usd,
        latency_high_seconds=arm.latency_high_seconds,
        utility=utility,
        effort=arm.effort,
        switching_cost=arm.switching_cost,
        queue_seconds=arm.queue_seconds,
        propensity=propensity,
    )
