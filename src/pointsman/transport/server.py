"""The native HTTP/1.1 server: `serve` listens, a task answers each request, and one coarse clock watches every wait."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
import traceback
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from .body_budget import BodyBudget
from .http import Handler, HttpRequest, Tells
from .limits import LAST_REQUESTS_SECONDS, RunningServer, ServerLimits
from .listening import end_listening
from .responder import Answer
from .server_protocol import Connection
from .wire import ALWAYS, OVER_TLS, header_block, internal_error, plainly, status_line, stopping

__all__ = ["NativeServer", "RunningServer", "ServerLimits", "serve"]

log = logging.getLogger(__name__)

_BACKLOG = 2048
_CANCEL_SECONDS = 5.0
_FAREWELL_SECONDS = 1.0
"""What a handler that is cancelled at the end still says must have reached its client by then."""
_REFUSED_AT_ONCE = 64
"""Connections above the limit that are still told 503; beyond them they are dropped."""


async def serve(
    handler: Handler,
    *,
    host: str,
    port: int,
    limits: ServerLimits | None = None,
    sock: socket.socket | None = None,
    ssl_context: ssl.SSLContext | None = None,
    tells: Tells = plainly,
) -> NativeServer:
    """Listen on `host` and `port` (0: any free one), or on `sock`, which is taken over.

    Args:
        tells: the words in which the server itself refuses.

    Raises:
        OSError: the address cannot be had.
    """
    server = NativeServer(handler, limits or ServerLimits(), tells)
    await server.listen(host, port, sock, ssl_context)
    return server


class NativeServer:
    """A running server. Its connections share the limits, a clock read once a tick, and the cached Date header."""

    def __init__(self, handler: Handler, limits: ServerLimits, tells: Tells = plainly) -> None:
        self.handler = handler
        self.tells = tells
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.clock = self.loop.time()
        self.connections: set[Connection] = set()
        self.tasks: dict[Answer, asyncio.Task[None]] = {}
        """What answers each request."""
        self.bodies = BodyBudget(limits)
        self.leaving = False
        self.closing = False
        """No request is taken any more, over whatever connection."""
        self._listening_ended = False
        self._something_ended = asyncio.Event()
        shortest = min(limits.header_timeout, limits.body_timeout, limits.write_timeout, limits.keep_alive_timeout)
        self._tick = min(1.0, max(0.02, shortest / 4))
        self._head_starts: dict[int, bytes] = {}
        self._common = b""
        self._always = ALWAYS
        self._date = 0
        self._listener: asyncio.Server | None = None
        self._tls: dict[str, Any] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._port = 0

    @property
    def port(self) -> int:
        return self._port

    async def listen(
        self, host: str, port: int, sock: socket.socket | None, ssl_context: ssl.SSLContext | None
    ) -> None:
        if ssl_context is not None:
            self._always = (*ALWAYS, *OVER_TLS)
            self._tls = {
                "ssl": ssl_context,
                # A handshake counts as a part of the first head: who does not end it in time is dropped.
                "ssl_handshake_timeout": self.limits.header_timeout,
                "ssl_shutdown_timeout": _CANCEL_SECONDS,
            }
        where: dict[str, Any] = {"sock": sock} if sock is not None else {"host": host, "port": port}
        self._listener = await self.loop.create_server(self._accept, **where, **self._tls, backlog=_BACKLOG)
        address = self._listener.sockets[0].getsockname()
        self._port = address[1] if isinstance(address, tuple) else 0
        self._sweep()

    def _accept(self) -> Connection:
        return Connection(self)

    def leave(self) -> None:
        self.leaving = True
        for connection in self.connections:
            connection.last = True

    async def close(self, grace: float, *, ending: Callable[[], None] = lambda: None) -> None:
        """See `RunningServer`."""
        if not self._listening_ended:
            self._listening_ended = True
            self.leave()
            if self._listener is not None:
                await end_listening(self._listener, self._accept, **self._tls)
            if self.connections:
                await asyncio.sleep(min(grace, LAST_REQUESTS_SECONDS))
        self.closing = True
        for connection in tuple(self.connections):
            connection.close_if_idle()
        if not await self._emptied_within(grace):
            ending()
            for answer in tuple(self.tasks):
                self.cancel(answer)
            for connection in tuple(self.connections):
                connection.give_up()
            if not await self._emptied_within(_FAREWELL_SECONDS):
                for connection in tuple(self.connections):
                    connection.abort()
                if not await self._emptied_within(_CANCEL_SECONDS):
                    log.error("%d handlers did not end when they were cancelled", len(self.tasks))
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._listener is not None:
            await self._listener.wait_closed()

    async def _emptied_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while self.connections or self.tasks:
                    self._something_ended.clear()
                    await self._something_ended.wait()
        except TimeoutError:
            return False
        return True

    def forget(self, connection: Connection) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        self._something_ended.set()

    def cancel(self, answer: Answer) -> None:
        """Cancel what answers a request, if that has not ended."""
        task = self.tasks.get(answer)
        if task is not None:
            # A task cancelled before its first step never reaches its own `finally`.
            task.add_done_callback(lambda _: self._ended(answer))
            task.cancel()

    def _ended(self, answer: Answer) -> None:
        self.tasks.pop(answer, None)
        self._something_ended.set()

    def admit(self, connection: Connection) -> bool:
        """Take a new connection in; False when it is to be dropped."""
        count = len(self.connections)
        if self.closing or count >= self.limits.max_connections + _REFUSED_AT_ONCE:
            return False
        connection.refuse_all = count >= self.limits.max_connections
        connection.last = self.leaving
        self.connections.add(connection)
        return True

    def run(self, request: HttpRequest, answer: Answer) -> asyncio.Task[None]:
        task = self.tasks[answer] = self.loop.create_task(self._answer(request, answer))
        return task

    def head_start(self, status: int) -> bytes:
        """The status line, and the headers of every answer."""
        start = self._head_starts.get(status)
        if start is None:
            start = self._head_starts[status] = status_line(status) + self._common
        return start

    async def _answer(self, request: HttpRequest, answer: Answer) -> None:
        try:
            await self.handler(request, answer)
            if not answer.finished:
                log.error("the handler of %s %s ended without finishing its answer", request.method, request.path)
                self._fail(request.path, answer)
        except asyncio.CancelledError:
            if answer.started:
                answer.abort()
            else:  # a client who has left is told nothing by this
                answer.send(503, *stopping(self.tells, request.path))
            raise
        except Exception as error:
            # Neither the message nor the locals are logged: either may quote the request's body.
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("%s in the handler of %s %s\n%s", type(error).__name__, request.method, request.path, frames)
            self._fail(request.path, answer)
        finally:
            del self.tasks[answer]
            if self.closing:
                self._something_ended.set()

    def _fail(self, path: str, answer: Answer) -> None:
        if not answer.started:
            answer.send(500, *internal_error(self.tells, path))
        else:
            answer.abort()

    def _sweep(self) -> None:
        now = self.clock = self.loop.time()
        seconds = int(time.time())
        if seconds != self._date:
            self._date = seconds
            date = (b"date", formatdate(seconds, usegmt=True).encode())
            self._common = header_block(((b"server", b"pointsman"), date, *self._always), frozenset())
            self._head_starts.clear()
        for connection in tuple(self.connections):
            connection.sweep(now, self._tick)
        self._sweeper = self.loop.call_later(self._tick, self._sweep)
