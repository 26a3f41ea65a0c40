"""The answer to one request, on the native server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .http import Headers
from .wire import FRAMING, header_block

if TYPE_CHECKING:
    from .server_protocol import Connection

_BODILESS = frozenset({204, 304})
_JOINED_BYTES = 64 * 1024
"""Up to here head and body are copied into one write; above, a copy costs more than a second write."""


class Answer(msgspec.Struct, eq=False):
    """A `Responder`. Once the client has gone, or the answer is finished, it holds no connection and writes nowhere."""

    _connection: Connection | None
    _without_body: bool
    _http10: bool
    _keep_alive: bool
    _chunked: bool = False
    _head: bytes = b""
    """The head of a streamed answer, waiting to leave together with the first piece."""
    started: bool = False
    finished: bool = False

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        if self.started:
            raise RuntimeError("the answer has been started already")
        connection = self._connection
        if connection is None:
            self.started = self.finished = True
            return
        head = self._compose(connection, status, headers)
        self.started = self.finished = True
        if status in _BODILESS:
            connection.write(head + b"\r\n")
        elif self._without_body:
            connection.write(b"%bcontent-length: %d\r\n\r\n" % (head, _length(headers, body)))
        elif len(body) <= _JOINED_BYTES:
            connection.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        else:
            connection.write(b"%bcontent-length: %d\r\n\r\n" % (head, len(body)))
            connection.write(body)
        self._connection = None
        connection.answered(self._keep_alive)

    def start(self, status: int, headers: Headers) -> None:
        if self.started:
            raise RuntimeError("the answer has been started already")
        connection = self._connection
        if connection is None:
            self.started = True
            return
        bodiless = status in _BODILESS
        if self._http10 and not bodiless:
            self._keep_alive = False
        head = self._compose(connection, status, headers)
        self.started = True
        self._without_body |= bodiless
        self._chunked = not (bodiless or self._http10)
        self._head = head + (b"transfer-encoding: chunked\r\n\r\n" if self._chunked else b"\r\n")
        connection.loop.call_soon(self._flush_head)

    def write(self, data: bytes) -> bool:
        connection = self._connection
        if connection is None or self._without_body or not data:
            if not self.started:
                raise RuntimeError("the answer is not under way")
            return False
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        elif not self.started:
            raise RuntimeError("the answer is not under way")
        if self._head:
            head, self._head = self._head, b""
            data = head + data
        connection.write(data)
        return connection.congested

    async def drain(self) -> None:
        connection = self._connection
        if connection is not None and connection.congested:
            self._flush_head()
            await connection.drained()

    def finish(self) -> None:
        if not self.started:
            raise RuntimeError("the answer has not been started")
        connection = self._connection
        if self.finished or connection is None:
            self.finished = True
            return
        self.finished = True
        head, self._head = self._head, b""
        if self._chunked and not self._without_body:
            connection.write(head + b"0\r\n\r\n")
        elif head:
            connection.write(head)
        self._connection = None
        connection.answered(self._keep_alive)

    def abort(self) -> None:
        connection = self._connection
        if self.finished or connection is None:
            return
        self._flush_head()
        self.started = self.finished = True
        self._connection = None
        connection.break_off(framed=self._chunked)

    def detach(self) -> None:
        """The client has gone."""
        self._connection = None

    def _flush_head(self) -> None:
        if self._head and self._connection is not None:
            head, self._head = self._head, b""
            self._connection.write(head)

    def _compose(self, connection: Connection, status: int, headers: Headers) -> bytes:
        """The head up to the line that frames the body. Raises UnsafeHeader."""
        head = connection.head_start(status) + header_block(headers, FRAMING)
        if connection.last:
            self._keep_alive = False
        if not self._keep_alive:
            head += b"connection: close\r\n"
        elif self._http10:
            head += b"connection: keep-alive\r\n"
        return head


def _length(headers: Headers, body: bytes) -> int:
    """Of the body that an answer to HEAD does not have; it may name the one that GET would have."""
    if not body:
        for name, value in headers:
            if name == b"content-length" and value.isdigit():
                return int(value)
    return len(body)
