"""`POST /v1/embeddings`: vectors of texts, by the named model and no other."""

from __future__ import annotations

import asyncio

import msgspec

from pointsman.core.caller import Caller
from pointsman.core.errors import PointsmanError
from pointsman.core.events import DONE, Body, Event
from pointsman.core.request import ChatRequest
from pointsman.dialects.openai.embeddings import Format, as_wanted, read_request
from pointsman.pipeline.answer import Answer
from pointsman.surfaces.converse import EVENT_STREAM, Refusal
from pointsman.transport.http import HttpRequest

from .errors import to_frame, to_openai

LARGE = 256 * 1024
"""Bytes of a body, or of an answer, from which on it is read in a thread."""


class EmbeddingsDialect:
    """Implements `surfaces.converse.Dialect`."""

    stream_headers = EVENT_STREAM

    async def read(self, http: HttpRequest, caller: Caller) -> ChatRequest:
        if len(http.body) < LARGE:
            return read_request(http.body)
        return await asyncio.to_thread(read_request, http.body)

    def writer(self, request: ChatRequest, answer: Answer) -> EmbeddingsWriter:
        wanted = request.fields.get("encoding_format")
        dimensions = request.fields.get("dimensions")
        return EmbeddingsWriter(
            form=(msgspec.json.decode(wanted) if wanted is not None else None) or "float",
            dimensions=msgspec.json.decode(dimensions) if dimensions is not None else None,
        )

    def refuse(self, error: PointsmanError) -> Refusal:
        return to_openai(error)


class EmbeddingsWriter:
    """Implements `surfaces.converse.Writer`; embeddings are never streamed."""

    def __init__(self, *, form: Format, dimensions: int | None) -> None:
        self._form: Format = form
        self._dimensions = dimensions

    def begin(self) -> bytes:
        return b""

    def write(self, event: Event) -> bytes:
        return event.raw

    async def end(self) -> bytes:
        return DONE

    def broken(self, error: PointsmanError) -> bytes:
        return to_frame(error)

    async def whole(self, body: Body) -> bytes:
        if len(body.raw) < LARGE:
            return as_wanted(body.raw, self._form, self._dimensions)
        return await asyncio.to_thread(as_wanted, body.raw, self._form, self._dimensions)
