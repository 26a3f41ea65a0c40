"""What this process has done since its start, counted in memory for Prometheus: a few dictionary entries a request."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

from pointsman.core.outcome import Outcome

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of the buckets of whole answers."""
QUEUE_SECONDS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
FIRST_BYTE_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

Tokens = tuple[str, str]
"""A model's id, and `prompt`, `completion` or `cached` (which is a part of `prompt`)."""


class Histogram:
    """Counts by bucket; the last one has no bound."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Tally:
    """Every mapping's first key is the id of the model that answered, or was asked last; '' where none was."""

    def __init__(self) -> None:
        self.active = 0
        """Requests whose answers are under way."""
        self.requests: Counter[tuple[str, str]] = Counter()
        """By model and status."""
        self.seconds: dict[str, Histogram] = {}
        """Of answers that ended well."""
        self.first_byte: dict[str, Histogram] = {}
        """Of streamed ones."""
        self.queued: dict[str, Histogram] = {}
        """Of every attempt before whose engine there is a queue, by its model; of those that were refused as well."""
        self.tokens: Counter[Tokens] = Counter()
        self.cost_micro_usd: Counter[str] = Counter()
        self.policy_rollbacks = 0
        """Policies on trial that this process rolled back, because they did worse than what they replaced."""
        self.unusable_policies: Mapping[str, str] = {}
        """Versions that should serve, or are on trial, and cannot be loaded, with the reason."""
        self.shadow_choices = 0
        """Decisions that policies in the shadow were asked about."""
        self.shadow_errors = 0
        """Times that one could not say."""

        self.intents: Counter[str] = Counter()
        """What became of the messages that a language model was to tell the intent of."""

    def told_unusable(self, policies: Mapping[str, str]) -> None:
        self.unusable_policies = policies

    def asked_intent(self, result: str) -> None:
        self.intents[result] += 1

    def begin(self) -> None:
        self.active += 1

    def end(self, outcome: Outcome, *, stream: bool) -> None:
        """A request that had begun is over."""
        self.active -= 1
        model = outcome.model or ""
        self.requests[model, outcome.status] += 1
        if outcome.status == "ok":
            _of(self.seconds, model, SECONDS).observe(outcome.seconds)
            if stream and outcome.first_byte_seconds is not None:
                _of(self.first_byte, model, FIRST_BYTE_SECONDS).observe(outcome.first_byte_seconds)
        for attempt in outcome.attempts:
            if attempt.queue_seconds is not None:
                _of(self.queued, attempt.model, QUEUE_SECONDS).observe(attempt.queue_seconds)
            if attempt.prompt_tokens is not None:
                tokens, asked = self.tokens, attempt.model
                tokens[asked, "prompt"] += attempt.prompt_tokens
                tokens[asked, "completion"] += attempt.completion_tokens or 0
                tokens[asked, "cached"] += attempt.cached_tokens or 0
            if attempt.cost_micro_usd and not attempt.caller_key:
                self.cost_micro_usd[attempt.model] += attempt.cost_micro_usd

    def refuse(self, outcome: Outcome) -> None:
        """A request ended before any model was asked."""
        self.requests[outcome.model or "", outcome.status] += 1


def _of(histograms: dict[str, Histogram], model: str, bounds: tuple[float, ...]) -> Histogram:
    found = histograms.get(model)
    if found is None:
        found = histograms[model] = Histogram(bounds)
    return found
