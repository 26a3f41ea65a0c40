"""`/api/v1/models`: what each model can do, costs, and was measured to do; and which one suits a use."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.errors import InvalidRequest
from pointsman.pipeline.decide import refuse_model
from pointsman.pipeline.decide.recommend import TIERS, USES, recommend, recommended_uses
from pointsman.pipeline.record.figures import Measured, measure
from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.openai.models import ModelPrice
from pointsman.surfaces.services import Services

RECENT_SECONDS = 7 * 86_400.0
RECENT_REQUESTS = 2_000
"""What is measured: the latest requests of everybody, at most so many and so old."""


class MeasuredSpeed(BaseModel):
    """Over the latest answers that the model gave at the first attempt."""

    requests: int
    response_time_seconds: float = Field(description="To the end of the answer, on average.")
    first_byte_seconds: float | None = Field(description="Of streamed answers; null when there were none.")
    tokens_per_second: float | None = Field(description="Null when no upstream told how many tokens it gave.")


class NativeModel(BaseModel):
    """A model that may be asked."""

    id: str
    provider: str
    name: str
    local: bool
    available: bool = Field(description="Whether its provider answers and no circuit is open, as far as is known.")
    routable: bool = Field(description="Whether `auto` may choose it.")
    aliases: list[str]
    capabilities: list[str]
    context_window: int | None
    max_output: int | None
    recommended_use: list[str] = Field(description="Intents that it is good for, or what it is best at.")
    strengths: list[str]
    recommended_temperature: float | None = Field(description="As its maker states it; null when not known.")
    price: ModelPrice | None = Field(description="Null when unknown, which is not to say free.")
    equivalents: list[str] = Field(description="Models that stand in for it in an outage, where they are there.")
    parameters: str | None
    licence: str | None
    measured: MeasuredSpeed | None = Field(description="Null until it has answered.")


class NativeModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[NativeModel]


class Recommendation(BaseModel):
    model: str
    local: bool
    why: str
    expected_success: float = Field(description="Predicted probability, in [0, 1].")
    expected_cost_micro_usd: int | None = Field(description="Of an everyday request; null when its price is unknown.")
    expected_seconds: float
    measured: MeasuredSpeed | None


class Recommendations(BaseModel):
    use_case: str
    performance_tier: str
    priority: str = Field(description="The routing priority that the tier stands for.")
    recommended: str | None = Field(description="The first of `data`; null when no model can do it.")
    data: list[Recommendation] = Field(description="The most fitting first.")


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["Models"])

    async def measured() -> dict[str, Measured]:
        since = services.clock.now() - RECENT_SECONDS
        return measure(await services.log.figures(since=since, most=RECENT_REQUESTS))

    @routes.get("/api/v1/models", operation_id="native_models", summary="List the models, with all that is known")
    async def list_models(request: Request) -> NativeModelList:
        """Those that the caller may use."""
        caller, catalog = caller_of(request), services.catalog.catalog
        speeds = await measured()
        cards = [card for card in catalog if caller.may_use(card.id, card.name)]
        return NativeModelList(data=[_model(card, services, catalog, caller, speeds.get(card.id)) for card in cards])

    @routes.get("/api/v1/models/recommend", operation_id="recommend_model", summary="Recommend models for a use")
    async def recommend_model(
        request: Request,
        use_case: Annotated[str, Query(description=f"One of {', '.join(USES)}.")] = "general",
        performance_tier: Annotated[
            str,
            Query(description="`high` (or `quality`), `medium` (`balanced`), `low` (`cost`), `fast` (`speed`)."),
        ] = "medium",
        limit: Annotated[int, Query(ge=1, le=100)] = 5,
    ) -> Recommendations:
        """Among the models that the caller may use and that are up, ranked as the router ranks them for an everyday
        request of that use."""
        use, priority = USES.get(use_case.strip().lower()), TIERS.get(performance_tier.strip().lower())
        if use is None:
            raise InvalidRequest(f"Invalid `use_case`: one of {', '.join(USES)} is expected.", param="use_case")
        if priority is None:
            raise InvalidRequest(
                f"Invalid `performance_tier`: one of {', '.join(TIERS)} is expected.", param="performance_tier"
            )
        speeds = await measured()
        found = recommend(
            services.catalog.catalog,
            use,
            priority,
            policy=services.policy(),
            unhealthy=services.unhealthy(),
            caller=caller_of(request),
        )
        return Recommendations(
            use_case=use_case.strip().lower(),
            performance_tier=performance_tier.strip().lower(),
            priority=priority,
            recommended=found[0].card.id if found else None,
            data=[
                Recommendation(
                    model=card.id,
                    local=card.local,
                    why=why,
                    expected_success=round(expected.quality, 4),
                    expected_cost_micro_usd=expected.cost_micro_usd,
                    expected_seconds=round(expected.latency_seconds, 3),
                    measured=_speed(speeds.get(card.id)),
                )
                for card, expected, why in found[:limit]
            ],
        )

    @routes.get("/api/v1/models/{id:path}", operation_id="native_model", summary="Tell all that is known of a model")
    async def get_model(request: Request, id: str) -> NativeModel:
        """By its id, its provider's name for it, or an alias."""
        caller, catalog = caller_of(request), services.catalog.catalog
        if caller.scopes.models:
            found = catalog.find(id)
            if found is None or not caller.may_use(found.id, found.name):
                raise refuse_model(id, caller, catalog)
        card = catalog.resolve(id)
        return _model(card, services, catalog, caller, (await measured()).get(card.id))

    return routes


def _model(
    card: ModelCard, services: Services, catalog: Catalog, caller: Caller, measured: Measured | None
) -> NativeModel:
    price = None
    if card.price_input is not None and card.price_output is not None:
        price = ModelPrice(input=card.price_input, cached_input=card.price_cached_input, output=card.price_output)
    equivalents = (catalog.find(name) for name in services.equivalents(card))
    return NativeModel(
        id=card.id,
        provider=card.provider,
        name=card.name,
        local=card.local,
        available=card.id not in services.unhealthy(),
        routable=card.routable,
        aliases=[alias for alias in catalog.aliases if catalog.find(alias) is card],
        capabilities=sorted(card.capabilities),
        context_window=card.context_window,
        max_output=card.max_output,
        recommended_use=recommended_uses(card),
        strengths=list(card.strengths),
        recommended_temperature=card.recommended_temperature,
        price=price,
        equivalents=[other.id for other in equivalents if other is not None and caller.may_use(other.id, other.name)],
        parameters=card.parameters,
        licence=card.licence,
        measured=_speed(measured),
    )


def _speed(measured: Measured | None) -> MeasuredSpeed | None:
    if measured is None:
        return None
    first, tokens = measured.first_byte_seconds, measured.tokens_per_second
    return MeasuredSpeed(
        requests=measured.requests,
        response_time_seconds=round(measured.response_seconds, 4),
        first_byte_seconds=None if first is None else round(first, 4),
        tokens_per_second=None if tokens is None else round(tokens, 2),
    )
