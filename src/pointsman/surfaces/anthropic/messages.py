"""`POST /v1/messages`: read in Anthropic's words, answered in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from pointsman.core.aside import aside
from pointsman.core.caller import Caller
from pointsman.core.errors import InvalidRequest, PointsmanError
from pointsman.core.events import Body, Event
from pointsman.core.request import ChatRequest
from pointsman.dialects.messages.answer import MessagesStream, write_message
from pointsman.dialects.messages.request import read_messages
from pointsman.pipeline.answer import Answer
from pointsman.surfaces.converse import EVENT_STREAM, Refusal
from pointsman.transport.http import Headers, HttpRequest

from .errors import to_anthropic, to_event

_VERSION = re.compile(rb"20\d\d-\d\d-\d\d")
_BETA = re.compile(rb"[a-z]{1,20}(?:-(?:[a-z]{1,20}[0-9]{0,2}|[0-9]{1,3}[a-z]?))*-20\d\d-?\d\d-?\d\d")
"""A feature and a date. Nobody looks for secrets in headers, so nothing else passes: no long number, no key."""
MOST_BETAS, LONGEST_BETA = 64, 80


async def read_request(http: HttpRequest, *, bounded: bool = True) -> ChatRequest:
    """A Messages body in the inner form.

    Args:
        bounded: whether `max_tokens` must be there.

    Raises:
        InvalidRequest: see `read_messages`; or a header of Anthropic's is malformed.
    """
    read = partial(_read, http.body, passed=tuple(passed_headers(http.headers)), bounded=bounded)
    return await aside(read, len(http.body))


def _read(body: bytes, *, passed: tuple[tuple[bytes, bytes], ...], bounded: bool) -> ChatRequest:
    return ChatRequest.build(read_messages(body, bounded=bounded), dialect="messages", passed=passed)


def passed_headers(headers: Headers) -> Iterator[tuple[bytes, bytes]]:
    """Anthropic's headers, for an upstream that speaks Messages too.

    Raises:
        InvalidRequest: one holds something else than a version, or names of features.
    """
    betas: list[bytes] = []
    for name, value in headers:
        if name == b"anthropic-version":
            if not _VERSION.fullmatch(value):
                raise InvalidRequest(
                    "Invalid header `anthropic-version`: a date is expected, as 2023-06-01.", param="anthropic-version"
                )
            yield name, value
        elif name == b"anthropic-beta":
            betas += [beta for each in value.split(b",") if (beta := each.strip())]
    if any(len(beta) > LONGEST_BETA or not _BETA.fullmatch(beta) for beta in betas) or len(betas) > MOST_BETAS:
        raise InvalidRequest(
            "Invalid header `anthropic-beta`: names of features with their dates are expected, separated by commas, as"
            " interleaved-thinking-2025-05-14.",
            param="anthropic-beta",
        )
    if betas:
        yield b"anthropic-beta", b",".join(betas)


class MessagesDialect:
    """Implements `surfaces.converse.Dialect`."""

    stream_headers = EVENT_STREAM

    async def read(self, http: HttpRequest, caller: Caller) -> ChatRequest:
        return await read_request(http)

    def writer(self, request: ChatRequest, answer: Answer) -> MessagesWriter:
        return MessagesWriter(request, answer)

    def refuse(self, error: PointsmanError) -> Refusal:
        return to_anthropic(error)


class MessagesWriter:
    """Implements `surfaces.converse.Writer`. Translates, unless an upstream that speaks Messages is relayed."""

    def __init__(self, request: ChatRequest, answer: Answer) -> None:
        stop = request.params.stop
        self._stops = [stop] if isinstance(stop, str) else stop or []
        self._id = f"msg_{answer.decision.id.removeprefix('dec_')}"
        self._model = answer.model
        self._input_tokens = answer.decision.signals.needs.prompt_tokens
        self._stream: MessagesStream | None = None
        self._relayed = False

    def begin(self) -> bytes:
        """Nothing yet: the first event says whether there is anything to translate."""
        return b""

    def write(self, event: Event) -> bytes:
        if event.dialect == "messages":
            self._relayed = True
            return event.raw
        if isinstance(event, Body):
            return b""
        return self._translated().feed(event)

    async def end(self) -> bytes:
        return b"" if self._relayed else self._translated().end()

    def broken(self, error: PointsmanError) -> bytes:
        return to_event(error)

    async def whole(self, body: Body) -> bytes:
        if body.dialect == "messages":
            return body.raw
        return write_message(body, self._id, self._model, input_tokens=self._input_tokens, stops=self._stops)

    def _translated(self) -> MessagesStream:
        if self._stream is None:
            self._stream = MessagesStream(self._id, self._model, input_tokens=self._input_tokens, stops=self._stops)
        return self._stream
