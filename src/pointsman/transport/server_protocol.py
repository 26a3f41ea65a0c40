"""One client connection of the native server: reads whole requests, one at a time, and answers in their order."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from pointsman.core.lifecycle import Stopping

from .body_budget import SMALL_BODY
from .chunked import ChunkedBody, body_too_large
from .head import Refusal, RequestHead, malformed
from .head_memory import HeadMemory
from .http import HttpRequest
from .responder import Answer
from .wire import header_block, path_in, with_patience

if TYPE_CHECKING:
    from .server import NativeServer

_READING_HEAD, _READING_BODY, _ANSWERING, _LINGERING, _CLOSED = range(5)

_PIPELINED_BYTES = 64 * 1024
"""Bytes of further requests that are kept while one is answered; reading pauses above."""
_LINGER_SECONDS = 5.0
"""How long what a refused client still sends is read and thrown away: closing at once would reset the connection, and
the client would lose the answer that tells it why."""
_LINGER_BYTES = 256 * 1024 * 1024
_END_OF_HEAD = b"\r\n\r\n"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Connection(asyncio.Protocol):
    """States: reading a head, reading a body, answering, lingering after a refusal, closed."""

    __slots__ = (
        "_answer",
        "_body_began",
        "_body_left",
        "_body_parts",
        "_buffer",
        "_chunked_body",
        "_congestion",
        "_got",
        "_head",
        "_heads",
        "_held",
        "_lingered",
        "_longest_head",
        "_most_body",
        "_most_requests",
        "_reading_paused",
        "_scanned",
        "_served",
        "_server",
        "_since",
        "_state",
        "_transport",
        "_unsent",
        "congested",
        "head_start",
        "last",
        "loop",
        "peer",
        "refuse_all",
        "write",
    )

    def __init__(self, server: NativeServer) -> None:
        self._server = server
        self.loop = server.loop
        self._longest_head = server.limits.max_header_bytes - len(_END_OF_HEAD)
        self._most_body = server.limits.max_body_bytes
        self._most_requests = server.limits.max_requests_per_connection
        self.head_start = server.head_start
        self._transport: asyncio.Transport | None = None
        self.write: Callable[[bytes], None] = _nowhere
        """The transport's own, while there is one."""
        self._state = _READING_HEAD
        self._since = server.clock
        """When the present wait began, by the server's coarse clock."""
        self._buffer = b""
        self._scanned = 0
        """Up to where the buffer is known to hold no end of a head."""
        self._heads = HeadMemory(server.limits)
        self._head: RequestHead | None = None
        self._body_parts: list[bytes] = []
        self._body_left = 0
        self._body_began = 0.0
        self._got = 0
        """Bytes of the present body's reads."""
        self._held = 0
        """Bytes of it that the server's budget counts."""
        self._chunked_body: ChunkedBody | None = None
        self._answer: Answer | None = None
        self._served = 0
        """Requests that were read whole."""
        self.last = False
        """The connection closes behind its next answer."""
        self._reading_paused = False
        self._lingered = 0
        self._unsent = 0
        self._congestion: asyncio.Future[None] | None = None
        self.congested = False
        self.refuse_all = False
        """The server is full: whatever is asked is answered with 503."""
        self.peer: str | None = None

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.write = self._transport.write
        self._transport.set_write_buffer_limits(high=self._server.limits.write_buffer_bytes)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = peer[0]
            sock = transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._server.admit(self):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._state <= _READING_BODY:
            try:
                self._read(data)
            except Refusal as refusal:
                self._refuse(refusal, data)
        elif self._state == _ANSWERING:
            self._buffer += data
            if len(self._buffer) > _PIPELINED_BYTES and not self._reading_paused:
                self._reading_paused = True
                self._open_transport.pause_reading()
        elif self._state == _LINGERING:
            self._lingered += len(data)
            if self._lingered > _LINGER_BYTES:
                self._open_transport.abort()

    def eof_received(self) -> None:
        """A client that closes its side has left, as nginx sees it: the transport closes."""

    def connection_lost(self, error: Exception | None) -> None:
        self._server.forget(self)
        self._state = _CLOSED
        self._transport = None
        self.write = _nowhere
        self.congested = False
        self._buffer = b""
        self._body_parts = []
        self._chunked_body = None
        self._let_go()
        answer, self._answer = self._answer, None
        if answer is not None and not answer.finished:
            answer.detach()
            self._server.cancel(answer)
        self._wake()

    def pause_writing(self) -> None:
        self.congested = True
        self._since = self._server.clock
        self._unsent = self._open_transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        self.congested = False
        self._wake()
        if self._state == _ANSWERING and self._answer is None:
            self._next_request()

    # What an Answer calls

    async def drained(self) -> None:
        while self.congested:
            if self._congestion is None or self._congestion.done():
                self._congestion = self.loop.create_future()
            await self._congestion

    def answered(self, keep_alive: bool) -> None:
        """The answer is written. What its handler still does runs on beside the next request."""
        self._answer = None
        if not keep_alive:
            self.close()
        elif not self.congested:
            self._next_request()

    def break_off(self, *, framed: bool) -> None:
        """Close in the middle of an answer. `framed`: the missing last chunk tells the client; else a reset must."""
        self._answer = None
        transport = self._transport
        if transport is None:
            return
        self._state = _CLOSED
        if framed:
            transport.close()
            return
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()

    # What the server calls

    def sweep(self, now: float, slack: float) -> None:
        """Close the connection where a wait has lasted too long. `slack`: how far the coarse clock may be behind."""
        limits, waited = self._server.limits, now - self._since - slack
        if self.congested:
            unsent = self._open_transport.get_write_buffer_size()
            if unsent != self._unsent:
                self._unsent, self._since = unsent, now
            elif waited > limits.write_timeout:
                self._open_transport.abort()
        elif self._state == _READING_HEAD:
            fresh = not self._buffer and self._served
            if waited > (limits.keep_alive_timeout if fresh else limits.header_timeout):
                if self._buffer:
                    self._refuse(Refusal(408, "request_timeout", "The request head took too long to arrive."))
                else:
                    self.close()
        elif self._state == _READING_BODY:
            allowed = limits.body_timeout + self._got / limits.min_body_rate
            if waited > limits.body_timeout or now - self._body_began - slack > allowed:
                self._refuse(Refusal(408, "request_timeout", "The request body took too long to arrive."))
        elif (self._state == _LINGERING and waited > _LINGER_SECONDS) or (
            self._state == _CLOSED and waited > limits.write_timeout
        ):
            self._open_transport.abort()

    def close_if_idle(self) -> None:
        if self._state == _LINGERING or (self._state == _READING_HEAD and not self._buffer):
            self.close()

    def give_up(self) -> None:
        """Refuse a request that is still arriving."""
        if self._state == _READING_BODY or (self._state == _READING_HEAD and self._buffer):
            self._refuse(_stopping())

    def close(self) -> None:
        """Send what is written, then close."""
        self._state = _CLOSED
        self._since = self._server.clock
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # Reading

    @property
    def _open_transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    @property
    def _open_head(self) -> RequestHead:
        assert self._head is not None
        return self._head

    def _read(self, data: bytes) -> None:
        if self._state == _READING_HEAD:
            if self.refuse_all:
                raise Refusal(503, "overloaded", "The server has as many connections as it may have.")
            kept = len(self._buffer)
            if kept:
                data = self._buffer + data
            if kept < 2 and data.startswith(b"\r\n"):
                # RFC 9112, 2.2: one empty line before a request is passed over.
                data = data[2:]
            end = data.find(_END_OF_HEAD, self._scanned)
            if end > self._longest_head:
                raise self._head_too_large(data)
            if end < 0:
                self._keep_part_of_head(data)
                return
            end += len(_END_OF_HEAD)
            head = self._heads.read(data[:end])
            self._scanned = 0
            self._buffer = b""
            rest = data[end:]
            length = head.content_length
            if length == len(rest) and length <= self._most_body and not head.chunked and not self._server.closing:
                self._dispatch(head, rest, b"")
            else:
                self._begin_body(head, rest)
        elif self._chunked_body is not None:
            self._hold(data)
            self._read_chunked(self._chunked_body, data)
        else:
            self._hold(data)
            self._body_parts.append(data[: self._body_left])
            rest = data[self._body_left :]
            self._body_left -= len(data) - len(rest)
            if not self._body_left:
                body = b"".join(self._body_parts)
                self._body_parts = []
                self._dispatch(self._open_head, body, rest)

    def _keep_part_of_head(self, data: bytes) -> None:
        if len(data) > self._longest_head + len(_END_OF_HEAD):
            raise self._head_too_large(data)
        if not self._buffer and data:
            self._since = self._server.clock
        begin = self._scanned
        if data[begin - 1 : begin] == b"\r":
            begin -= 1
        fresh = data[begin:]
        if fresh.count(b"\n") != fresh.count(b"\r\n"):
            raise malformed("A line of the request head does not end in CR LF.")
        if b"\n" not in data and len(data) > self._server.limits.max_target_bytes + 64:
            raise self._head_too_large(data)
        self._buffer = data
        self._scanned = max(0, len(data) - 3)

    def _head_too_large(self, data: bytes) -> Refusal:
        limits = self._server.limits
        line_end = data.find(b"\r\n")
        if line_end < 0 or line_end > limits.max_target_bytes + 64:
            return Refusal(414, "uri_too_long", f"The request target is longer than {limits.max_target_bytes} bytes.")
        return Refusal(431, "headers_too_large", f"The request head is larger than {limits.max_header_bytes} bytes.")

    def _begin_body(self, head: RequestHead, rest: bytes) -> None:
        self._head = head
        if self._server.closing:
            raise _stopping()
        length, max_bytes = head.content_length, self._most_body
        if length > max_bytes:
            raise body_too_large(max_bytes)
        if head.expects_continue and not rest and (length or head.chunked):
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not head.chunked and len(rest) >= length:
            self._dispatch(head, rest[:length], rest[length:])
            return
        self._state = _READING_BODY
        self._body_began = self._server.clock
        self._got = 0
        self._hold(rest)
        if head.chunked:
            self._chunked_body = ChunkedBody(max_bytes)
            self._read_chunked(self._chunked_body, rest)
        else:
            self._body_parts = [rest]
            self._body_left = length - len(rest)

    def _hold(self, data: bytes) -> None:
        """Note that bytes of a body came. Raises Refusal where the server holds too many."""
        self._since = self._server.clock
        self._got += len(data)
        if self._got > SMALL_BODY:
            more = self._got - self._held
            self._server.bodies.take(more)
            self._held += more

    def _let_go(self) -> None:
        if self._held:
            self._server.bodies.give_back(self._held)
            self._held = 0

    def _hold_until(self, task: asyncio.Task[None]) -> None:
        """Let go of a body when what answers it has ended."""
        held, self._held = self._held, 0
        task.add_done_callback(lambda _: self._server.bodies.give_back(held))

    def _read_chunked(self, chunked: ChunkedBody, data: bytes) -> None:
        rest = chunked.feed(data)
        if rest is not None:
            self._chunked_body = None
            self._dispatch(self._open_head, bytes(chunked.body), rest)

    def _dispatch(self, head: RequestHead, body: bytes, rest: bytes) -> None:
        """Have a whole request answered. `rest`: what came behind it."""
        self._head = None
        self._buffer = rest
        self._state = _ANSWERING
        self._served = served = self._served + 1
        if served >= self._most_requests:
            self.last = True
        self._answer = answer = Answer(self, head.method == "HEAD", head.http10, head.keep_alive)
        task = self._server.run(
            HttpRequest(head.method, head.path, head.query, head.headers, body, self.peer, head.same), answer
        )
        if self._held:
            self._hold_until(task)

    def _next_request(self) -> None:
        self._state = _READING_HEAD
        self._since = self._server.clock
        if self._server.closing and not self._buffer:
            self.close()
            return
        if self._reading_paused:
            self._reading_paused = False
            if not self._open_transport.is_closing():  # uvloop raises on a transport that is
                self._open_transport.resume_reading()
        if self._buffer:
            data, self._buffer = self._buffer, b""
            try:
                self._read(data)
            except Refusal as refusal:
                self._refuse(refusal, data)

    def _refuse(self, refusal: Refusal, data: bytes = b"") -> None:
        """Answer for the server itself, then read on for a while so that the client gets to see it.

        Args:
            data: what was read last.
        """
        path = self._head.path if self._head is not None else path_in(self._buffer + data)
        status = refusal.status
        told, body = self._server.tells(path, status, refusal.code, str(refusal))
        headers = [*told, (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        if status == 503:
            headers = with_patience(headers)
        elif status == 405:
            headers.append((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
        self._state = _LINGERING
        self._since = self._server.clock
        self._buffer = b""
        self._body_parts = []
        self._chunked_body = None
        self._let_go()
        transport = self._open_transport
        transport.write(self._server.head_start(status) + header_block(headers, frozenset()) + b"\r\n" + body)
        if transport.can_write_eof():
            transport.write_eof()

    def _wake(self) -> None:
        waiter, self._congestion = self._congestion, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _nowhere(data: bytes) -> None:
    """The client has gone."""


def _stopping() -> Refusal:
    return Refusal(503, Stopping.code, Stopping().message)
