"""`GET /v1/models`: what may be asked for, in OpenAI's shape."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.pipeline.decide import refuse_model
from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.services import Services

AUTO = "auto"


class ModelPrice(BaseModel):
    """Micro-dollars per million tokens."""

    input: int
    cached_input: int | None
    output: int


class ModelDetails(BaseModel):
    """What Pointsman knows beside OpenAI's fields."""

    provider: str
    local: bool | None = Field(description="Whether it is declared to run on this machine; null for `auto`.")
    routable: bool = Field(description="Whether `auto` may choose it.")
    alias_of: str | None = None
    capabilities: list[str]
    context_window: int | None = Field(description="Tokens of prompt and answer together; null when unknown.")
    max_output: int | None = None
    price: ModelPrice | None = Field(default=None, description="Null when unknown, which is not to say free.")
    quality: float | None = Field(default=None, description="The prior share of requests answered well, in [0, 1].")
    strengths: list[str] = []
    parameters: str | None = None
    licence: str | None = None


class Model(BaseModel):
    """One name that a request's `model` field may hold."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When the gateway started; upstreams do not tell a model's age.")
    owned_by: str
    pointsman: ModelDetails


class ModelList(BaseModel):
    """Every name: `auto` first, then aliases, then models."""

    object: Literal["list"] = "list"
    data: list[Model]


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["OpenAI"])
    created = int(services.started_at)

    @routes.get("/v1/models", operation_id="list_models", summary="List the models")
    async def list_models(request: Request) -> ModelList:
        """Those that the caller may use."""
        catalog = _usable(services.catalog.catalog, caller_of(request))
        aliases = [_aliased(alias, card, created) for alias in catalog.aliases if (card := catalog.find(alias))]
        return ModelList(data=[_auto(catalog, created), *aliases, *(_model(card, created) for card in catalog)])

    @routes.get("/v1/models/{id:path}", operation_id="get_model", summary="Tell of one model")
    async def get_model(request: Request, id: str) -> Model:
        caller, catalog = caller_of(request), services.catalog.catalog
        if id == AUTO:
            return _auto(_usable(catalog, caller), created)
        if caller.scopes.models:
            found = catalog.find(id)
            if found is None or not caller.may_use(found.id, found.name):
                raise refuse_model(id, caller, catalog)
        card = catalog.resolve(id)
        return _aliased(id, card, created) if id in catalog.aliases else _model(card, created)

    return routes


def _usable(catalog: Catalog, caller: Caller) -> Catalog:
    if not caller.scopes.models:
        return catalog
    return Catalog((card for card in catalog if caller.may_use(card.id, card.name)), catalog.aliases, catalog.absent)


def _model(card: ModelCard, created: int) -> Model:
    price = None
    if card.price_input is not None and card.price_output is not None:
        price = ModelPrice(input=card.price_input, cached_input=card.price_cached_input, output=card.price_output)
    details = ModelDetails(
        provider=card.provider,
        local=card.local,
        routable=card.routable,
        capabilities=sorted(card.capabilities),
        context_window=card.context_window,
        max_output=card.max_output,
        price=price,
        quality=round(card.quality, 3) if "chat" in card.capabilities else None,
        strengths=list(card.strengths),
        parameters=card.parameters,
        licence=card.licence,
    )
    return Model(id=card.id, created=created, owned_by=card.provider, pointsman=details)


def _aliased(alias: str, card: ModelCard, created: int) -> Model:
    model = _model(card, created)
    details = model.pointsman.model_copy(update={"alias_of": card.id})
    return model.model_copy(update={"id": alias, "pointsman": details})


def _auto(catalog: Catalog, created: int) -> Model:
    """The name that routes: it can do what any model can that it may choose."""
    cards = [card for card in catalog if card.routable]
    windows = [card.context_window for card in cards if card.context_window is not None]
    details = ModelDetails(
        provider="pointsman",
        local=None,
        routable=True,
        capabilities=sorted(frozenset[str]().union(*(card.capabilities for card in cards))),
        context_window=max(windows, default=None),
    )
    return Model(id=AUTO, created=created, owned_by="pointsman", pointsman=details)
