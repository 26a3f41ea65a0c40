"""`POST /api/embed`, and `/api/embeddings`, its older form of one text."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import msgspec

from pointsman.core.aside import aside
from pointsman.core.caller import Caller
from pointsman.core.errors import InvalidRequest, PointsmanError
from pointsman.core.events import Body, Event
from pointsman.core.ports import CatalogSource
from pointsman.core.request import ChatRequest
from pointsman.dialects.ollama.in_answer import embedded
from pointsman.dialects.ollama.in_request import read_embed
from pointsman.dialects.openai.embeddings import as_wanted
from pointsman.pipeline.answer import Answer
from pointsman.pipeline.run import Pipeline
from pointsman.surfaces.converse import JSON, Converse, Refusal
from pointsman.transport.http import Headers, HttpRequest, Responder

from .errors import to_ollama, told
from .names import known_name

LARGE = 256 * 1024
"""Bytes of an answer from which on it is read in a thread."""


class _Nothing(Exception):
    """There is no text to embed."""

    def __init__(self, model: str) -> None:
        self.model = model


class EmbedDialect:
    """Implements `surfaces.converse.Dialect`."""

    stream_headers: Headers = (JSON,)

    def __init__(self, models: CatalogSource, *, old: bool) -> None:
        self._models = models
        self._old = old

    async def read(self, http: HttpRequest, caller: Caller) -> ChatRequest:
        return await aside(partial(self._read, http.body, caller), len(http.body))

    def _read(self, body: bytes, caller: Caller) -> ChatRequest:
        asked = read_embed(body, old=self._old)
        if not asked.fields["messages"]:
            raise _Nothing(asked.fields["model"])
        asked.fields["model"] = known_name(asked.fields["model"], self._models.catalog, caller)
        request = ChatRequest.build(asked.fields, kind="embeddings", dialect="ollama")
        _dimensions(request)  # said now, and not once a model has answered
        return request

    def writer(self, request: ChatRequest, answer: Answer) -> EmbedWriter:
        return EmbedWriter(request, answer.started, old=self._old)

    def refuse(self, error: PointsmanError) -> Refusal:
        return to_ollama(error)


class EmbedWriter:
    """Implements `surfaces.converse.Writer`; embeddings are never streamed."""

    def __init__(self, request: ChatRequest, started: float, *, old: bool) -> None:
        self._request = request
        self._started = started
        self._old = old

    def begin(self) -> bytes:
        return b""

    def write(self, event: Event) -> bytes:
        return event.raw

    async def end(self) -> bytes:
        return b""

    def broken(self, error: PointsmanError) -> bytes:
        return told(error).encode()

    async def whole(self, body: Body) -> bytes:
        if len(body.raw) < LARGE:
            return self._written(body.raw)
        return await asyncio.to_thread(self._written, body.raw)

    def _written(self, raw: bytes) -> bytes:
        vectors = as_wanted(raw, "float", _dimensions(self._request))
        passed = max(1, int((time.monotonic() - self._started) * 1e9))
        return embedded(vectors, model=self._request.model, nanoseconds=passed, old=self._old)


class Embed:
    """The handler: without a text there is nothing to ask a model for."""

    def __init__(self, pipeline: Pipeline, models: CatalogSource, *, old: bool) -> None:
        self._converse = Converse(EmbedDialect(models, old=old), pipeline)
        self._old = old

    async def __call__(self, http: HttpRequest, respond: Responder, caller: Caller) -> None:
        try:
            await self._converse(http, respond, caller)
        except _Nothing as asked:
            nothing = {"embedding": []} if self._old else {"model": asked.model, "embeddings": []}
            respond.send(200, [JSON], msgspec.json.encode(nothing))


def _dimensions(request: ChatRequest) -> int | None:
    """
    Raises:
        InvalidRequest: it is no whole number.
    """
    try:
        return msgspec.json.decode(request.fields.get("dimensions", b"null"), type=int | None)
    except msgspec.MsgspecError:
        raise InvalidRequest("Invalid `dimensions`: a whole number is expected.", param="dimensions") from None
