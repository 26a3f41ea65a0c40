"""`POST /v1/completions`: a text is gone on with, or a gap in it filled.

A model that completes plain text is asked for just that, and its answer is relayed. The others, and `auto` without a
`suffix`, get the prompt as a user's message, and their answer is written as a completion.
"""

from __future__ import annotations

from functools import partial

from pointsman.core.aside import aside
from pointsman.core.caller import Caller
from pointsman.core.catalog import ModelCard
from pointsman.core.errors import InvalidRequest, PointsmanError
from pointsman.core.events import DONE, Body, Event, Frames
from pointsman.core.ports import CatalogSource
from pointsman.core.request import ChatRequest
from pointsman.dialects.openai.completions import read_fields
from pointsman.dialects.openai.completions_answer import TextAnswer
from pointsman.pipeline.answer import Answer
from pointsman.surfaces.converse import EVENT_STREAM, Refusal
from pointsman.transport.http import HttpRequest

from .errors import to_frame, to_openai


class CompletionsDialect:
    """Implements `surfaces.converse.Dialect`.

    Args:
        models: tells whether a named model completes plain text.
    """

    stream_headers = EVENT_STREAM

    def __init__(self, models: CatalogSource) -> None:
        self._models = models

    async def read(self, http: HttpRequest, caller: Caller) -> ChatRequest:
        return await aside(partial(self._read, http.body, caller), len(http.body))

    def _read(self, body: bytes, caller: Caller) -> ChatRequest:
        fields = read_fields(body)
        request = ChatRequest.build(fields)
        card = self._named(request.model, caller)
        if "suffix" in fields or (card is not None and "completion" in card.capabilities):
            return ChatRequest(request.fields, request.params, request.size, kind="completion")
        if len(request.params.messages) > 1:
            raise InvalidRequest(
                "Invalid `prompt`: a chat model, or `auto`, takes one prompt in a request; name a model that completes"
                " plain text for several.",
                param="prompt",
            )
        request.translated = True
        return request

    def _named(self, name: str, caller: Caller) -> ModelCard | None:
        """The model, if the caller may use it: what is said of prompts must not tell that another is there."""
        catalog = self._models.catalog
        card = catalog.find(name) or catalog.find(f"{name}:latest")
        return card if card is not None and caller.may_use(card.id, card.name) else None

    def writer(self, request: ChatRequest, answer: Answer) -> CompletionWriter:
        return CompletionWriter(native=request.kind == "completion")

    def refuse(self, error: PointsmanError) -> Refusal:
        return to_openai(error)


class CompletionWriter:
    """Implements `surfaces.converse.Writer`.

    Args:
        native: whether the events are completions already.
    """

    def __init__(self, *, native: bool) -> None:
        self._native = native
        self._answer = TextAnswer()

    def begin(self) -> bytes:
        return b""

    def write(self, event: Event) -> bytes:
        if self._native or not isinstance(event, Frames):
            return event.raw
        return self._answer.frames(event)

    async def end(self) -> bytes:
        return DONE

    def broken(self, error: PointsmanError) -> bytes:
        return to_frame(error)

    async def whole(self, body: Body) -> bytes:
        return body.raw if self._native else self._answer.body(body)
