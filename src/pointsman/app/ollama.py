"""The endpoints of the Ollama dialect, and those that look after Ollama's models, by method and path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.pipeline.run import Pipeline
from pointsman.providers.discovery import CatalogKeeper
from pointsman.surfaces.entry import HotHandler

from .ways_in import Later

if TYPE_CHECKING:
    from pointsman.surfaces.ollama.catalogue import Catalogue
    from pointsman.surfaces.ollama.servers import Servers


def ollama_ways(pipeline: Pipeline, keeper: CatalogKeeper, *, started_at: float) -> dict[tuple[str, str], HotHandler]:
    """Every handler; what it stands on is imported at its first request."""
    made: list[Catalogue] = []

    def catalogue() -> Catalogue:
        from pointsman.surfaces.ollama.catalogue import Catalogue

        if not made:
            made.append(Catalogue(keeper, _servers(keeper), started_at=started_at))
        return made[0]

    def list_stored() -> HotHandler:
        from pointsman.surfaces.ollama.looking_after import LookingAfter

        return LookingAfter(keeper, _servers(keeper)).listed

    def pull(*, native: bool) -> HotHandler:
        from pointsman.surfaces.ollama.looking_after import Pull

        return Pull(_servers(keeper), native=native)

    def ensure() -> HotHandler:
        from pointsman.surfaces.ollama.looking_after import Ensure

        return Ensure(_servers(keeper))

    def chat() -> HotHandler:
        from pointsman.surfaces.ollama.asking import Ask

        return Ask("chat", pipeline, keeper)

    def generate() -> HotHandler:
        from pointsman.surfaces.ollama.asking import Ask

        return Ask("generate", pipeline, keeper)

    def embed(*, old: bool) -> HotHandler:
        from pointsman.surfaces.ollama.embedding import Embed

        return Embed(pipeline, keeper, old=old)

    def refuse(why: str) -> HotHandler:
        from pointsman.surfaces.ollama.looking_after import Refuse

        return Refuse(why)

    own = "models are made, copied and deleted at the Ollama that keeps them."
    version, tags = Later(lambda: catalogue().version), Later(lambda: catalogue().tags)
    return {
        ("POST", "/api/chat"): Later(chat),
        ("POST", "/api/generate"): Later(generate),
        ("POST", "/api/embed"): Later(lambda: embed(old=False)),
        ("POST", "/api/embeddings"): Later(lambda: embed(old=True)),
        ("GET", "/api/version"): version,
        ("HEAD", "/api/version"): version,
        ("GET", "/api/tags"): tags,
        ("HEAD", "/api/tags"): tags,
        ("POST", "/api/show"): Later(lambda: catalogue().show),
        ("GET", "/api/ps"): Later(lambda: catalogue().ps),
        ("POST", "/api/pull"): Later(lambda: pull(native=False)),
        ("POST", "/api/push"): Later(lambda: refuse("nothing is published from here.")),
        ("POST", "/api/create"): Later(lambda: refuse(own)),
        ("POST", "/api/copy"): Later(lambda: refuse(own)),
        ("DELETE", "/api/delete"): Later(lambda: refuse(own)),
        ("GET", "/api/v1/models/ollama"): Later(list_stored),
        ("POST", "/api/v1/models/ollama/pull"): Later(lambda: pull(native=True)),
        ("POST", "/api/v1/models/ensure"): Later(ensure),
    }


def _servers(keeper: CatalogKeeper) -> Servers:
    from pointsman.providers.ollama_servers import OllamaServers

    return OllamaServers(keeper)
