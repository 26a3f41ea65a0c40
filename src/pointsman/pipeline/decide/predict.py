"""What to expect of a model for one request: success, cost and time, each on its own.

Success follows the one-parameter item response model of Rasch (1960): with q the model's prior for the intent and c
the request's complexity,

    logit P = logit q − SLOPE × (c − TYPICAL)

so that P = q for a request of typical complexity, falls as complexity rises, and falls furthest (in odds, equally for
all; in probability, most for those near one half) for models whose prior is not high. It is multiplied by the share
of the interval between the prompt's token bounds that the window can hold, which is 1 for all but the tightest.

Priors and both constants are judgement until learning replaces them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import attrgetter

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.signals import Needs, Signals

from .constraints import MIN_OUTPUT
from .pace import UNKNOWN, Paces, band
from .speed import latency

SLOPE = 5.0
TYPICAL = 0.3
"""The complexity of an everyday request."""

SIMULATED_TOOLS = 0.7
"""Share of a model's success that is left where tools are called by prompt: the answer keeps its form, for the decoding
is held to it, but the model was never trained to choose a tool. Judgement, until measured."""

ASSUMED_PRICES = (5_000_000, 25_000_000)
"""Micro-dollars per million tokens in and out that a remote model of unknown price is weighed with: those of a dear
model, because unknown is never free."""


UNMEASURED = Paces()


class Arm(msgspec.Struct, frozen=True, gc=False):
    """A model with what is predicted of it."""

    card: ModelCard
    quality: float
    """Predicted probability of success, in [0, 1]."""
    cost_micro_usd: int | None
    """Expected cost; None when the price is unknown."""
    weighed_micro_usd: int
    """The cost that utility is reckoned with: the expected one, or one at assumed prices."""
    latency_seconds: float
    """Expected time to the end of the answer."""
    prior: float
    """The catalog's word on how often the model does what is wanted, at a typical complexity."""
    ability: float
    """What `quality` was multiplied with because the model may lack room or tool calls, in [0, 1]."""
    effort: str | None = None
    """The reasoning effort that the model is asked for; None: as the request says, or its own."""
    output_tokens: int = 0
    """Expected tokens of the answer."""
    cost_high_micro_usd: int | None = None
    """What it costs at most in nine cases of ten, as far as the answer's length decides; None when the price is
    unknown."""
    latency_high_seconds: float = 0.0
    """How long it takes at most in nine cases of ten."""
    switching_cost: float = 0.0
    """What leaving the model in use for this arm costs, in probability of success."""
    queue_seconds: float = 0.0
    """Of the latency, the expected wait for a slot of its engine."""


def success(prior: float, complexity: float) -> float:
    """The probability that a model of this prior does a request of this complexity, both in [0, 1].

    Never falls when the prior rises and never rises with complexity.
    """
    return _with_odds(prior, _ease(complexity))


def fit(card: ModelCard, needs: Needs) -> float:
    """How surely the prompt fits the window: 1 when its upper bound does, 0 when its lower bound does not."""
    if card.context_window is None:
        return 1.0
    room = card.context_window - (MIN_OUTPUT if needs.max_output is None else min(MIN_OUTPUT, needs.max_output))
    if needs.prompt_tokens_high <= room:
        return 1.0
    if needs.prompt_tokens_low >= room:
        return 0.0
    return (room - needs.prompt_tokens_low) / (needs.prompt_tokens_high - needs.prompt_tokens_low)


def predict(cards: Iterable[ModelCard], signals: Signals, paces: Paces | None = None) -> list[Arm]:
    """An arm for each model, in the order given.

    Args:
        paces: what was measured of them; None: the priors alone.
    """
    paces = paces or UNMEASURED
    lengths, times = paces.lengths.get, paces.times.get
    needs = signals.needs
    intent = signals.intent
    complexity = signals.complexity.score
    ease, hardness = _ease(complexity), band(complexity)
    prompt, choices, most, usual = needs.prompt_tokens, needs.choices, needs.max_output, needs.expected_output
    room = needs.prompt_tokens_high + MIN_OUTPUT
    arms = []
    cost: int | None
    dearest: int | None
    for card in cards:
        model = card.id
        length, time = lengths((model, None, intent), UNKNOWN), times((model, hardness), UNKNOWN)
        expected, high = usual * length.expected, usual * length.high
        if most is not None:
            if expected > most:
                expected = most
            if high > most:
                high = most
        output = round(expected)
        prices = card.prices_at(prompt)
        price_input, price_output = prices or ASSUMED_PRICES
        read = prompt * price_input
        cost = weighed = -(-(read + output * choices * price_output) // 1_000_000)
        dearest = -(-(read + round(high) * choices * price_output) // 1_000_000)
        if prices is None:
            cost = dearest = None
            weighed = 0 if card.local else weighed
        seconds = latency(card, prompt, output)
        prior = card.qualities.get(intent, card.quality)
        window = card.context_window
        ability = 1.0 if window is None or room <= window else fit(card, needs)
        if needs.tools and "tools" in card.simulated:
            ability *= SIMULATED_TOOLS
        arms.append(
            Arm(
                card,
                _with_odds(prior, ease) * ability,
                cost,
                weighed,
                seconds * time.expected,
                prior,
                ability,
                None,
                output,
                dearest,
                seconds * time.high,
            )
        )
    return arms


_model_of = attrgetter("card.id")


def models_of(arms: Iterable[Arm]) -> tuple[str, ...]:
    """Ids of the arms' models."""
    return tuple(map(_model_of, arms))


def _ease(complexity: float) -> float:
    return math.exp(-SLOPE * (complexity - TYPICAL))


def _with_odds(prior: float, ease: float) -> float:
    if not 0.0 <= prior <= 1.0:
        prior = min(max(prior, 0.0), 1.0)
    odds = prior * ease
    failing = 1.0 - prior
    return odds / (odds + failing)
