"""The fallback data plane: the same handler as an ASGI application, and uvicorn to serve it.

What a handler sees is the same. What a hostile client may do is uvicorn's affair, which is laxer than `head.py`: it
serves requests without a Host header, `Transfer-Encoding: gzip, chunked`, and heads that take for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .asgi import Message, Receive, Send
from .body_budget import SMALL_BODY, BodyBudget
from .chunked import body_too_large
from .head import Refusal
from .http import Handler, Headers, HttpRequest, Tells
from .limits import LAST_REQUESTS_SECONDS, RunningServer, ServerLimits
from .listening import end_listening
from .uvicorn_protocol import http_protocol
from .wire import ALWAYS, FRAMING, OVER_TLS, header_block, internal_error, plainly, stopping, with_patience

if TYPE_CHECKING:
    import ssl

    import uvicorn

log = logging.getLogger(__name__)

_BODILESS = frozenset({204, 304})
_CLOSE = (b"connection", b"close")
_FAREWELL_SECONDS = 1.0
"""What a handler that is cancelled at the end still says must have reached its client by then."""


class AsgiServer:
    """A `Handler` as an ASGI application: bodies read whole and bounded, a leaving client cancels the handler."""

    def __init__(self, handler: Handler, limits: ServerLimits | None = None, tells: Tells = plainly) -> None:
        self._handler = handler
        self._tells = tells
        self._limits = limits or ServerLimits()
        self.bodies = BodyBudget(self._limits)
        self._running: set[asyncio.Task[None]] = set()
        self._leaving = False

    def leave(self) -> None:
        """Close every connection behind its next answer."""
        self._leaving = True

    def end(self) -> None:
        """Cancel whatever runs still; what has not begun to answer is told 503."""
        for handling in tuple(self._running):
            handling.cancel()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            raise RuntimeError(f"{scope['type']!r} is not served here")

    async def _answer(self, scope: Any, receive: Receive, send: Send) -> None:
        held = _Held(self.bodies)
        try:
            await self._answer_held(scope, receive, send, held)
        finally:
            held.let_go()

    async def _answer_held(self, scope: Any, receive: Receive, send: Send, held: _Held) -> None:
        answer = AsgiAnswer(scope["method"], self._limits.write_buffer_bytes, leaving=lambda: self._leaving)
        try:
            body = await self._read_body(scope["headers"], receive, held)
        except Refusal as refusal:
            told, refused = self._tells(scope["path"], refusal.status, refusal.code, str(refusal))
            if refusal.status == 503:
                told = with_patience(told)
            answer.send(refusal.status, [*told, (b"connection", b"close")], refused)
            await answer.pump(send)
            return
        if body is None:
            return
        client = scope.get("client")
        request = HttpRequest(
            scope["method"],
            scope["path"],
            scope["query_string"],
            list(scope["headers"]),
            body,
            client[0] if client else None,
        )
        handling = asyncio.create_task(self._handle(request, answer))
        self._running.add(handling)
        handling.add_done_callback(self._running.discard)
        handling.add_done_callback(lambda _: held.let_go())
        leaving = asyncio.create_task(_left(receive))
        pumping = asyncio.create_task(answer.pump(send))
        try:
            await asyncio.wait({leaving, pumping}, return_when=asyncio.FIRST_COMPLETED)
            if pumping.done():
                # The answer is whole or broken off; what the handler still does may end in peace.
                await asyncio.wait({handling})
                pumping.result()
            else:
                answer.detach()
                if not answer.finished:
                    handling.cancel()
                await asyncio.wait({handling})
        finally:
            for task in (handling, leaving, pumping):
                task.cancel()
            await asyncio.gather(handling, leaving, pumping, return_exceptions=True)

    async def _read_body(self, headers: Headers, receive: Receive, held: _Held) -> bytes | None:
        """The whole body, None when the client left. Raises Refusal (408, 413, 503)."""
        limits = self._limits
        most = limits.max_body_bytes
        for name, value in headers:
            if name == b"content-length" and value.isdigit() and int(value) > most:
                raise body_too_large(most)
        parts: list[bytes] = []
        size = 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            late = began + limits.body_timeout + size / limits.min_body_rate
            try:
                async with asyncio.timeout_at(min(loop.time() + limits.body_timeout, late)):
                    message = await receive()
            except TimeoutError:
                raise Refusal(408, "request_timeout", "The request body took too long to arrive.") from None
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size > most:
                raise body_too_large(most)
            held.reached(size)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def _handle(self, request: HttpRequest, answer: AsgiAnswer) -> None:
        try:
            await self._handler(request, answer)
            if not answer.finished:
                log.error("the handler of %s %s ended without finishing its answer", request.method, request.path)
        except asyncio.CancelledError:
            if not answer.started:  # a client who has left is told nothing by this
                answer.send(503, *stopping(self._tells, request.path))
            raise
        except Exception as error:
            # Neither the message nor the locals are logged: either may quote the request's body.
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("%s in the handler of %s %s\n%s", type(error).__name__, request.method, request.path, frames)
        finally:
            if not answer.started:
                answer.send(500, *internal_error(self._tells, request.path))
            elif not answer.finished:
                answer.abort()


class _Held:
    """What one request's body takes of the budget."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._size = 0

    def reached(self, size: int) -> None:
        """The body has `size` bytes now. Raises Refusal where there is no room for them."""
        if size > SMALL_BODY:
            self._budget.take(size - self._size)
            self._size = size

    def let_go(self) -> None:
        self._budget.give_back(self._size)
        self._size = 0


class AnswerBrokenOff(Exception):
    """Raised into the ASGI server, which then closes the connection without ending the answer."""


class AsgiAnswer:
    """A `Responder` whose writes queue until `pump` has sent them on."""

    def __init__(self, method: str, high_water: int, *, leaving: Callable[[], bool] = lambda: False) -> None:
        self._without_body = method == "HEAD"
        self._leaving = leaving
        self._high_water = high_water
        self._queue: deque[tuple[Message, int]] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._gone = False
        self._broken = False
        self.started = False
        self.finished = False

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        if self.started:
            raise RuntimeError("the answer has been started already")
        start = _start(status, headers, close=self._leaving())
        if status in _BODILESS:
            body = b""
        else:
            start["headers"].append((b"content-length", b"%d" % len(body)))
        self.started = self.finished = True
        self._put(start, 0)
        self._put({"type": "http.response.body", "body": b"" if self._without_body else body}, len(body))

    def start(self, status: int, headers: Headers) -> None:
        if self.started:
            raise RuntimeError("the answer has been started already")
        start = _start(status, headers, close=self._leaving())
        self.started = True
        self._put(start, 0)

    def write(self, data: bytes) -> bool:
        if not self.started or (self.finished and not self._gone):
            raise RuntimeError("the answer is not under way")
        if data and not self._without_body:
            self._put({"type": "http.response.body", "body": data, "more_body": True}, len(data))
        return not self._drained.is_set()

    async def drain(self) -> None:
        await self._drained.wait()

    def finish(self) -> None:
        if not self.started:
            raise RuntimeError("the answer has not been started")
        if not self.finished:
            self.finished = True
            self._put({"type": "http.response.body", "body": b""}, 0)

    def abort(self) -> None:
        if not self.finished:
            self.started = self.finished = self._broken = True
            self._wake.set()

    def detach(self) -> None:
        """The client has gone: nothing is kept any more."""
        self._gone = True
        self._queue.clear()
        self._drained.set()
        self._wake.set()

    async def pump(self, send: Send) -> None:
        """Send on what is written until the answer ends. Raises AnswerBrokenOff when it was aborted."""
        while True:
            while self._queue:
                message, size = self._queue.popleft()
                await send(message)
                self._queued -= size
                if self._queued <= self._high_water // 4:
                    self._drained.set()
            if self._broken:
                raise AnswerBrokenOff
            if self.finished or self._gone:
                return
            self._wake.clear()
            await self._wake.wait()

    def _put(self, message: Message, size: int) -> None:
        if self._gone:
            return
        self._queue.append((message, size))
        self._queued += size
        if self._queued > self._high_water:
            self._drained.clear()
        self._wake.set()


async def serve_asgi(
    handler: Handler,
    *,
    host: str,
    port: int,
    limits: ServerLimits | None = None,
    sock: socket.socket | None = None,
    ssl_context: ssl.SSLContext | None = None,
    tells: Tells = plainly,
) -> RunningServer:
    """Serve a handler with uvicorn, in the running loop and without its signal handlers; see `server.serve`.

    Raises:
        OSError: the address cannot be had.
    """
    limits = limits or ServerLimits()
    if sock is None:
        family, _, _, _, address = (
            await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        )[0]
        sock = socket.create_server(address[:2], family=family, backlog=2048)
    sock.setblocking(False)
    running = UvicornServer(AsgiServer(handler, limits, tells), limits, sock, ssl_context)
    await running.start()
    return running


class UvicornServer:
    """uvicorn, run in the loop of its owner."""

    def __init__(
        self, app: AsgiServer, limits: ServerLimits, sock: socket.socket, ssl_context: ssl.SSLContext | None
    ) -> None:
        address = sock.getsockname()
        self.port: int = address[1] if isinstance(address, tuple) else 0
        self._sock = sock
        self._app = app
        self._server = _quiet_uvicorn(app, limits, ssl_context)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._sock]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise OSError("uvicorn ended at its start")
            await asyncio.sleep(0.005)

    def leave(self) -> None:
        self._app.leave()

    async def close(self, grace: float, *, ending: Callable[[], None] = lambda: None) -> None:
        """See `RunningServer`."""
        assert self._task is not None
        self._app.leave()
        if grace > 0 and not self._server.should_exit:
            for listener in self._server.servers:
                await end_listening(listener, self._accept, ssl=self._server.config.ssl)
            await asyncio.sleep(min(grace, LAST_REQUESTS_SECONDS))
        self._server.should_exit = True
        if await self._ended_within(grace + 0.5):  # it looks ten times a second whether it is to end
            return
        ending()
        self._app.end()
        if await self._ended_within(_FAREWELL_SECONDS):
            return
        self._server.force_exit = True
        running = tuple(self._server.server_state.tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for connection in tuple(self._server.server_state.connections):
            connection.transport.abort()
        await self._task

    def _accept(self) -> asyncio.Protocol:
        """As uvicorn makes them."""
        config, server = self._server.config, self._server
        made: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=server.server_state, app_state=server.lifespan.state
        )
        return made

    async def _ended_within(self, seconds: float) -> bool:
        assert self._task is not None
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._task)
        except TimeoutError:
            return False
        return True


def _quiet_uvicorn(app: AsgiServer, limits: ServerLimits, ssl_context: ssl.SSLContext | None) -> uvicorn.Server:
    import uvicorn

    class QuietServer(uvicorn.Server):
        """The process's signals belong to whoever runs the loop."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    logging.getLogger("uvicorn.error").addFilter(_not_on_purpose)
    config = uvicorn.Config(
        app,
        loop="none",
        http=http_protocol(),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=[
            ("server", "pointsman"),
            *((name.decode(), value.decode()) for name, value in (*ALWAYS, *(OVER_TLS if ssl_context else ()))),
        ],
        ssl_context_factory=None if ssl_context is None else lambda config, default: ssl_context,
        proxy_headers=False,
        limit_concurrency=limits.max_connections,
        timeout_keep_alive=max(1, round(limits.keep_alive_timeout)),
        backlog=2048,
    )
    return QuietServer(config)


def _not_on_purpose(record: logging.LogRecord) -> bool:
    """Whether a record is worth a line: an answer that was broken off or cancelled here is not an error."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, AnswerBrokenOff | asyncio.CancelledError)


def _start(status: int, headers: Headers, *, close: bool) -> Message:
    header_block(headers, FRAMING)  # refuses what would end a header's line
    kept = [pair for pair in headers if pair[0] not in FRAMING or pair == _CLOSE]
    if close and _CLOSE not in kept:
        kept.append(_CLOSE)
    return {"type": "http.response.start", "status": status, "headers": kept}


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
