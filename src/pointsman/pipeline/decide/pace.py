"""How long models really take and how much they really write: running measurements that correct the catalog's priors.

Both are kept as logarithms of a ratio, measured over predicted, because times and lengths spread in proportion to
themselves. A running mean and variance stand for a log-normal distribution, so that the expected value and a quantile
are known before the call. They begin at the prior with the weight of a few answers, and forget exponentially.

Of this process alone: every replica measures what it sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import copysign, exp, log, sqrt
from typing import TypeVar

from pointsman.core.catalog import Catalog
from pointsman.core.decision import Decision
from pointsman.core.outcome import Outcome

from .speed import latency

PRIOR_WEIGHT = 12.0
"""Answers that the prior counts for."""
MEMORY = 200.0
"""Answers that the measurements count for at most: what happened so long ago weighs a third of what happens now."""
PRIOR_SPREAD = 0.6
"""Standard deviation of the logarithm before anything is measured: two thirds lie within a factor of 1.8."""
FURTHEST = 3.0
"""Bounds of one measured logarithm, a factor of 20: a machine that slept has measured nothing."""
NINE_IN_TEN = 1.2816
"""The standard normal distribution's 90 % quantile."""
MOST_KEYS = 5_000


PRIOR_MEAN, PRIOR_VARIANCE = -(PRIOR_SPREAD**2) / 2, PRIOR_SPREAD**2
"""At first such that the expected ratio is 1."""


@dataclass(slots=True)
class Running:
    """Mean and variance of the logarithms of ratios, the older forgotten (West 1979, with a bounded weight)."""

    weight: float = PRIOR_WEIGHT
    mean: float = PRIOR_MEAN
    variance: float = PRIOR_VARIANCE
    expected: float = 1.0
    """The expected ratio."""
    high: float = exp(PRIOR_MEAN + NINE_IN_TEN * sqrt(PRIOR_VARIANCE))
    """In nine cases of ten the ratio is not more."""

    def observe(self, ratio: float) -> None:
        """Take up one ratio, above 0."""
        value = log(ratio)
        if not abs(value) <= FURTHEST:
            value = copysign(FURTHEST, value)
        weight, mean = self.weight, self.mean
        if weight < MEMORY:
            self.weight = weight = weight + 1.0
        share = 1.0 / weight
        gap = value - mean
        step = share * gap
        self.mean = mean = mean + step
        self.variance = variance = (1.0 - share) * (self.variance + step * gap)
        # Of a log-normal distribution; here and not where it is asked for, which is far more often.
        self.expected = exp(mean + variance / 2)
        self.high = exp(mean + NINE_IN_TEN * sqrt(variance))


def band(complexity: float) -> str:
    """Of a request's complexity."""
    return "easy" if complexity < 0.3 else "middling" if complexity < 0.65 else "hard"


class Paces:
    """What is measured of models: the length of answers by intent, the time they take by band of complexity."""

    def __init__(self) -> None:
        self.lengths: dict[tuple[str, str | None, str], Running] = {}
        """By model, effort and intent: tokens of an answer, over those that are expected of any model."""
        self.times: dict[tuple[str, str], Running] = {}
        """By model and `band`: seconds to the end of an answer, over those of the model's card."""

    def told(self, decision: Decision, outcome: Outcome, catalog: Catalog) -> None:
        """Take up how a decision ended; only whole answers to chats that are not bounded say something."""
        signals = decision.signals
        needs = signals.needs
        attempts = outcome.attempts
        if outcome.status != "ok" or not attempts or needs.kind != "chat":
            return
        last = attempts[-1]
        model, written, seconds = last.model, last.completion_tokens, last.asked_seconds
        card = catalog.get(model)
        if card is None or not written or written < 0 or seconds <= 0 or last.estimated:
            return
        predicted_output = needs.expected_output
        if outcome.finish_reason != "length" and predicted_output > 0:
            key = model, decision.effort if model == decision.model else None, signals.intent
            length = self.lengths.get(key) or _begun(self.lengths, key)
            length.observe(written / (predicted_output * needs.choices))
        prompt = (last.prompt_tokens or needs.prompt_tokens) - (last.cached_tokens or 0)
        predicted = latency(card, prompt if prompt > 0 else 0, written)
        if predicted > 0:
            at = model, band(signals.complexity.score)
            time = self.times.get(at) or _begun(self.times, at)
            time.observe(seconds / predicted)


UNKNOWN = Running()
"""Of what was not measured."""
K = TypeVar("K")


def _begun(measured: dict[K, Running], key: K) -> Running:
    running = Running()
    if len(measured) < MOST_KEYS:
        measured[key] = running
    return running
