"""An ASGI application (FastAPI) behind the seam: loaded at its first request, run for one whole request at a time."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from .http import HttpRequest, Responder

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

ASGI_VERSION = {"version": "3.0", "spec_version": "2.4"}
_LIFESPAN_SECONDS = 60.0

log = logging.getLogger(__name__)


class AsgiBridge:
    """Calls `load_app` once, in a thread, when the first request comes, and runs the app's lifespan if it has one.

    A client that leaves cancels the app's call; once the answer is whole the app sees `http.disconnect` instead, so
    that background work ends as it should.
    """

    def __init__(self, load_app: Callable[[], ASGIApp]) -> None:
        self._load_app = load_app
        self._load_lock = threading.Lock()
        self._app: ASGIApp | None = None
        self._loading: asyncio.Task[ASGIApp] | None = None
        self._lifespan: _Lifespan | None = None

    async def __call__(self, request: HttpRequest, respond: Responder, state: Mapping[str, Any]) -> None:
        """Answer one request; `state` becomes the scope's, as a copy.

        Raises:
            Exception: what `load_app` or the app raised.
            RuntimeError: the app ended without a whole answer.
        """
        app = self._app if self._lifespan is not None else None
        if app is None:
            app = await self._load()
        exchange = _Exchange(request, respond)
        await app(self._scope(request, state), exchange.receive, exchange.send)
        if not exchange.finished.is_set():
            raise RuntimeError("the ASGI application ended without a whole answer")

    async def close(self) -> None:
        """Run the app's shutdown, if it was ever started."""
        if self._lifespan is not None:
            await self._lifespan.shutdown()

    async def _load(self) -> ASGIApp:
        if self._loading is None or (self._loading.done() and (self._loading.cancelled() or self._loading.exception())):
            self._loading = asyncio.create_task(self._load_and_start())
        # A client that leaves must not take the loading with it.
        return await asyncio.shield(self._loading)

    async def _load_and_start(self) -> ASGIApp:
        app = await asyncio.get_running_loop().run_in_executor(None, self._load_once)
        lifespan = _Lifespan(app)
        await lifespan.startup()
        self._lifespan = lifespan
        return app

    def _load_once(self) -> ASGIApp:
        with self._load_lock:
            if self._app is None:
                self._app = self._load_app()
            return self._app

    def _scope(self, request: HttpRequest, state: Mapping[str, Any]) -> dict[str, Any]:
        shared = self._lifespan.state if self._lifespan is not None else {}
        headers = [pair for pair in request.headers if pair[0] != b"content-length"]
        if request.body:
            headers.append((b"content-length", b"%d" % len(request.body)))
        return {
            "type": "http",
            "asgi": ASGI_VERSION,
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": request.path,
            "query_string": request.query,
            "root_path": "",
            "headers": headers,
            "client": (request.peer, 0) if request.peer is not None else None,
            "server": None,
            "state": {**shared, **state},
        }


class _Exchange:
    """One request and its answer, as ASGI messages."""

    __slots__ = ("_head", "_request", "_respond", "_streaming", "_taken", "finished")

    def __init__(self, request: HttpRequest, respond: Responder) -> None:
        self._request = request
        self._respond = respond
        self._taken = False
        self._head: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._streaming = False
        self.finished = asyncio.Event()

    async def receive(self) -> Message:
        if not self._taken:
            self._taken = True
            return {"type": "http.request", "body": self._request.body, "more_body": False}
        await self.finished.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if self.finished.is_set():
            raise RuntimeError(f"{kind!r} came after the end of the answer")
        if kind == "http.response.start":
            if self._head is not None:
                raise RuntimeError("the answer was started twice")
            headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
            self._head = (message["status"], headers)
        elif kind == "http.response.body":
            await self._send_body(bytes(message.get("body", b"")), more=message.get("more_body", False))

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        if self._head is None:
            raise RuntimeError("the body came before the start of the answer")
        status, headers = self._head
        if not self._streaming and not more:
            self._respond.send(status, headers, body)
            self.finished.set()
            return
        if not self._streaming:
            self._respond.start(status, headers)
            self._streaming = True
        self._respond.write(body)
        if more:
            await self._respond.drain()
        else:
            self._respond.finish()
            self.finished.set()


class _Lifespan:
    """The app's start and end, run in one task as ASGI asks; an app without lifespan refuses the scope by raising."""

    def __init__(self, app: ASGIApp) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._answered: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Raises RuntimeError when the app says that it cannot start."""
        self._task = asyncio.create_task(self._run())
        await self._tell("startup")

    async def shutdown(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        if not task.done():
            try:
                async with asyncio.timeout(_LIFESPAN_SECONDS):
                    self._task = task
                    await self._tell("shutdown")
                    await task
            except TimeoutError:
                log.error("the application's shutdown took longer than %g s", _LIFESPAN_SECONDS)
            finally:
                self._task = None
                task.cancel()

    async def _tell(self, event: str) -> None:
        self._messages.put_nowait({"type": f"lifespan.{event}"})
        answer = await self._answered.get()
        if answer is not None and answer["type"] == f"lifespan.{event}.failed":
            raise RuntimeError(f"the application's {event} failed: {answer.get('message', '')}")

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": ASGI_VERSION, "state": self.state}
        try:
            await self._app(scope, self._messages.get, self._answered.put)
        except Exception as error:
            log.debug("the application has no lifespan: %s", type(error).__name__)
        finally:
            self._answered.put_nowait(None)
