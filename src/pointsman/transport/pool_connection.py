"""One upstream connection: a protocol on httptools' response parser, and one lazily moved timer for every deadline."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, cast

import httptools

from pointsman.core.errors import (
    UpstreamBroken,
    UpstreamClosed,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from pointsman.core.ports import Timeouts

from .dial import place, reason_of
from .http import Headers, Origin, UpstreamRequest
from .pool_response import PoolResponse

if TYPE_CHECKING:
    from .pool import OriginConnections, Pool

_JOINED_BYTES = 64 * 1024

_name_of = itemgetter(0)


class PoolConnection(asyncio.Protocol):
    """Idle, or carrying one exchange. The timer is never moved forward, only re-armed when it fires too early: what
    comes of a body leaves no more than its time."""

    __slots__ = (
        "_close_delimited",
        "_deadline",
        "_expects_no_body",
        "_head_bytes",
        "_heard_at",
        "_parser",
        "_phase",
        "_pool",
        "_response",
        "_reusable",
        "_take_header",
        "_timeouts",
        "_timer",
        "_timer_at",
        "_total_at",
        "_transport",
        "_whole",
        "blocks",
        "buffer_bytes",
        "heard",
        "loop",
        "on_body",
        "origin",
        "reading_paused",
        "sent_at",
        "served",
        "siblings",
    )

    def __init__(self, pool: Pool, origin: Origin) -> None:
        self.origin = origin
        self.buffer_bytes = pool.buffer_bytes
        self.served = 0
        """Answers received whole on this connection."""
        self.heard = False
        """Whether any byte of the present answer has come."""
        self.sent_at = 0.0
        self._pool = pool
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.blocks: list[bytes] = []
        """Of the body of the present answer, what came and was not read yet."""
        self.on_body = self.blocks.append  # a list's own method: a chunk of a stream takes no step of Python
        self._parser = httptools.HttpResponseParser(self)
        self._take_header: Callable[[tuple[bytes, bytes]], None] = _passed_over
        self._response: PoolResponse | None = None
        self.reading_paused = False
        """Whether the upstream is held back, as the answer's reader is behind."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        """When it fires; infinite without one."""
        self._deadline = math.inf
        self._heard_at = -math.inf
        """When something of a body came last."""
        self._total_at = math.inf
        self._phase = "first_byte"
        self._timeouts = Timeouts()

    # What the pool calls

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def exchange(self, request: UpstreamRequest, head: bytes, total_at: float) -> PoolResponse:
        """Write one request; the answer fills what is returned.

        Args:
            total_at: when the whole call's time is over.
        """
        transport, body, timeouts = self._transport, request.body, request.timeouts
        assert transport is not None
        response = self._response = PoolResponse(self)
        self._take_header = response.headers.append
        self.heard = self._whole = False
        self._expects_no_body = request.method == "HEAD"
        self._head_bytes = 0
        self._timeouts = timeouts
        self._total_at = total_at
        self._phase = "first_byte"
        self.sent_at = now = self.loop.time()
        self._deadline = when = now + timeouts.first_byte
        if when < self._timer_at or total_at < self._timer_at:
            self._set_timer()
        if len(body) <= _JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        return response

    def rest(self, seconds: float) -> None:
        """Idle from now on; closes itself after so long."""
        self._phase = "idle"
        self._total_at = math.inf
        self._deadline = when = self.loop.time() + seconds
        if when < self._timer_at:
            self._set_timer()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def give_up(self) -> None:
        """Its opening was broken off. uvloop then closes the transport without ever telling `connection_lost`."""
        self.close()
        self.connection_lost(None)

    # What the response calls

    def resume(self) -> None:
        """Read on, where reading is paused."""
        if self.reading_paused:
            self.reading_paused = False
            self._heard_at = now = self.loop.time()
            self._deadline = now + self._timeouts.between_bytes
            self._set_timer()
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def abandon(self) -> None:
        """The reader wants no more of this answer."""
        self._response = None
        self.close()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.siblings: OriginConnections
        self._pool.remember(self)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:
            # Nobody asked: the connection can no longer be trusted.
            self.close()
            return
        if not response.head_done:
            self.heard = True
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(self._not_http("it changed protocols unasked"))
            return
        except httptools.HttpParserError as error:
            if not self._whole:
                cause = error.__context__
                self._fail(cause if isinstance(cause, UpstreamError) else self._not_http(str(error)))
                return
            self._reusable = False
        if self._whole:
            self._finish()
        elif response.head_done:
            self._heard_at = now = self.loop.time()
            if not self.blocks:
                response.wake()
                return
            if self._phase == "first_byte":
                self._phase = "between_bytes"
                self._deadline = now + self._timeouts.between_bytes
                self._set_timer()
            if response.came(len(data)) and not self.reading_paused:
                self.reading_paused = True
                self._deadline = self._total_at
                assert self._transport is not None
                self._transport.pause_reading()
        elif self._head_bytes > self._pool.max_head_bytes:
            self._fail(self._head_too_large())

    def eof_received(self) -> None:
        """Nothing more will come: the transport closes."""

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is None:
            return  # it was given up before it was open, or has been forgotten already
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, math.inf
        self._pool.forget(self)
        response, self._response = self._response, None
        if response is None:
            return
        response.keep()
        if response.head_done and self._close_delimited and error is None:
            response.end()
        elif self.heard:
            why = reason_of(error) if error is not None else "the connection was closed"
            response.end(UpstreamBroken(f"{place(self.origin)} broke off in the middle of its answer: {why}."))
        else:
            why = reason_of(error) if error is not None else "the connection was closed"
            response.end(UpstreamClosed(f"{place(self.origin)} did not answer: {why}."))

    # What the parser calls

    def on_message_begin(self) -> None:
        if self._whole:  # a stray one
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._take_header((name.lower(), value))

    def on_headers_complete(self) -> None:
        response = self._response
        if response is None or self._whole:
            return
        if self._head_bytes > self._pool.max_head_bytes and not _head_fits(response, self._pool.max_head_bytes):
            raise self._head_too_large()
        response.status = status = self._parser.get_status_code()
        if status < 200:
            return
        names = list(map(_name_of, response.headers))
        chunked = b"transfer-encoding" in names
        if chunked and not _chunked_alone(response.headers):
            raise self._not_http("it used a Transfer-Encoding other than chunked")
        self._close_delimited = not (chunked or b"content-length" in names or status in (204, 304))
        response.head_done = True
        self._take_header = _passed_over
        if self._expects_no_body:
            response.keep()
            self._whole, self._reusable = True, False

    def on_message_complete(self) -> None:
        response = self._response
        if response is None or self._whole:
            return
        if not response.head_done:
            response.reset()
            self._take_header = response.headers.append
            return
        response.keep()
        self._whole = True
        self._reusable = self._parser.should_keep_alive()

    # Deadlines

    def _set_timer(self) -> None:
        """Let the timer fire at the deadline, if it would not fire before."""
        when = min(self._deadline, self._total_at)
        if when < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_at(when, self._timer_fired)
            self._timer_at = when

    def _timer_fired(self) -> None:
        self._timer, self._timer_at = None, math.inf
        now = self.loop.time()
        deadline = self._deadline
        if self._phase == "between_bytes":  # which begins anew with all that comes
            deadline = max(deadline, self._heard_at + self._timeouts.between_bytes)
        self._deadline = deadline
        if now < min(deadline, self._total_at):
            self._set_timer()
        elif self._response is None:
            self.close()
        elif now >= self._total_at:
            self._fail(UpstreamTimeout("total", self._timeouts.total))
        else:
            self._fail(UpstreamTimeout(self._phase, getattr(self._timeouts, self._phase)))

    # Ends

    def _finish(self) -> None:
        """The answer is whole: hand the connection back, then wake the reader."""
        response, self._response = self._response, None
        assert response is not None
        transport = self._transport
        if self.reading_paused:
            self.reading_paused = False
            if transport is not None and not transport.is_closing():
                transport.resume_reading()
        self.served += 1
        if self._reusable and transport is not None and transport.get_write_buffer_size() == 0:
            self._pool.give_back(self)
        else:
            self.close()
        response.end()

    def _fail(self, error: UpstreamError) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.keep()
            response.end(error)
        self.close()

    def _not_http(self, reason: str) -> UpstreamProtocolError:
        return UpstreamProtocolError(f"{place(self.origin)} answered with something that is not HTTP/1.1: {reason}.")

    def _head_too_large(self) -> UpstreamProtocolError:
        return self._not_http(f"its head is larger than {self._pool.max_head_bytes} bytes")


def _passed_over(header: tuple[bytes, bytes]) -> None:
    """A trailer, or of a stray answer behind the one that was asked for."""


def _chunked_alone(headers: Headers) -> bool:
    return all(value.strip().lower() == b"chunked" for name, value in headers if name == b"transfer-encoding")


def _head_fits(response: PoolResponse, limit: int) -> bool:
    return sum(len(name) + len(value) + 4 for name, value in response.headers) <= limit
