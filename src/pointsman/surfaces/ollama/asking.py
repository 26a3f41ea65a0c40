"""`POST /api/chat` and `/api/generate`: Ollama's way in to the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from pointsman.core.aside import aside
from pointsman.core.caller import Caller
from pointsman.core.errors import ModelNotFound, PointsmanError
from pointsman.core.events import Body, Event
from pointsman.core.ports import CatalogSource
from pointsman.core.request import ChatRequest
from pointsman.dialects.ollama.in_answer import Endpoint, OllamaAnswer, error_line
from pointsman.dialects.ollama.in_request import Asked, Load, read_chat, read_generate
from pointsman.pipeline.answer import Answer
from pointsman.pipeline.run import Pipeline
from pointsman.surfaces.converse import JSON, Converse, Refusal
from pointsman.surfaces.errors import for_caller
from pointsman.transport.http import Headers, HttpRequest, Responder

from .errors import to_ollama, told
from .names import AUTO, find_card, known_name

NDJSON: Headers = [
    (b"content-type", b"application/x-ndjson"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx in front would else hold the stream back
]

READERS: dict[Endpoint, Callable[[bytes], Asked | Load]] = {"chat": read_chat, "generate": read_generate}


class _Loads(Exception):
    """A request that asks for nothing but that a model be loaded."""

    def __init__(self, load: Load) -> None:
        self.load = load


class OllamaDialect:
    """Implements `surfaces.converse.Dialect`."""

    stream_headers = NDJSON

    def __init__(self, endpoint: Endpoint, models: CatalogSource) -> None:
        self._endpoint = endpoint
        self._models = models

    async def read(self, http: HttpRequest, caller: Caller) -> ChatRequest:
        return await aside(partial(self._read, http.body, caller), len(http.body))

    def _read(self, body: bytes, caller: Caller) -> ChatRequest:
        asked = READERS[self._endpoint](body)
        if isinstance(asked, Load):
            raise _Loads(asked)
        asked.fields["model"] = known_name(asked.fields["model"], self._models.catalog, caller)
        return ChatRequest.build(asked.fields, kind=asked.kind, dialect="ollama")

    def writer(self, request: ChatRequest, answer: Answer) -> OllamaWriter:
        return OllamaWriter(self._endpoint, request.model, answer.started)

    def refuse(self, error: PointsmanError) -> Refusal:
        return to_ollama(error)


class OllamaWriter:
    """Implements `surfaces.converse.Writer`.

    Args:
        started: when the request was taken up, in seconds of the monotonic clock.
    """

    def __init__(self, endpoint: Endpoint, model: str, started: float) -> None:
        self._answer = OllamaAnswer(
            endpoint,
            model=model,
            now=time.time,
            nanoseconds=time.monotonic_ns,
            started=int(started * 1e9),
        )

    def begin(self) -> bytes:
        return b""

    def write(self, event: Event) -> bytes:
        return self._answer.feed(event)

    async def end(self) -> bytes:
        return self._answer.end()

    def broken(self, error: PointsmanError) -> bytes:
        return error_line(told(error))

    async def whole(self, body: Body) -> bytes:
        return self._answer.whole(body)


class Ask:
    """The handler: a request without a prompt is answered at once, every other one by a model.

    Nothing is loaded or unloaded for it: where a model runs and when it is loaded is not its caller's to say.
    """

    def __init__(self, endpoint: Endpoint, pipeline: Pipeline, models: CatalogSource) -> None:
        self._endpoint: Endpoint = endpoint
        self._models = models
        self._converse = Converse(OllamaDialect(endpoint, models), pipeline)

    async def __call__(self, http: HttpRequest, respond: Responder, caller: Caller) -> None:
        try:
            await self._converse(http, respond, caller)
        except _Loads as asked:
            self._loaded(asked.load, respond, caller)

    def _loaded(self, load: Load, respond: Responder, caller: Caller) -> None:
        name = known_name(load.model, self._models.catalog, caller)
        if name != AUTO and find_card(name, self._models.catalog, caller) is None:
            respond.send(*to_ollama(for_caller(ModelNotFound(f"model {name[:200]!r} not found"), caller)))
            return
        answer = OllamaAnswer(self._endpoint, model=load.model, now=time.time, nanoseconds=time.monotonic_ns)
        raw = answer.loaded(unload=load.unload)
        if load.stream:
            respond.send(200, NDJSON, raw + b"\n")
        else:
            respond.send(200, [JSON], raw)
