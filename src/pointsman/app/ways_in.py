"""The handlers that ask models, by method and path; each is made at its first request, so that the start stays fast."""

from __future__ import annotations

from collections.abc import Callable

from pointsman.core.caller import Caller
from pointsman.core.ports import CatalogSource
from pointsman.pipeline.run import Pipeline
from pointsman.surfaces.converse import Converse
from pointsman.surfaces.entry import HotHandler
from pointsman.surfaces.openai.chat import ChatDialect
from pointsman.transport.http import HttpRequest, Responder


class Later:
    """A handler that is made when it is first wanted."""

    def __init__(self, make: Callable[[], HotHandler]) -> None:
        self._make = make
        self._made: HotHandler | None = None

    async def __call__(self, http: HttpRequest, respond: Responder, caller: Caller) -> None:
        if self._made is None:
            self._made = self._make()
        await self._made(http, respond, caller)


def ways_in(pipeline: Pipeline, models: CatalogSource) -> dict[tuple[str, str], HotHandler]:
    """Every way in that goes through the pipeline. A new one joins `ways_out.py` of the privacy wall's test."""
    return {
        ("POST", "/v1/chat/completions"): Converse(ChatDialect(), pipeline),
        ("POST", "/v1/completions"): Later(lambda: _completions(pipeline, models)),
        ("POST", "/v1/embeddings"): Later(lambda: _embeddings(pipeline)),
        ("POST", "/v1/messages"): Later(lambda: _messages(pipeline)),
        ("POST", "/v1/messages/count_tokens"): Later(lambda: _count_tokens(pipeline)),
        ("POST", "/api/v1/chat/completions"): Later(lambda: _native_chat(pipeline)),
        ("POST", "/api/v1/chat/streaming"): Later(lambda: _native_chat(pipeline, streams=True)),
        ("POST", "/api/v1/chat/hybrid"): Later(lambda: _native_chat(pipeline, mode="hybrid")),
    }


def _completions(pipeline: Pipeline, models: CatalogSource) -> HotHandler:
    from pointsman.surfaces.openai.completions import CompletionsDialect

    return Converse(CompletionsDialect(models), pipeline)


def _embeddings(pipeline: Pipeline) -> HotHandler:
    from pointsman.surfaces.openai.embeddings import EmbeddingsDialect

    return Converse(EmbeddingsDialect(), pipeline)


def _native_chat(pipeline: Pipeline, *, mode: str | None = None, streams: bool = False) -> HotHandler:
    from pointsman.surfaces.native.chat import NativeChat

    return Converse(NativeChat(mode=mode, streams=streams), pipeline)


def _messages(pipeline: Pipeline) -> HotHandler:
    from pointsman.surfaces.anthropic.messages import MessagesDialect

    return Converse(MessagesDialect(), pipeline)


def _count_tokens(pipeline: Pipeline) -> HotHandler:
    from pointsman.surfaces.anthropic.count import CountTokens

    return CountTokens(pipeline.measure)
