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


class Histograms(dict[str, Histogram]):
    """By model; of one that was not asked before it begins empty."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds

    def __missing__(self, model: str) -> Histogram:
        found = self[model] = Histogram(self.bounds)
        return found


class Used:
    """The tokens of a model."""

    __slots__ = ("cached", "completion", "prompt")

    def __init__(self) -> None:
        self.prompt = self.completion = self.cached = 0


class Tally:
    """Every mapping's first key is the id of the model that answered, or was asked last; '' where none was."""

    def __init__(self) -> None:
        self.active = 0
        """Requests whose answers are under way."""
        self.requests: Counter[tuple[str, str]] = Counter()
        """By model and status."""
        self.seconds = Histograms(SECONDS)
        """Of answers that ended well."""
        self.first_byte = Histograms(FIRST_BYTE_SECONDS)
        """Of streamed ones."""
        self.queued = Histograms(QUEUE_SECONDS)
        """Of every attempt before whose engine there is a queue, by its model; of those that were refused as well."""
        self._used: dict[str, Used] = {}
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

    @property
    def tokens(self) -> dict[Tokens, int]:
        return {
            (model, kind): count
            for model, used in self._used.items()
            for kind, count in (("prompt", used.prompt), ("completion", used.completion), ("cached", used.cached))
        }

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
            self.seconds[model].observe(outcome.seconds)
            if stream and outcome.first_byte_seconds is not None:
                self.first_byte[model].observe(outcome.first_byte_seconds)
        for attempt in outcome.attempts:
            if attempt.queue_seconds is not None:
                self.queued[attempt.model].observe(attempt.queue_seconds)
            if attempt.prompt_tokens is not None:
                used = self._used.get(attempt.model)
                if used is None:
                    used = self._used[attempt.model] = Used()
                used.prompt += attempt.prompt_tokens
                used.completion += attempt.completion_tokens or 0
                used.cached += attempt.cached_tokens or 0
            if attempt.cost_micro_usd and not attempt.caller_key:
                self.cost_micro_usd[attempt.model] += attempt.cost_micro_usd

    def refuse(self, outcome: Outcome) -> None:
        """A request ended before any model was asked."""
        self.requests[outcome.model or "", outcome.status] += 1
