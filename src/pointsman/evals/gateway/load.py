"""A closed-loop load generator on raw sockets: each connection sends its next request when the last answer is whole."""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one run saw. Times in seconds, one a request, unsorted."""

    seconds: float
    totals: list[float]
    first_bytes: list[float]
    """To the first byte of the answer."""
    errors: int


class _Connection(asyncio.Protocol):
    """One keep-alive connection; knows just enough HTTP to tell where an answer ends."""

    def __init__(self, requests: Iterator[bytes], count: int, until: float, done: asyncio.Future[None]) -> None:
        self._requests, self._left, self._until, self._done = requests, count, until, done
        self._buffer = bytearray()
        self._sent = self._first = 0.0
        self.totals: list[float] = []
        self.first_bytes: list[float] = []
        self.errors = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._send()

    def _send(self) -> None:
        self._buffer.clear()
        self._first = 0.0
        request = next(self._requests)
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if not self._first:
            self._first = time.perf_counter()
        self._buffer += data
        if not is_whole(self._buffer):
            return
        now = time.perf_counter()
        self.totals.append(now - self._sent)
        self.first_bytes.append(self._first - self._sent)
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            self.errors += 1
        self._left = self._left - 1 if now < self._until else 0
        if self._left > 0:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.errors += self._left
        if not self._done.done():
            self._done.set_result(None)


def is_whole(buffer: bytearray) -> bool:
    """Whether an answer has come to its end."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = bytes(buffer[:end]).lower()
    if b"transfer-encoding: chunked" in head:
        return buffer.endswith(b"\r\n0\r\n\r\n")
    at = head.find(b"content-length:")
    if at < 0:
        return False
    length = int(head[at + 15 : (head + b"\r\n").index(b"\r\n", at)])
    return len(buffer) >= end + 4 + length


def post(path: str, body: bytes, *, key: str = "bench", headers: Sequence[str] = ()) -> bytes:
    """A raw keep-alive POST; `headers` are whole lines."""
    more = "".join(f"{line}\r\n" for line in headers)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run_load(
    ports: Sequence[int],
    bodies: Iterator[bytes],
    *,
    requests: int,
    connections: int,
    seconds: float = 60.0,
    tls: ssl.SSLContext | None = None,
) -> Sample:
    """Send `requests` in all over `connections`, each waiting for its answer before the next.

    Args:
        ports: connections are spread over them evenly.
        bodies: raw requests, taken one after another; at least `requests` of them.
        seconds: after which nothing more is sent, whatever is left of `requests`.
    """
    loop = asyncio.get_running_loop()
    pending: list[asyncio.Future[None]] = []
    protocols: list[_Connection] = []
    gc.collect()
    gc.disable()  # a collection here would be counted as the gateway's latency
    try:
        started = time.perf_counter()
        for index in range(connections):
            count = requests // connections + (index < requests % connections)
            if not count:
                continue
            done: asyncio.Future[None] = loop.create_future()
            protocol = _Connection(bodies, count, started + seconds, done)
            port = ports[index % len(ports)]
            await loop.create_connection(lambda protocol=protocol: protocol, "127.0.0.1", port, ssl=tls)
            pending.append(done)
            protocols.append(protocol)
        await asyncio.gather(*pending)
        passed = time.perf_counter() - started
    finally:
        gc.enable()
    return Sample(
        seconds=passed,
        totals=[value for protocol in protocols for value in protocol.totals],
        first_bytes=[value for protocol in protocols for value in protocol.first_bytes],
        errors=sum(protocol.errors for protocol in protocols),
    )
