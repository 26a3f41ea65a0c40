"""Which models there are: as the running gateway tells, or else as settings and tables say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import UpstreamProtocolError

from .client import GatewayClient, connect
from .invocation import Invocation, run
from .output import size

if TYPE_CHECKING:
    from pointsman.settings import Settings

EMBEDDED = "embedded"


class Row(msgspec.Struct, kw_only=True):
    """One line of the table. Prices are US dollars per million tokens; None means unknown."""

    id: str
    local: bool
    context_window: int | None
    capabilities: list[str]
    price_input: float | None
    price_output: float | None
    quality: float | None
    """None: there is nothing to tell, as of a model of vectors."""
    state: str
    strengths: list[str] = []
    parameters: str | None = None
    licence: str | None = None
    max_output: int | None = None
    recommended_temperature: float | None = None


class Listing(msgspec.Struct, kw_only=True):
    """Every model, and who told."""

    gateway: str | None
    """Address of the gateway that told; None when settings and tables did."""
    models: list[Row]


def row_of(card: ModelCard, state: str) -> Row:
    return Row(
        id=card.id,
        local=card.local,
        context_window=card.context_window,
        capabilities=sorted(card.capabilities),
        price_input=_dollars(card.price_input),
        price_output=_dollars(card.price_output),
        quality=round(card.quality, 3) if "chat" in card.capabilities else None,
        state=state,
        strengths=list(card.strengths),
        parameters=card.parameters,
        licence=card.licence,
        max_output=card.max_output,
        recommended_temperature=card.recommended_temperature,
    )


def _dollars(micro_usd: int | None) -> float | None:
    return None if micro_usd is None else micro_usd / 1_000_000


async def list_models(invocation: Invocation) -> Listing:
    """Every model. Raises the gateway's error when `--url` names one that does not answer."""
    settings = invocation.settings()
    trusted = invocation.trusted(settings)
    async with connect(invocation.gateway_url(settings), invocation.key(settings), trusted) as client:
        if invocation.url is not None or await client.alive():
            return Listing(gateway=client.url, models=await _from_gateway(client))
    return Listing(gateway=None, models=list(from_settings(settings)))


def known_names(invocation: Invocation) -> list[str]:
    """Ids of every model, for a shell's completion."""
    return [row.id for row in run(list_models(invocation)).models]


def from_settings(settings: Settings) -> Iterator[Row]:
    """The embedded models, and those that the settings name; what providers list is known to a gateway alone."""
    from pointsman.providers.cards import card_for
    from pointsman.providers.llamacpp.sources import load_sources
    from pointsman.providers.llamacpp.weights import is_present
    from pointsman.providers.static_embedding.provider import StaticEmbedding

    for name, source in load_sources().items():
        card = card_for(EMBEDDED, name, local=True)
        card = msgspec.structs.replace(
            card, context_window=source.context_length, parameters=source.parameters, licence=source.licence
        )
        rules, here = settings.embedded, is_present(source, settings.cache_dir)
        state = "weights here" if here else f"to fetch ({size(source.download_size)})"
        if not rules.enabled or (name not in rules.models and not (rules.pulled and here)):
            state += ", not enabled"
        yield row_of(card, state)
    yield row_of(StaticEmbedding.card(), "part of the gateway" if settings.embedded.enabled else "disabled")
    for provider, own in settings.providers.items():
        for name in dict.fromkeys([*own.model_names, *filter(None, [own.default_model])]):
            yield row_of(card_for(provider, name, local=own.local), "configured" if own.enabled else "disabled")


class _Price(msgspec.Struct):
    input: int
    output: int


class _Details(msgspec.Struct):
    provider: str
    local: bool | None
    alias_of: str | None = None
    capabilities: list[str] = []
    context_window: int | None = None
    max_output: int | None = None
    price: _Price | None = None
    quality: float | None = None
    strengths: list[str] = []
    parameters: str | None = None
    licence: str | None = None


class _Model(msgspec.Struct):
    id: str
    pointsman: _Details


async def _from_gateway(client: GatewayClient) -> list[Row]:
    listed, health = await client.get("/v1/models"), await client.get("/api/v1/health")
    try:
        models = msgspec.convert(listed["data"], list[_Model])
        providers = {
            name: str(state["detail"] or "is away")
            for name, state in health["providers"].items()
            if not state["connected"]
        }
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise UpstreamProtocolError(f"The gateway's list of models cannot be read: {error}.") from None
    return [_row(model, providers) for model in models if model.id != "auto"]


def _row(model: _Model, unconnected: Mapping[str, str]) -> Row:
    """A row from what the gateway tells; the recommended temperature stands in the tables that both share."""
    from pointsman.providers.cards import card_for

    told = model.pointsman
    card = card_for(told.provider, (told.alias_of or model.id).partition(":")[2], local=bool(told.local))
    state = unconnected.get(told.provider, "ready")
    return Row(
        id=model.id,
        local=bool(told.local),
        context_window=told.context_window,
        capabilities=told.capabilities,
        price_input=_dollars(told.price.input) if told.price else None,
        price_output=_dollars(told.price.output) if told.price else None,
        quality=told.quality,
        state=f"alias of {told.alias_of}" if told.alias_of else state,
        strengths=told.strengths,
        parameters=told.parameters,
        licence=told.licence,
        max_output=told.max_output,
        recommended_temperature=card.recommended_temperature,
    )
