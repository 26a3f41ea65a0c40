"""`POST /v1/chat/completions`: the inner form itself, so answers are relayed as the bytes that come."""

from __future__ import annotations

from functools import partial

from pointsman.core.aside import LARGE, aside
from pointsman.core.caller import Caller
from pointsman.core.errors import PointsmanError
from pointsman.core.events import DONE, Body, Event
from pointsman.core.request import ChatRequest
from pointsman.pipeline.answer import Answer
from pointsman.surfaces.converse import EVENT_STREAM, Refusal
from pointsman.transport.http import HttpRequest

from .errors import to_frame, to_openai


class ChatDialect:
    """Implements `surfaces.converse.Dialect` and, as it keeps nothing of an answer, its `Writer`."""

    stream_headers = EVENT_STREAM

    async def read(self, http: HttpRequest, caller: Caller) -> ChatRequest:
        body = http.body
        if len(body) < LARGE:
            return ChatRequest.parse(body)
        return await aside(partial(ChatRequest.parse, body), len(body))

    def writer(self, request: ChatRequest, answer: Answer) -> ChatDialect:
        return self

    def refuse(self, error: PointsmanError) -> Refusal:
        return to_openai(error)

    def begin(self) -> bytes:
        return b""

    def write(self, event: Event) -> bytes:
        return event.raw

    async def end(self) -> bytes:
        return DONE

    def broken(self, error: PointsmanError) -> bytes:
        return to_frame(error)

    async def whole(self, body: Body) -> bytes:
        return body.raw
