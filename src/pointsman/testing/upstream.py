"""A real HTTP server on loopback that answers as a model's provider would, or misbehaves on purpose.

    async with ScriptedUpstream() as upstream:
        upstream.script(Status(429, retry_after=1), Reset(after_bytes=100), Answer(text="hi"))
        ...                                # point a provider at upstream.base_url (or upstream.root for Ollama)
        assert upstream.requests[0].json["model"] == "some-model"

Chat requests play the script in order and then `default`, for ever. Listing models, showing one and asking for the
version are answered from `models`, `tags`, `shows` and `version`; `pages` puts a step of your own on any path.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Self

import msgspec

from .answers import Answer, Page, SeenRequest, Status, Step

_encoder = msgspec.json.Encoder()


class ScriptedUpstream:
    """An upstream under a test's control. Use as an async context manager.

    Attributes:
        default: what is played when the script has been played.
        requests: every request that came, in order.
        models: names that `GET …/models` and `GET /api/tags` list.
        tags: extra fields of a model's entry in `/api/tags` (`details`, `digest`, `remote_host`), by name.
        described: extra fields of a model in Anthropic's list (`max_tokens`, `capabilities`), by name.
        shows: what `POST /api/show` answers, by name; others get a 404.
        version: what `GET /api/version` answers.
        loaded: the models that `GET /api/ps` lists.
        pages: path (without the query) → step, before anything else.
        accepted: connections accepted so far.
        open_connections: connections open now.
        abandoned: how often a client closed its connection in the middle of an answer.
    """

    def __init__(self, *, default: Step | None = None, models: tuple[str, ...] = ("scripted-model",)) -> None:
        self.default: Step = default or Answer()
        self.models = models
        self.tags: dict[str, Mapping[str, Any]] = {}
        self.shows: dict[str, Mapping[str, Any]] = {}
        self.described: dict[str, Mapping[str, Any]] = {}
        self.version = "0.12.0"
        self.loaded: list[Mapping[str, Any]] = []
        self.pages: dict[str, Step] = {}
        self.requests: list[SeenRequest] = []
        self.accepted = 0
        self.open_connections = 0
        self.abandoned = 0
        self.port = 0
        self._script: deque[Step] = deque()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    @property
    def listening(self) -> bool:
        """Whether it takes connections: since `listen`, and until `refuse`."""
        return self._server is not None

    @property
    def root(self) -> str:
        """`http://127.0.0.1:port`, as Ollama's base address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:port/v1`, as an OpenAI-compatible base address."""
        return f"{self.root}/v1"

    @property
    def gemini_url(self) -> str:
        """The base address under which it has the ways of Gemini's OpenAI-compatible endpoint."""
        return f"{self.root}/v1beta/openai"

    @property
    def chats(self) -> list[SeenRequest]:
        """The requests that played the script: every one that asks for no list, card or version."""
        return [request for request in self.requests if self._page(request) is None]

    def script(self, *steps: Step) -> None:
        """Add steps to the script. `default` follows when all have been played."""
        self._script.extend(steps)

    def reset(self) -> None:
        """Forget the script and what was seen; connections stay open."""
        self._script.clear()
        self.requests.clear()
        self.abandoned = 0

    async def listen(self) -> None:
        """Begin to accept connections, on the same port as before after `refuse`."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse connections from now on, and close the open ones. `listen` ends it."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait_until(self, holds: Callable[[Self], bool], *, timeout: float = 1.0) -> None:
        """Wait until `holds(upstream)` is true; raises TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            while not holds(self):
                self._changed.clear()
                await self._changed.wait()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.refuse()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        self.open_connections += 1
        self._changed.set()
        connection = _Connection(reader, writer)
        try:
            while (request := await connection.read_request()) is not None:
                self.requests.append(request)
                self._changed.set()
                if not await self._answer(request, connection):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        except asyncio.CancelledError:  # `refuse` ends this connection; nothing is left to be cancelled above it
            pass
        finally:
            self.open_connections -= 1
            self._changed.set()
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, request: SeenRequest, connection: _Connection) -> bool:
        """Play one step while watching the client; False when the connection is of no more use."""
        step = self._page(request) or (self._script.popleft() if self._script else self.default)
        playing = asyncio.ensure_future(step.play(request, connection))
        leaving = asyncio.ensure_future(connection.left.wait())
        watching = asyncio.ensure_future(connection.watch())
        try:
            await asyncio.wait({playing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done() or isinstance(playing.exception(), ConnectionError):
                self.abandoned += 1
                self._changed.set()
                return False
            playing.result()
            return not connection.closing
        finally:
            for task in (playing, leaving, watching):
                task.cancel()
            await asyncio.gather(playing, leaving, watching, return_exceptions=True)

    def _page(self, request: SeenRequest) -> Step | None:
        """The step for a path that has an answer of its own."""
        path = request.path.split("?")[0]
        if path in self.pages:
            return self.pages[path]
        if path.endswith("/models") and request.method == "GET" and "anthropic-version" in request.headers:
            return _json(self._anthropic_models())
        if path.endswith("/models") and request.method == "GET":
            listed = [{"id": name, "object": "model", "created": 1, "owned_by": "scripted"} for name in self.models]
            return _json({"object": "list", "data": listed})
        if path.endswith("/messages/count_tokens"):
            return _json({"input_tokens": len(request.body) // 4})
        if path == "/api/tags":
            listed = [{"name": name, "model": name, "size": 1, **self.tags.get(name, {})} for name in self.models]
            return _json({"models": listed})
        if path == "/api/ps":
            return _json({"models": self.loaded})
        if path == "/api/version":
            return _json({"version": self.version})
        if path == "/api/show":
            shown = self.shows.get(request.json.get("model", ""))
            return Status(404, b'{"error":"model not found"}') if shown is None else _json(shown)
        return None

    def _anthropic_models(self) -> dict[str, Any]:
        stamp = {"type": "model", "created_at": "2026-01-01T00:00:00Z", "lifecycle": "active"}
        listed = [{"id": name, "display_name": name, **stamp, **self.described.get(name, {})} for name in self.models]
        ends = {"first_id": self.models[0], "last_id": self.models[-1]} if self.models else {}
        return {"data": listed, "has_more": False, **ends}


def _json(value: Any) -> Page:
    return Page(_encoder.encode(value), "application/json")


class _Connection:
    """One client: reads requests, and is the wire that steps write to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self._chunked = False
        self.left = asyncio.Event()
        """Set when the client has closed its side."""
        self.closing = False

    async def read_request(self) -> SeenRequest | None:
        """The next request, or None when the client is done."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._more():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _version = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = await self._read_chunks()
        else:
            body = await self._read_exactly(int(headers.get("content-length", "0")))
        return SeenRequest(method, path, headers, body)

    async def watch(self) -> None:
        """Read on, so that a client that leaves is noticed; what else comes is kept for the next request."""
        with contextlib.suppress(ConnectionError):
            while await self._more():
                pass
        self.left.set()

    async def _more(self) -> bool:
        block = await self._reader.read(2**18)
        self._buffer += block
        return bool(block)

    async def _read_exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            if not await self._more():
                raise ConnectionResetError
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    async def _read_chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._buffer:
                if not await self._more():
                    raise ConnectionResetError
            size, _, self._buffer = self._buffer.partition(b"\r\n")
            length = int(size.split(b";")[0], 16)
            body += (await self._read_exactly(length + 2))[:length]
            if not length:
                return body

    async def write(self, data: bytes) -> None:
        if self.closing or self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, status: int, headers: Mapping[str, str], *, length: int | None) -> None:
        self._chunked = length is None
        framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items()), framing]
        await self.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    async def body(self, data: bytes) -> None:
        if not data:
            return
        await self.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end(self) -> None:
        if self._chunked:
            await self.write(b"0\r\n\r\n")

    async def until_closed(self) -> None:
        await asyncio.Event().wait()  # the server ends the step when the client leaves

    def reset(self) -> None:
        self.closing = True
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def hang_up(self) -> None:
        self.closing = True
        self._writer.close()
