"""`GET /metrics`: what Prometheus reads.

Gathered from the stores when it is read, so that a request pays nothing for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from pointsman.core.caller import Caller
from pointsman.core.circuits import CircuitStanding
from pointsman.core.errors import StoreError
from pointsman.core.queueing import QueueStanding
from pointsman.pipeline.admit.budget_report import Accounts, Report
from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.services import Services

from .request_metrics import request_metrics

MICRO = 1_000_000
PATIENCE = 2.0
"""Seconds that the budgets are waited for: Prometheus gives up after ten, and whoever watches a database that hangs
must learn of that."""


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["Health"])
    budgets = _Standing(services.budgets) if services.budgets is not None else None

    @routes.get(
        "/metrics",
        operation_id="metrics",
        summary="Tell Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}},
    )
    async def metrics(request: Request) -> Response:
        """For admins: requests, budgets, the decision log, and what the gateway stands on."""
        caller = caller_of(request)
        caller.require_admin()
        report = await budgets(caller) if budgets is not None else None
        registry = CollectorRegistry(auto_describe=False)
        registry.register(
            _Gathered(
                [
                    *_gateway(services, state=(await services.state_health()).ok),
                    *request_metrics(services.tally),
                    *_instances(services),
                    *_circuits(services.circuits()),
                    *_queues(services.queues()),
                    *(_budgets(report) if budgets is not None else ()),
                ]
            )
        )
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return routes


class _Standing:
    """How the budgets stand, where the database tells it soon. One that hangs is asked once, however often this is."""

    def __init__(self, budgets: Accounts) -> None:
        self._budgets = budgets
        self._asking: asyncio.Task[Report | None] | None = None

    async def __call__(self, admin: Caller) -> Report | None:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(admin))
        done, _ = await asyncio.wait({self._asking}, timeout=PATIENCE)
        return self._asking.result() if done else None

    async def _ask(self, admin: Caller) -> Report | None:
        try:
            return await self._budgets.report(admin)
        except StoreError:
            return None


class _Gathered(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics

    def describe(self) -> Iterator[Metric]:
        yield from ()


def _gateway(services: Services, *, state: bool) -> Iterator[Metric]:
    info = GaugeMetricFamily("pointsman_info", "1, with the version.", labels=["version"])
    info.add_metric([services.version], 1)
    yield info
    yield GaugeMetricFamily("pointsman_uptime_seconds", "Since the start.", value=services.uptime)
    yield GaugeMetricFamily("pointsman_models", "Models in the catalog.", value=len(services.catalog.catalog))
    yield GaugeMetricFamily("pointsman_shared_state_up", "Whether the counters of limits answer.", value=state)
    if services.database is not None:
        yield GaugeMetricFamily(
            "pointsman_database_up", "Whether the database answered last.", value=services.database().connected
        )
    log = services.log.status()
    yield GaugeMetricFamily("pointsman_decision_log_up", "Whether its last write went through.", value=log.ok)
    yield GaugeMetricFamily("pointsman_decision_log_pending", "Items that wait in memory.", value=log.pending)
    yield GaugeMetricFamily("pointsman_decision_log_spooled", "Items that wait on disk.", value=log.spooled)
    yield CounterMetricFamily("pointsman_decision_log_dropped", "Items lost since the start.", value=log.dropped)


STATES = {"closed": 0.0, "half-open": 0.5, "open": 1.0}


def _circuits(circuits: Iterable[CircuitStanding]) -> Iterator[Metric]:
    labels = ["scope", "name"]
    state = GaugeMetricFamily(
        "pointsman_breaker_state", "0: closed, 0.5: half open, 1: open; of models and providers that were asked.",
        labels=labels,
    )  # fmt: skip
    opened = CounterMetricFamily(
        "pointsman_breaker_opened", "Openings that this process found needful.", labels=labels
    )  # fmt: skip
    for circuit in circuits:
        state.add_metric([circuit.scope, circuit.name], STATES[circuit.state])
        opened.add_metric([circuit.scope, circuit.name], circuit.openings)
    yield from (state, opened)


def _queues(queues: Iterable[QueueStanding]) -> Iterator[Metric]:
    labels = ["engine"]
    waiting = GaugeMetricFamily("pointsman_queue_waiting", "Requests that wait for a slot of an engine.", labels=labels)
    running = GaugeMetricFamily("pointsman_queue_running", "Slots of an engine that are held.", labels=labels)
    slots = GaugeMetricFamily("pointsman_queue_slots", "Answers that an engine gives at once.", labels=labels)
    refused = CounterMetricFamily(
        "pointsman_queue_refused",
        "Requests that a queue refused: full, late (the wait would have been too long), displaced (by a key that had"
        " less of the queue), timeout (the wait was longer than expected).",
        labels=[*labels, "why"],
    )
    for queue in queues:
        waiting.add_metric([queue.engine], queue.waiting)
        running.add_metric([queue.engine], queue.running)
        slots.add_metric([queue.engine], queue.slots)
        for why, count in queue.refused.items():
            refused.add_metric([queue.engine, why], count)
    yield from (waiting, running, slots, refused)


def _instances(services: Services) -> Iterator[Metric]:
    """Of providers with several servers; there are as many rows as the settings name servers."""
    labels = ["provider", "instance"]
    up = GaugeMetricFamily("pointsman_instance_up", "Whether a server of a pool answered last.", labels=labels)
    in_flight = GaugeMetricFamily(
        "pointsman_instance_in_flight", "Answers of this process under way at a server of a pool.", labels=labels
    )
    for provider, instances in services.instances().items():
        for instance in instances:
            up.add_metric([provider, instance.url], instance.up)
            in_flight.add_metric([provider, instance.url], instance.in_flight)
    yield from (up, in_flight)


def _budgets(report: Report | None) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "pointsman_budgets_up", "Whether the budgets' counters answer; else their figures are the last known, or left"
        " out where the database does not tell them soon.",
        value=report is not None and report.available,
    )  # fmt: skip
    if report is None:
        return
    labels = ["scope", "name", "cycle"]
    cap = GaugeMetricFamily("pointsman_budget_cap_dollars", "What may be spent in the period.", labels=labels)
    used = GaugeMetricFamily("pointsman_budget_used_dollars", "Spent and reserved.", labels=labels)
    spent = GaugeMetricFamily("pointsman_budget_spent_dollars", "Settled.", labels=labels)
    for budget, settled, _ in report.budgets:
        row = [budget.scope, budget.name, budget.cycle]
        cap.add_metric(row, budget.cap_micro_usd / MICRO)
        used.add_metric(row, budget.used_micro_usd / MICRO)
        spent.add_metric(row, settled / MICRO)
    yield from (cap, used, spent)
    yield GaugeMetricFamily(
        "pointsman_budget_unsettled", "Calls that a crash interrupted, held at their worst case.",
        value=len(report.unsettled),
    )  # fmt: skip
    yield CounterMetricFamily("pointsman_budget_alerts", "Alerts raised by this process.", value=report.alerts)
    yield CounterMetricFamily(
        "pointsman_budget_overspent_dollars", "Billed beyond what had been reserved, since the start.",
        value=report.overspent_micro_usd / MICRO,
    )  # fmt: skip
