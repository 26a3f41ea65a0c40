"""Every endpoint that asks a model is one `Converse` over a dialect: read, run the pipeline, write.

A dialect translates a request into the inner form and an answer's events back. What is the same for all stands here:
who is told what of an error, when a stream begins, and that a client who leaves cancels the upstream call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from pointsman.core.caller import Caller
from pointsman.core.errors import PointsmanError, ReadTooSlowly, UpstreamProtocolError
from pointsman.core.events import Body, Event
from pointsman.core.lifecycle import Stopping
from pointsman.core.request import ChatRequest
from pointsman.pipeline.answer import Answer
from pointsman.pipeline.run import Pipeline, Wishes
from pointsman.transport.http import Headers, HttpRequest, Responder

from .answer_headers import decision_headers, dropped_header
from .credentials_of import credentials_of
from .errors import for_caller
from .wishes import read_wishes

JSON = (b"content-type", b"application/json")

EVENT_STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx in front would else hold the stream back
]

Header = tuple[bytes, bytes]
Refusal = tuple[int, list[Header], bytes]
"""Status, headers and body of an error answer."""


class Writer(Protocol):
    """Writes one answer. Frames and bodies come in the inner form, or in the caller's dialect where an upstream that
    speaks it was relayed (`Frames.dialect`)."""

    def begin(self) -> bytes:
        """What stands before the first event of a stream."""

    def write(self, event: Event) -> bytes:
        """A piece of a stream."""

    async def end(self) -> bytes:
        """What stands behind the last event of a stream that ended well. Raises PointsmanError."""

    def broken(self, error: PointsmanError) -> bytes:
        """What ends a stream that broke."""

    async def whole(self, body: Body) -> bytes:
        """An answer that is not streamed. Raises PointsmanError."""


class Dialect(Protocol):
    """One way in."""

    @property
    def stream_headers(self) -> Headers: ...

    async def read(self, http: HttpRequest, caller: Caller) -> ChatRequest:
        """The request in the inner form.

        Raises:
            PointsmanError: it cannot be read, or holds what has no inner form.
        """

    def writer(self, request: ChatRequest, answer: Answer) -> Writer: ...

    def refuse(self, error: PointsmanError) -> Refusal: ...


class Converse:
    """A hot handler: a way in and the pipeline behind it."""

    def __init__(self, dialect: Dialect, pipeline: Pipeline) -> None:
        self._dialect = dialect
        self._pipeline = pipeline

    async def __call__(self, http: HttpRequest, respond: Responder, caller: Caller) -> None:
        dialect = self._dialect
        try:
            request, wishes = await self._read(http, caller)
            answer = await self._pipeline.run(request, caller, wishes)
        except PointsmanError as error:
            respond.send(*dialect.refuse(for_caller(error, caller)))
            return
        try:
            headers = decision_headers(answer)
            if dropped := request.without(answer.dialect):
                headers.append(dropped_header(dropped))
            writer = dialect.writer(request, answer)
            if request.stream:
                await self._stream(answer, writer, headers, respond, caller)
            else:
                await self._send(answer, writer, headers, respond, caller)
        except Exception as error:  # a fault of ours, which the log must not take for a client who left
            await answer.unusable(error)
            raise
        finally:
            await answer.aclose()

    async def _send(
        self, answer: Answer, writer: Writer, headers: list[Header], respond: Responder, caller: Caller
    ) -> None:
        try:
            written = await _whole(writer, answer)
        except PointsmanError as error:
            await answer.unusable(error)
            status, error_headers, refusal = self._dialect.refuse(for_caller(error, caller))
            told = {name for name, _ in error_headers}
            respond.send(status, [*error_headers, *(pair for pair in headers if pair[0] not in told)], refusal)
        else:
            respond.send(200, [JSON, *headers], written)

    async def _stream(
        self, answer: Answer, writer: Writer, headers: list[Header], respond: Responder, caller: Caller
    ) -> None:
        respond.start(200, [*self._dialect.stream_headers, *headers])
        try:
            if begun := writer.begin():
                respond.write(begun)
            async for event in answer:
                if event.raw and (data := writer.write(event)) and respond.write(data):
                    await _taken(respond, answer.seconds_left)
            respond.write(await writer.end())
        except ReadTooSlowly as error:  # no fault of the model's: to the log it is as if the client had left
            await answer.aclose()
            respond.write(writer.broken(error))
        except PointsmanError as error:
            await answer.unusable(error)
            respond.write(writer.broken(for_caller(error, caller)))
        except asyncio.CancelledError:  # the gateway ends; a client who has left is told nothing by this
            stopping = Stopping()
            stopping.decision_id = answer.decision.id
            respond.write(writer.broken(stopping))
            respond.finish()
            raise
        except Exception:
            respond.write(writer.broken(PointsmanError()))
            raise
        respond.finish()

    async def _read(self, http: HttpRequest, caller: Caller) -> tuple[ChatRequest, Wishes]:
        request: ChatRequest | None = None
        try:
            request = await self._dialect.read(http, caller)
            credentials = credentials_of(request, http.path, http.headers, caller, self._pipeline.caller_keys)
            wishes = read_wishes(request, http.headers)
            return request, msgspec.structs.replace(wishes, credentials=credentials) if credentials else wishes
        except PointsmanError as error:
            self._pipeline.refused(error, caller, request)
            raise


async def _taken(respond: Responder, seconds: float | None) -> None:
    """Wait until the client has taken what was written, or enough of it.

    Raises:
        ReadTooSlowly: it did not so in these seconds; an engine's slot is not held for longer.
    """
    try:
        async with asyncio.timeout(seconds):
            await respond.drain()
    except TimeoutError:
        raise ReadTooSlowly from None


async def _whole(writer: Writer, events: AsyncIterator[Event]) -> bytes:
    """What an answer that is not streamed is written as. It is written before the events end, so that an answer which
    cannot be is no good one in the log.

    Raises:
        PointsmanError: the model failed, or its answer cannot be written.
    """
    written: bytes | None = None
    async for event in events:
        if isinstance(event, Body) and event.raw:
            written = await writer.whole(event)
    if written is None:
        raise UpstreamProtocolError("The model's provider answered with an empty body.")
    return written
