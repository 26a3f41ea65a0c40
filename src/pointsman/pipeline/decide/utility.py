"""What each good is worth for one request, in probability of success, and the order that follows.

utility = min(P(success), enough) − hard weight × (best P − P), above the complexity threshold
          − cost weight × tier factor × dollars − latency weight × seconds
          − remote weight, if it leaves the machine − what leaving the model in use costs
          + HINT_BONUS, for a model that the caller hinted at
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType

import msgspec

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import Priority
from pointsman.core.signals import Signals, Tier

from .predict import Arm


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

HINT_BONUS = 0.15
"""What a hinted model gets: it wins unless another is clearly better."""


MOST_WEIGHT = 1e12
"""Far from where a utility would no longer be a number."""


def weights_with(
    given: Mapping[Priority, Mapping[str, float]], base: Mapping[Priority, Weights] = WEIGHTS
) -> dict[Priority, Weights]:
    """The weights of every priority, with those that are given in place of the base's.

    Raises:
        InvalidRequest: one has no such name, or is no number of at least 0.
    """
    weights: dict[Priority, Weights] = dict(base)
    for priority, numbers in given.items():
        weights[priority] = _weights(priority, numbers, weights[priority])
    return weights


def _weights(priority: str, given: Mapping[str, float], base: Weights) -> Weights:
    known = {field.name for field in fields(Weights)}
    for name, value in given.items():
        if name not in known:
            raise InvalidRequest(f"weights.{priority} has no {name!r}; it has {', '.join(sorted(known))}.")
        if not 0 <= value <= MOST_WEIGHT:
            raise InvalidRequest(f"weights.{priority}.{name} is {value}: it must be between 0 and {MOST_WEIGHT:g}.")
    return Weights(**{**asdict(base), **given})


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """The weights as they hold for one request."""

    per_micro_usd: float
    latency: float
    remote: float
    hard: float
    enough: float
    demanding: bool
    frugal: bool
    """Whether so little of the budget is left that local models go first."""
    preferred: Collection[str]

    def price(self, arm: Arm) -> float:
        """What an arm costs in every respect but success, in probability of success."""
        price = self.per_micro_usd * arm.weighed_micro_usd + self.latency * arm.latency_seconds + arm.switching_cost
        if self.remote and not arm.card.local:
            price += self.remote
        if self.preferred and arm.card.id in self.preferred:
            price -= HINT_BONUS
        return price

    def alone(self, arm: Arm, quality: float) -> float:
        """The utility of an arm beside which there is no other."""
        return (quality if quality < self.enough else self.enough) - self.price(arm)

    def order(
        self,
        arms: Sequence[Arm],
        qualities: Sequence[float],
        prices: Sequence[float],
        *,
        default_provider: str | None,
        allowed: Collection[int] | None = None,
    ) -> tuple[Sequence[float], Sequence[int]]:
        """The utility of each arm, and the places of the arms, the one to pick first.

        Exactly equal utilities are told apart by the default provider, then the lower cost, then the lower price, then
        the id, then the effort, so that the order in which arms come never matters. When little of the budget is left
        local models go before all others; with a demanding request only those that are able.

        Args:
            qualities: the predicted success of each arm.
            prices: the `price` of each arm.
            allowed: places of the arms that keep a quality floor: they go first, the cheapest of them before the
                others. None: there is no floor.
        """
        enough, hard, best = self.enough, self.hard, max(qualities)
        utilities = [
            (quality if quality < enough else enough) - hard * (best - quality) - price
            for quality, price in zip(qualities, prices, strict=True)
        ]
        if allowed is None and not self.frugal and len(set(utilities)) == len(arms):  # utility alone decides
            return utilities, sorted(range(len(arms)), key=utilities.__getitem__, reverse=True)
        keyed = []
        for place, arm in enumerate(arms):
            card, cost, quality = arm.card, arm.weighed_micro_usd, qualities[place]
            outside = allowed is not None and place not in allowed
            first = cost if allowed is not None and not outside else 0
            able = not self.demanding or quality >= ABLE * best
            behind = self.frugal and not (card.local and not cost and able)
            other = card.provider != default_provider
            price = (card.price_input or 0) + (card.price_output or 0)
            keyed.append(
                (outside, behind, first, -utilities[place], other, cost, price, card.id, arm.effort or "", place)
            )
        keyed.sort()
        return utilities, [key[-1] for key in keyed]


class Scales:
    """The scale of every kind of request, worked out once.

    Args:
        threshold: complexity above which strength counts for more.
    """

    def __init__(self, weights: Mapping[Priority, Weights], threshold: float) -> None:
        self._weights = weights
        self._threshold = threshold
        self._scales = {
            (priority, tier, demanding): self._scale(priority, tier, demanding)
            for priority in weights
            for tier in TIER_COST
            for demanding in (False, True)
        }

    def of(self, signals: Signals, preferred: Collection[str] = ()) -> Scale:
        """
        Args:
            preferred: ids of models that the caller hinted at.
        """
        scale = self._scales[signals.priority, signals.budget_tier, signals.complexity.score > self._threshold]
        return msgspec.structs.replace(scale, preferred=preferred) if preferred else scale

    def _scale(self, priority: Priority, tier: Tier, demanding: bool) -> Scale:
        mine = self._weights[priority]
        return Scale(
            per_micro_usd=mine.cost * TIER_COST[tier] / 1_000_000,
            latency=mine.latency,
            remote=mine.remote,
            hard=mine.hard if demanding else 0.0,
            enough=1.0 if demanding else mine.enough,
            demanding=demanding,
            frugal=tier == "low",
            preferred=(),
        )
