"""`GET /api/v1/metrics`: what came of the routing, from the decision log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from pointsman.core.catalog import Catalog
from pointsman.core.figures import Figure
from pointsman.pipeline.record.figures import average, local_share, percentile, savings, share, shares
from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.services import Services

MOST = 5_000
"""Requests that are looked at: some 20 MB of the log."""


class RequestCounts(BaseModel):
    total: int
    ok: int
    error: int
    refused: int
    cancelled: int
    running: int = Field(description="Not ended, or cut off by a crash.")
    streamed: int


class RoutingShares(BaseModel):
    """Of the answers."""

    models: dict[str, float]
    providers: dict[str, float]
    intents: dict[str, float]
    local: float | None = Field(description="Of the answers by models that are known now.")


class RoutingAccuracy(BaseModel):
    value: float | None = Field(
        description="Of the judged answers, those judged good (a success of at least 0.5); null when none was judged."
    )
    judged: int = Field(description="Answers with feedback, but those called good in part.")


class RoutingFigures(BaseModel):
    shares: RoutingShares
    accuracy: RoutingAccuracy
    fallbacks: int = Field(description="Answers by another model than was chosen.")


class LatencyFigures(BaseModel):
    """Seconds, of answers that ended well; null when there are none."""

    average: float | None
    p50: float | None
    p95: float | None
    first_byte_average: float | None = Field(description="Of streamed answers.")
    first_byte_p95: float | None


class CacheFigures(BaseModel):
    hit_rate: float | None = Field(description="Of requests that were answered from our cache; null: none is on.")
    prompt_token_share: float | None = Field(description="Of all prompt tokens, those read from providers' caches.")


class TokenFigures(BaseModel):
    prompt: int
    completion: int
    cached: int = Field(description="Of the prompt's.")


class CostFigures(BaseModel):
    micro_usd: int
    unknown: int = Field(description="Answers whose price is not known, which are not in the sum.")


class SavingFigures(BaseModel):
    """Estimated: what the strongest candidate of each decision was expected to cost, less what the model that
    answered was. Only of decisions in which the router had the choice."""

    micro_usd: int
    low_micro_usd: int | None = Field(description="Of the 95 % interval; null with fewer than 30 conversations.")
    high_micro_usd: int | None
    baseline_micro_usd: int = Field(description="What the strongest candidates would have cost.")
    share: float | None = Field(description="Of the baseline.")
    decisions: int


class RoutingMetricsReport(BaseModel):
    since: float = Field(description="Seconds since the epoch, UTC.")
    until: float
    complete: bool = Field(description=f"False when there were more requests: then these are the latest {MOST}.")
    requests: RequestCounts
    routing: RoutingFigures
    latency_seconds: LatencyFigures
    cache: CacheFigures
    tokens: TokenFigures
    cost: CostFigures
    savings: SavingFigures | None = Field(description="Null when there was no such decision.")
    active_requests: int = Field(description="Answers under way in this process now.")


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["Health"])

    @routes.get("/api/v1/metrics", operation_id="routing_metrics", summary="Tell what came of the routing")
    async def routing_metrics(
        request: Request, hours: Annotated[float, Query(gt=0, le=24 * 366, description="How far back.")] = 24.0
    ) -> RoutingMetricsReport:
        """Requests of everybody, whichever gateway of the database took them; for admins."""
        caller_of(request).require_admin()
        now = services.clock.now()
        since = now - hours * 3600
        figures = await services.log.figures(since=since, most=MOST, candidates=True)
        return await asyncio.to_thread(  # it takes a tenth of a second
            report, figures, services.catalog.catalog, since=since, until=now, active=services.tally.active
        )

    return routes


def report(
    figures: Sequence[Figure], catalog: Catalog, *, since: float, until: float, active: int
) -> RoutingMetricsReport:
    complete = len(figures) < MOST
    answers = [figure for figure in figures if figure.status == "ok"]
    by_status = {status: sum(figure.status == status for figure in figures) for status in STATUSES}
    judged = [verdict for figure in figures if (verdict := figure.judged) is not None]
    seconds = [figure.seconds for figure in answers if figure.seconds is not None]
    first = [figure.first_byte_seconds for figure in answers if figure.stream and figure.first_byte_seconds is not None]
    prompt, completion, cached = (
        sum(getattr(figure, f"{name}_tokens") or 0 for figure in figures) for name in ("prompt", "completion", "cached")
    )
    saved = savings(figures)
    by = [figure.answered_by or "" for figure in answers]
    return RoutingMetricsReport(
        since=since if complete else min(figure.created_at for figure in figures),
        until=until,
        complete=complete,
        requests=RequestCounts(
            total=len(figures),
            **by_status,
            running=sum(figure.status is None for figure in figures),
            streamed=sum(figure.stream for figure in figures),
        ),
        routing=RoutingFigures(
            shares=RoutingShares(
                models=shares(by),
                providers=shares(model.partition(":")[0] for model in by),
                intents=shares(figure.intent for figure in answers),
                local=local_share(answers, {card.id: card.local for card in catalog}),
            ),
            accuracy=RoutingAccuracy(value=share(sum(judged), len(judged)), judged=len(judged)),
            fallbacks=sum(figure.answered_by != figure.model for figure in answers),
        ),
        latency_seconds=LatencyFigures(
            average=average(seconds),
            p50=percentile(seconds, 0.5),
            p95=percentile(seconds, 0.95),
            first_byte_average=average(first),
            first_byte_p95=percentile(first, 0.95),
        ),
        cache=CacheFigures(hit_rate=None, prompt_token_share=share(cached, prompt)),
        tokens=TokenFigures(prompt=prompt, completion=completion, cached=cached),
        cost=CostFigures(
            micro_usd=sum(figure.cost_micro_usd or 0 for figure in figures),
            unknown=sum(figure.cost_micro_usd is None for figure in answers),
        ),
        savings=None
        if saved is None
        else SavingFigures(
            micro_usd=saved.micro_usd,
            low_micro_usd=saved.low_micro_usd,
            high_micro_usd=saved.high_micro_usd,
            baseline_micro_usd=saved.baseline_micro_usd,
            share=share(saved.micro_usd, saved.baseline_micro_usd),
            decisions=saved.decisions,
        ),
        active_requests=active,
    )


STATUSES = ("ok", "error", "refused", "cancelled")
