"""Raw HTTP over real sockets: a client that sends what it is told, and an upstream that answers what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from pointsman.core.locality import Destination
from pointsman.core.ports import Timeouts
from pointsman.transport.http import Headers, Origin, UpstreamRequest
from pointsman.transport.limits import RunningServer

REMOTE = Destination("openai:gpt", local=False)
LOCAL = Destination("llamacpp:small", local=True)

StartServer = Callable[..., Awaitable[RunningServer]]
StartUpstream = Callable[..., Awaitable["RawUpstream"]]


@dataclass
class RawResponse:
    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True
    """False when the connection ended before the body did."""


class RawClient:
    """One client connection. Reads answers strictly enough to notice a wrong framing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self, *, head_only: bool = False, within: float = 10.0) -> RawResponse:
        async with asyncio.timeout(within):
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head[:-4].decode("latin-1").split("\r\n")
            version, status, _ = lines[0].split(" ", 2)
            assert version == "HTTP/1.1"
            pairs = [line.split(": ", 1) for line in lines[1:]]
            headers = {name.lower(): value for name, value in pairs}
            assert len(headers) == len(pairs), f"a header is repeated: {lines}"
            code = int(status)
            if head_only or code in (100, 204, 304):
                return RawResponse(code, headers, b"")
            try:
                return RawResponse(code, headers, await self._body(headers))
            except (asyncio.IncompleteReadError, ConnectionResetError) as error:
                partial = error.partial if isinstance(error, asyncio.IncompleteReadError) else b""
                return RawResponse(code, headers, partial, whole=False)

    async def _body(self, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            assert "transfer-encoding" not in headers
            return await self.reader.readexactly(int(headers["content-length"]))
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.read()
        body = bytearray()
        while True:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
            if not size:
                return bytes(body)

    async def closed(self, within: float = 5.0) -> bool:
        """Whether the server closes without another byte."""
        async with asyncio.timeout(within):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True

    async def leave(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    client = RawClient(reader, writer)
    try:
        yield client
    finally:
        await client.leave()


def get(path: str = "/", *more: str, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    lines = [f"{method} {path} {version}", "host: test", *more]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(body: bytes, *more: str, path: str = "/echo") -> bytes:
    return get(path, f"content-length: {len(body)}", *more, method="POST") + body


@dataclass
class RawUpstream:
    """A server of raw bytes: `script(upstream, reader, writer)` runs for each connection."""

    script: Callable[[RawUpstream, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    port: int = 0

    @property
    def origin(self) -> Origin:
        return Origin(scheme="http", host="127.0.0.1", port=self.port)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self.script(self, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        """One request, head and body of a Content-Length; kept in `requests`."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        request = head + await reader.readexactly(length)
        self.requests.append(request)
        return request


def answering(*answers: bytes, then_close: bool = False) -> Callable[..., Awaitable[None]]:
    """A script that answers each request of a connection with the same bytes, in the given writes."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read_request(reader)
            for answer in answers:
                writer.write(answer)
                await writer.drain()
                await asyncio.sleep(0)
            if then_close:
                return

    return script


def outgoing(
    origin: Origin,
    *,
    body: bytes = b"{}",
    method: str = "POST",
    target: str = "/v1/chat/completions",
    headers: Headers = ((b"content-type", b"application/json"),),
    timeouts: Timeouts | None = None,
    local_only: bool = False,
    destination: Destination = LOCAL,
) -> UpstreamRequest:
    return UpstreamRequest(
        destination=destination,
        local_only=local_only,
        origin=origin,
        method=method,
        target=target,
        headers=headers,
        body=body,
        timeouts=timeouts or Timeouts(connect=5, first_byte=5, between_bytes=5, total=20),
    )
