"""A client that sends what it is told, leaves when it is told, and reports exactly what it saw."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

SMOLLM2_GOES_ON = {"0": -100, "2": -100}
"""A `logit_bias` against SmolLM2's two ends of text: the answer is as long as `max_tokens` lets it be."""


@dataclass
class Seen:
    """What one request looked like from the client's side."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False
    """Whether the answer's framing ended as HTTP wants it."""
    left: bool = False
    """Whether the client left before that."""
    sent: bool = False
    """Whether the whole request was handed to the kernel before the client left."""
    seconds: float = 0.0

    @property
    def decision(self) -> str | None:
        return self.headers.get("x-pointsman-decision")

    @property
    def streamed(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def frames(self) -> list[dict[str, Any]]:
        """The events of a streamed answer that arrived whole, without `[DONE]`."""
        return [json.loads(frame[6:]) for frame in self.body.split(b"\n\n")[:-1] if frame.startswith(b"data: {")]

    @property
    def done(self) -> bool:
        return self.body.endswith(b"data: [DONE]\n\n")

    @property
    def error(self) -> dict[str, Any] | None:
        """The error object, of an error answer or of a stream's last event."""
        if self.streamed:
            return next((frame["error"] for frame in self.frames if "error" in frame), None)
        return json.loads(self.body).get("error") if self.whole and self.body else None

    @property
    def text(self) -> str:
        if self.streamed:
            deltas = (choice["delta"] for frame in self.frames for choice in frame.get("choices", ()))
            return "".join(delta.get("content") or "" for delta in deltas)
        if self.status != 200 or not self.whole:
            return ""
        return "".join(choice["message"]["content"] or "" for choice in json.loads(self.body)["choices"])

    @property
    def answered(self) -> bool:
        """Whether the client holds a whole answer without an error."""
        return self.status == 200 and self.whole and self.error is None and (self.done or not self.streamed)


def post(body: bytes, path: str = "/v1/chat/completions", headers: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Client:
    """One connection, kept while answers end well and made anew after those that do not."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes, *, leave_after: float | None = None, by_reset: bool = True) -> Seen:
        """One request. With `leave_after` the client goes away after so many seconds, in mid-sentence."""
        seen = Seen()
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(leave_after):
                await self._exchange(request, seen)
        except TimeoutError:
            seen.left = True
            await self.close(abort=by_reset)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            await self.close()
        seen.seconds = loop.time() - started
        return seen

    async def close(self, *, abort: bool = False) -> None:
        streams, self._streams = self._streams, None
        if streams is None:
            return
        writer = streams[1]
        if abort:
            writer.transport.abort()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _exchange(self, request: bytes, seen: Seen) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        seen.sent = True
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        seen.status = int(head[0].split(" ")[1])
        seen.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
        if seen.headers.get("transfer-encoding") == "chunked":
            while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                seen.body += (await reader.readexactly(size + 2))[:size]
            await reader.readexactly(2)
        else:
            seen.body = await reader.readexactly(int(seen.headers["content-length"]))
        seen.whole = True
        if seen.headers.get("connection") == "close":
            await self.close()


async def ask_once(port: int, request: bytes, *, leave_after: float | None = None) -> Seen:
    """One request on a connection of its own."""
    client = Client(port)
    try:
        return await client.ask(request, leave_after=leave_after)
    finally:
        await client.close()
