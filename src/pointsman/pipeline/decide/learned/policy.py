"""The learned policy: what is believed of each arm, what was observed of it, and what it is worth."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Candidate
from pointsman.core.features import decode_one, readable
from pointsman.core.observation import Observation
from pointsman.core.request import Priority
from pointsman.core.signals import Signals
from pointsman.pipeline.decide import floor
from pointsman.pipeline.decide.explore import Allowance
from pointsman.pipeline.decide.policy import RulePolicy
from pointsman.pipeline.decide.predict import Arm, models_of, predict
from pointsman.pipeline.decide.utility import Scales, Weights, weights_with

from . import explore
from .artefact import LearnedArtefact
from .posterior import PosteriorBank
from .success import Success

log = logging.getLogger(__name__)

BUILT_IN_VERSION = "learned@1"


class LearnedPolicy:
    """The arm of the highest utility, with the success that was learned in place of the rules' guess.

        P = P(success) as trained (`success`), times what the model lacks, + its deviation as observed (`posterior`)

    Utilities, ties and the order are those of the rules, and so are their guarantees. With a quality floor the cheapest
    arm within it goes first (`floor`). With nothing trained and nothing observed it ranks as the rules do. Where NumPy
    cannot be loaded the rules rank, and the log says so; they also rank a request on which it fails.

    Args:
        artefact: what was trained.
        rules: whose weights, threshold and default provider hold where the artefact names none; ranks in an emergency.
        card_of: the card of a model now; None: it is not in the catalog.
        clock: seconds since the epoch, UTC: observations fade.
    """

    def __init__(
        self,
        artefact: LearnedArtefact,
        *,
        rules: RulePolicy,
        version: str = BUILT_IN_VERSION,
        card_of: Callable[[str], ModelCard | None] = lambda model: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.artefact = artefact
        self.rules = rules
        self.weights: Mapping[Priority, Weights] = weights_with(artefact.utility, rules.weights)
        threshold = artefact.complexity_threshold
        self.complexity_threshold = rules.complexity_threshold if threshold is None else threshold
        self._scales = Scales(self.weights, self.complexity_threshold)
        self.bank = PosteriorBank(artefact.posterior, expected=self._expected, state=artefact.state)
        self._success = Success(artefact)
        self._version = version
        self._card_of = card_of
        self._clock = clock
        self._failed = self._stumbled = False

    @property
    def version(self) -> str:
        return self.rules.version if self._failed else self._version

    def rank(
        self,
        arms: Sequence[Arm],
        signals: Signals,
        *,
        preferred: frozenset[str] = frozenset(),
        allowance: Allowance | None = None,
    ) -> list[Candidate]:
        if self._failed:
            return self.rules.rank(arms, signals, preferred=preferred)
        try:
            return self._rank(arms, signals, preferred, allowance)
        except ImportError as error:
            log.error("NumPy cannot be loaded (%s), so %s serves in the place of %s.", error, self.rules.version,
                      self._version)  # fmt: skip
            self._failed = True
        except Exception:  # whatever the numbers run into, a request gets its answer
            if not self._stumbled:
                log.exception("%s could not rank a request, so %s did.", self._version, self.rules.version)
            self._stumbled = True
        return self.rules.rank(arms, signals, preferred=preferred)

    def _rank(
        self, arms: Sequence[Arm], signals: Signals, preferred: frozenset[str], allowance: Allowance | None
    ) -> list[Candidate]:
        qualities, deviations = self.predict(arms, signals)
        scale = self._scales.of(signals, preferred)
        least = self.artefact.floor if signals.quality_floor is None else signals.quality_floor
        allowed = None if least is None else floor.within(least, qualities, deviations)
        prices: Sequence[float] = list(map(scale.price, arms))
        utilities, order = scale.order(
            arms, qualities, prices, default_provider=self.rules.default_provider, allowed=allowed
        )
        picked = None
        if len(order) > 1:
            in_order = itemgetter(*order)
            arms, qualities, deviations = in_order(arms), in_order(qualities), in_order(deviations)
            prices, utilities = in_order(prices), in_order(utilities)
        if allowance is not None:
            share = self.artefact.exploration.share
            if share is not None and share < allowance.share:
                allowance = Allowance(share=share, micro_usd=allowance.micro_usd)
            picked = explore.propensities(
                self.artefact.exploration.method,
                arms,
                qualities,
                deviations,
                prices,
                scale=scale,
                may=None if allowed is None else [place in allowed for place in order],
                allowance=allowance,
                seed=self._version,
            )
        return [
            Candidate(
                model=arm.card.id,
                quality=quality,
                uncertainty=deviation,
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
            for arm, quality, deviation, utility, propensity in zip(
                arms,
                qualities,
                deviations,
                utilities,
                picked or [1.0, *[0.0] * (len(arms) - 1)],
                strict=True,
            )
        ]

    def predict(self, arms: Sequence[Arm], signals: Signals) -> tuple[Sequence[float], Sequence[float]]:
        """The predicted success of each arm, in [0, 1], and its standard deviation."""
        now = self._clock()
        models = models_of(arms)
        if self.bank.waiting and not self.bank.waiting.keys().isdisjoint(models):
            self.bank.settle(now)
        x = decode_one(signals.features) if readable(signals.features) else None
        believed = self._success(arms, signals, x)
        means, deviations = self.bank.deviation(models, signals, now, x)
        qualities = believed
        if any(means):
            qualities = [min(max(before + mean, 0.0), 1.0) for before, mean in zip(believed, means, strict=True)]
        if not math.isfinite(sum(qualities) + sum(deviations)):
            for place, arm in enumerate(arms):
                if not math.isfinite(qualities[place] + deviations[place]):
                    qualities[place], deviations[place] = arm.quality, 0.0
        return qualities, deviations

    def _expected(self, observations: Sequence[Observation]) -> list[float | None]:
        """What was believed of the success of each before any was observed."""
        found: list[float | None] = [None] * len(observations)
        places, arms = [], []
        for place, one in enumerate(observations):
            card = self._card_of(one.model)
            if card is not None:
                places.append(place)
                arms += predict([card], one.signals)
        believed = self._success.paired(arms, [observations[place].signals for place in places])
        for place, before in zip(places, believed, strict=True):
            found[place] = before
        return found
