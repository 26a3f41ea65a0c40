"""Bytes cut anywhere mean the same, and bytes that mean nothing harm nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_support import RawUpstream, connect, outgoing, post

from pointsman.core.errors import UpstreamError
from pointsman.transport.http import HttpRequest, Responder
from pointsman.transport.limits import ServerLimits
from pointsman.transport.pool import Pool
from pointsman.transport.server import NativeServer, serve
from pointsman.transport.server_protocol import Connection

EXAMPLES = settings(max_examples=60, deadline=None)


class Sink(asyncio.Transport):
    """A transport that keeps what is written; the cuts of its input are exact, as a socket's never are."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...


async def tell(request: HttpRequest, respond: Responder) -> None:
    seen = [request.method, request.path, request.query.decode(), request.body.hex()]
    respond.send(200, [], json.dumps(seen).encode())


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nX-Trailer: y\r\n\r\n"


async def _serve_pieces(parts: list[bytes]) -> bytes:
    server = NativeServer(tell, ServerLimits())
    connection, sink = Connection(server), Sink()
    connection.connection_made(sink)
    for part in parts:
        connection.data_received(part)
        await asyncio.sleep(0)
    while server.tasks:
        await asyncio.sleep(0)
    connection.connection_lost(None)
    assert not server.connections
    return bytes(sink.written)


@EXAMPLES
@given(
    bodies=st.lists(st.binary(max_size=60), min_size=1, max_size=3),
    chunk=st.integers(1, 20),
    cuts=st.lists(st.integers(0, 10_000), max_size=40),
    bytewise=st.booleans(),
)
def test_requests_cut_anywhere_are_the_same(bodies: list[bytes], chunk: int, cuts: list[int], bytewise: bool) -> None:
    raw = b""
    for number, body in enumerate(bodies):
        if number % 2:
            raw += b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body, chunk)
        else:
            raw += post(body, path="/p?q")
    expected = [["POST", "/c" if n % 2 else "/p", "" if n % 2 else "q", b.hex()] for n, b in enumerate(bodies)]
    parts = [raw[at : at + 1] for at in range(len(raw))] if bytewise else pieces(raw, cuts)
    written = asyncio.run(_serve_pieces(parts))
    answers = [part.split(b"\r\n\r\n", 1)[1] for part in written.split(b"HTTP/1.1 200 OK")[1:]]
    assert [json.loads(answer) for answer in answers] == expected


REQUEST_PARTS = (
    b"GET / HTTP/1.1\r\n|POST /x HTTP/1.1\r\n|Host: a\r\n|\r\n|\n|\r| |\0|Content-Length: 5\r\n"
    b"|Transfer-Encoding: chunked\r\n|5\r\nhello\r\n|0\r\n\r\n|: "
    b"|Expect: 100-continue\r\n|Connection: close\r\n|Upgrade: h2c\r\n|HTTP/1.0"
).split(b"|")
ANSWER_PARTS = (
    b"HTTP/1.1 200 OK\r\n|HTTP/1.1 100 Continue\r\n\r\n|\r\n|Content-Length: 3\r\n|Transfer-Encoding: chunked\r\n"
    b"|3\r\nabc\r\n|0\r\n\r\n|Upgrade: x\r\n"
).split(b"|")
HTTP_LIKE = st.lists(st.one_of(st.binary(max_size=30), st.sampled_from(REQUEST_PARTS)), max_size=12)


@EXAMPLES
@given(parts=HTTP_LIKE)
def test_requests_of_any_bytes_leave_nothing_behind(parts: list[bytes]) -> None:
    written = asyncio.run(_serve_pieces(parts))
    assert not written or written.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 500" not in written


def test_a_server_outlives_garbage() -> None:
    @settings(max_examples=40, deadline=None)
    @given(parts=HTTP_LIKE)
    def garbage(parts: list[bytes]) -> None:
        runner.run(_send_garbage(server.port, b"".join(parts)))
        runner.run(_one_good_request(server.port))
        runner.run(_until_empty(server))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        server = runner.run(serve(tell, host="127.0.0.1", port=0))
        garbage()
        runner.run(server.close(0))


async def _send_garbage(port: int, data: bytes) -> None:
    async with connect(port) as client:
        client.send(data)
        await client.writer.drain()


async def _one_good_request(port: int) -> None:
    async with connect(port) as client:
        client.send(post(b"x"))
        assert (await client.response()).status == 200


async def _until_empty(server: NativeServer) -> None:
    async with asyncio.timeout(30):
        while server.connections or server.tasks:
            await asyncio.sleep(0.001)


async def _fetch(parts: list[bytes]) -> bytes:
    """Read one answer that arrives in exactly these parts."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read_request(reader)

    pool = Pool()
    upstream = RawUpstream(script)
    server = await asyncio.start_server(upstream.accept, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]

    async def answer(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read_request(reader)
        (connection,) = pool._connections[upstream.origin].open
        for part in parts:
            connection.data_received(part)
            await asyncio.sleep(0)

    upstream.script = answer
    try:
        response = await pool.send(outgoing(upstream.origin))
        return b"".join([block async for block in response])
    finally:
        await pool.close()
        server.close()
        while upstream.open:
            await asyncio.sleep(0)
        assert pool.stats() == {}


@EXAMPLES
@given(
    body=st.binary(max_size=80),
    chunk=st.one_of(st.none(), st.integers(1, 20)),
    cuts=st.lists(st.integers(0, 10_000), max_size=40),
)
def test_answers_cut_anywhere_are_the_same(body: bytes, chunk: int | None, cuts: list[int]) -> None:
    if chunk is None:
        raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    else:
        raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body, chunk)
    assert asyncio.run(_fetch(pieces(raw, cuts))) == body


@EXAMPLES
@given(parts=st.lists(st.one_of(st.binary(min_size=1, max_size=30), st.sampled_from(ANSWER_PARTS)), max_size=10))
def test_answers_of_any_bytes_end_in_a_body_or_an_upstream_error(parts: list[bytes]) -> None:
    with suppress(UpstreamError):
        asyncio.run(_fetch(parts))
