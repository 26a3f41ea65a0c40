"""The part of `/metrics` that tells of requests, from what this process has counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from pointsman.pipeline.record import Tally
from pointsman.pipeline.record.tally import Histogram

MODEL = ["provider", "model"]
MICRO = 1_000_000


def request_metrics(tally: Tally) -> Iterator[Metric]:
    """Model and provider are empty where no model was asked."""
    yield GaugeMetricFamily("pointsman_active_requests", "Answers under way.", value=tally.active)
    requests = CounterMetricFamily(
        "pointsman_requests", "Requests that have ended: ok, error, refused or cancelled.", labels=[*MODEL, "status"]
    )
    for (model, status), count in tally.requests.items():
        requests.add_metric([*_labels(model), status], count)
    tokens = CounterMetricFamily(
        "pointsman_tokens",
        "As upstreams told them, of answers that ended early by estimate; cached ones are a part of the prompt's.",
        labels=[*MODEL, "kind"],
    )
    for (model, kind), count in tally.tokens.items():
        tokens.add_metric([*_labels(model), kind], count)
    cost = CounterMetricFamily("pointsman_cost_dollars", "What the installation's own keys paid for.", labels=MODEL)
    for model, micro_usd in tally.cost_micro_usd.items():
        cost.add_metric(_labels(model), micro_usd / MICRO)
    yield from (requests, tokens, cost)
    yield _histogram("pointsman_request_seconds", "To the end of answers that ended well.", tally.seconds)
    yield _histogram("pointsman_first_byte_seconds", "To the first byte of streamed ones.", tally.first_byte)
    yield _histogram(
        "pointsman_queue_seconds", "In queues before engines, of every attempt that entered one.", tally.queued
    )
    intents = CounterMetricFamily(
        "pointsman_intents",
        "Messages whose intent was unsure, where routing.intent_model is set: told, unsure (the model as well),"
        " unreadable, timeout, failed, or not asked: private, paused, unpaid, away.",
        labels=["result"],
    )
    for result, count in tally.intents.items():
        intents.add_metric([result], count)
    yield intents
    yield CounterMetricFamily(
        "pointsman_policy_rollbacks", "Policies rolled back by this process for a live drop.",
        value=tally.policy_rollbacks,
    )  # fmt: skip
    unusable = GaugeMetricFamily(
        "pointsman_policy_unusable", "1 for each version that was promoted or is on trial and cannot be loaded.",
        labels=["version"],
    )  # fmt: skip
    for version in tally.unusable_policies:
        unusable.add_metric([version], 1)
    yield unusable
    yield CounterMetricFamily(
        "pointsman_shadow_choices", "Decisions that policies in the shadow were asked about.",
        value=tally.shadow_choices,
    )  # fmt: skip
    yield CounterMetricFamily(
        "pointsman_shadow_errors", "Times that one could not say.", value=tally.shadow_errors,
    )  # fmt: skip


def _labels(model: str) -> list[str]:
    return [model.partition(":")[0], model]


def _histogram(name: str, help_text: str, by_model: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, help_text, labels=MODEL)
    for model, histogram in by_model.items():
        bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
        family.add_metric(
            _labels(model), list(zip(bounds, accumulate(histogram.counts), strict=True)), sum_value=histogram.sum
        )
    return family
