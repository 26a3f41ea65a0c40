"""`/api/version`, `/api/tags`, `/api/show`, `/api/ps`: the catalog as Ollama's clients read it."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from pointsman.core.caller import Caller
from pointsman.core.catalog import ModelCard
from pointsman.core.errors import InvalidRequest, ModelNotFound, PointsmanError, UpstreamError
from pointsman.core.ports import CatalogSource
from pointsman.dialects.ollama.in_answer import rfc3339
from pointsman.dialects.ollama.in_options import read_body
from pointsman.dialects.ollama.manage import Loaded
from pointsman.surfaces.converse import JSON
from pointsman.surfaces.errors import for_caller
from pointsman.transport.http import HttpRequest, Responder

from .errors import to_ollama
from .names import AUTO, find_card, known_name, usable
from .servers import Servers

VERSION = "0.12.11"
"""The version of Ollama whose API this is: clients ask for it before they use what it brought, log-probabilities here.
Not the gateway's own."""

WORDS = {
    "chat": "completion",
    "completion": "insert",
    "embeddings": "embedding",
    "tools": "tools",
    "vision": "vision",
}
"""Our word for what a model can do → Ollama's."""

_encoder = msgspec.json.Encoder()


class _Show(msgspec.Struct):
    model: str = ""
    name: str = ""
    """What the field was called before."""


_show_decoder = msgspec.json.Decoder(_Show)


class Catalogue:
    """The handlers; each answers the models that the caller may use.

    Args:
        started_at: when the gateway started, in seconds since the epoch; upstreams do not tell a model's age.
    """

    def __init__(self, models: CatalogSource, servers: Servers, *, started_at: float) -> None:
        self._models = models
        self._servers = servers
        self._since = rfc3339(started_at)

    async def version(self, http: HttpRequest, respond: Responder, caller: Caller) -> None:
        respond.send(200, [JSON], _encoder.encode({"version": VERSION}))

    async def tags(self, http: HttpRequest, respond: Responder, caller: Caller) -> None:
        catalog = self._models.catalog
        cards = usable(catalog, caller)
        shown = {card.id for card in cards}
        named = [(AUTO, None), *((alias, find_card(alias, catalog, caller)) for alias in catalog.aliases)]
        listed = [self._tag(name, card) for name, card in named if name == AUTO or (card and card.id in shown)]
        listed += [self._tag(card.id, card) for card in cards]
        respond.send(200, [JSON], _encoder.encode({"models": listed}))

    async def show(self, http: HttpRequest, respond: Responder, caller: Caller) -> None:
        try:
            asked, _ = read_body(http.body, _show_decoder)
            name = known_name(asked.model or asked.name, self._models.catalog, caller)
            if not name:
                raise InvalidRequest("model is required", param="model")
            card = None
            if name != AUTO:
                card = find_card(name, self._models.catalog, caller)
                if card is None:
                    raise ModelNotFound(f"model {name[:200]!r} not found")
            answer = self._show(card, usable(self._models.catalog, caller))
        except PointsmanError as error:
            respond.send(*to_ollama(for_caller(error, caller)))
            return
        respond.send(200, [JSON], _encoder.encode(answer))

    async def ps(self, http: HttpRequest, respond: Responder, caller: Caller) -> None:
        """The models that Ollamas have in memory now; one that does not answer has none."""
        running = []
        for provider in self._servers.names():
            try:
                loaded = await self._servers.loaded(provider)
            except UpstreamError:
                continue
            running += [
                _running(f"{provider}:{model.name}", model)
                for model in loaded
                if caller.may_use(f"{provider}:{model.name}", model.name)
            ]
        respond.send(200, [JSON], _encoder.encode({"models": running}))

    def _tag(self, name: str, card: ModelCard | None) -> dict[str, Any]:
        return {
            "name": name,
            "model": name,
            "modified_at": self._since,
            "size": 0,
            "digest": hashlib.sha256((card.id if card is not None else AUTO).encode()).hexdigest(),
            "details": _details(card),
        }

    def _show(self, card: ModelCard | None, all_usable: list[ModelCard]) -> dict[str, Any]:
        cards = [card] if card is not None else [card for card in all_usable if card.routable]
        can = frozenset[str]().union(*(card.capabilities for card in cards))
        windows = [card.context_window for card in cards if card.context_window is not None]
        information: dict[str, Any] = {
            "general.architecture": "pointsman",
            "general.basename": card.name if card is not None else AUTO,
        }
        if windows:
            information["pointsman.context_length"] = max(windows)
        return {
            "license": (card.licence if card is not None else None) or "",
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _details(card),
            "model_info": information,
            "capabilities": [theirs for ours, theirs in WORDS.items() if ours in can],
            "modified_at": self._since,
        }


def _details(card: ModelCard | None) -> dict[str, Any]:
    family = _family(card.name) if card is not None else "pointsman"
    return {
        "parent_model": "",
        "format": "",
        "family": family,
        "families": [family],
        "parameter_size": (card.parameters if card is not None else None) or "",
        "quantization_level": "",
    }


def _family(name: str) -> str:
    """A model's name up to where its size or version begins: `qwen2.5-coder:0.5b` → `qwen2.5-coder`."""
    return name.rpartition("/")[2].partition(":")[0]


def _running(name: str, model: Loaded) -> dict[str, Any]:
    details = model.details
    return {
        "name": name,
        "model": name,
        "size": model.size,
        "digest": model.digest,
        "details": {
            "parent_model": "",
            "format": "",
            "family": (details.family if details is not None else None) or "",
            "families": None,
            "parameter_size": (details.parameter_size if details is not None else None) or "",
            "quantization_level": (details.quantization_level if details is not None else None) or "",
        },
        "expires_at": model.expires_at or None,
        "size_vram": model.size_vram,
        "context_length": model.context_length,
    }
