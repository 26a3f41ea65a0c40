"""Requests that two servers could understand differently are refused, and the connection with them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from transport_support import RawClient, connect, get, post

from pointsman.transport.http import HttpRequest, Responder
from pointsman.transport.server import NativeServer
from waiting import eventually

StartNative = Callable[..., Awaitable[NativeServer]]
H = b"Host: a\r\n"
POST = b"POST / HTTP/1.1\r\n" + H
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

REFUSED = {
    "content-length differs": (400, POST + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabc"),
    "content-length repeated": (400, POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "content-length list": (400, POST + b"Content-Length: 3, 3\r\n\r\nabc"),
    "content-length sign": (400, POST + b"Content-Length: +3\r\n\r\nabc"),
    "content-length negative": (400, POST + b"Content-Length: -3\r\n\r\nabc"),
    "content-length hex": (400, POST + b"Content-Length: 0x3\r\n\r\nabc"),
    "content-length empty": (400, POST + b"Content-Length:\r\n\r\nabc"),
    "content-length huge": (400, POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nabc"),
    "cl.te": (400, POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "te.cl": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    "te gzip": (400, POST + b"Transfer-Encoding: gzip\r\n\r\nabc"),
    "te gzip, chunked": (400, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "te chunked, identity": (400, POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    "te xchunked": (400, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "te twice": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "te behind a tab and nul": (400, POST + b"Transfer-Encoding: \x00chunked\r\n\r\n0\r\n\r\n"),
    "te on 1.0": (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "te with space before colon": (400, POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    "bare lf throughout": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "bare lf after a header": (400, b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    "bare lf at the end": (400, b"GET / HTTP/1.1\r\nHost: a\r\n\nGET / HTTP/1.1\r\n\r\n"),
    "bare cr in a value": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\rb\r\n\r\n"),
    "nul in a value": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\0b\r\n\r\n"),
    "nul in a name": (400, b"GET / HTTP/1.1\r\n" + H + b"X\0: a\r\n\r\n"),
    "control byte in a value": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\x01b\r\n\r\n"),
    "folded header": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n b\r\n\r\n"),
    "folded with a tab": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n\tb\r\n\r\n"),
    "first header folded": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "space before the colon": (400, b"GET / HTTP/1.1\r\n" + H + b"X : a\r\n\r\n"),
    "empty header name": (400, b"GET / HTTP/1.1\r\n" + H + b": a\r\n\r\n"),
    "no colon": (400, b"GET / HTTP/1.1\r\n" + H + b"nothing\r\n\r\n"),
    "no host": (400, b"GET / HTTP/1.1\r\nX: y\r\n\r\n"),
    "two hosts": (400, b"GET / HTTP/1.1\r\n" + H + H + b"\r\n"),
    "two hosts on 1.0": (400, b"GET / HTTP/1.0\r\n" + H + H + b"\r\n"),
    "empty host": (400, b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    "host with a path": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "host with user": (400, b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    "http/0.9": (400, b"GET /\r\n\r\n"),
    "http/2.0": (505, b"GET / HTTP/2.0\r\n" + H + b"\r\n"),
    "http/1.2": (505, b"GET / HTTP/1.2\r\n" + H + b"\r\n"),
    "http/1.10": (400, b"GET / HTTP/1.10\r\n" + H + b"\r\n"),
    "http/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "lower-case protocol": (400, b"GET / http/1.1\r\n" + H + b"\r\n"),
    "rtsp": (400, b"GET / RTSP/1.0\r\n" + H + b"\r\n"),
    "two spaces": (400, b"GET  / HTTP/1.1\r\n" + H + b"\r\n"),
    "space at the end": (400, b"GET / HTTP/1.1 \r\n" + H + b"\r\n"),
    "tab for space": (400, b"GET\t/\tHTTP/1.1\r\n" + H + b"\r\n"),
    "bad method": (400, b"G@T / HTTP/1.1\r\n" + H + b"\r\n"),
    "lower-case method": (501, b"get / HTTP/1.1\r\n" + H + b"\r\n"),
    "unknown method": (501, b"BREW / HTTP/1.1\r\n" + H + b"\r\n"),
    "connect": (405, b"CONNECT a:443 HTTP/1.1\r\n" + H + b"\r\n"),
    "trace": (405, b"TRACE / HTTP/1.1\r\n" + H + b"\r\n"),
    "relative target": (400, b"GET a HTTP/1.1\r\n" + H + b"\r\n"),
    "authority target": (400, b"GET a:80 HTTP/1.1\r\n" + H + b"\r\n"),
    "ftp target": (400, b"GET ftp://a/ HTTP/1.1\r\n" + H + b"\r\n"),
    "star for get": (400, b"GET * HTTP/1.1\r\n" + H + b"\r\n"),
    "user in an absolute target": (400, b"GET http://u:p@a/ HTTP/1.1\r\n" + H + b"\r\n"),
    "fragment": (400, b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n"),
    "raw byte in the target": (400, b"GET /\xff HTTP/1.1\r\n" + H + b"\r\n"),
    "encoded nul in the target": (400, b"GET /a%00b HTTP/1.1\r\n" + H + b"\r\n"),
    "two empty lines first": (400, b"\r\n\r\nGET / HTTP/1.1\r\n" + H + b"\r\n"),
    "tls hello": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x0a" * 20),
    "other expectation": (417, POST + b"Expect: 200-maybe\r\nContent-Length: 1\r\n\r\na"),
    "too long before 100": (413, POST + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"),
    "target too long": (414, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + H + b"\r\n"),
    "target endless": (414, b"GET /" + b"a" * 70_000),
    "header too large": (431, b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * 70_000 + b"\r\n\r\n"),
    "header endless": (431, b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * 70_000),
    "too many headers": (431, b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n" * 101 + b"\r\n"),
    "chunk size signed": (400, CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n"),
    "chunk size 0x": (400, CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    "chunk size empty": (400, CHUNKED + b"\r\nabc\r\n0\r\n\r\n"),
    "chunk size with space": (400, CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n"),
    "chunk size overflow": (400, CHUNKED + b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    "chunk too large": (413, CHUNKED + b"fffffffff\r\nabc\r\n0\r\n\r\n"),
    "chunk size ended by lf": (400, CHUNKED + b"3\nabc\r\n0\r\n\r\n"),
    "chunk longer than its size": (400, CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n"),
    "chunk ended by lf": (400, CHUNKED + b"3\r\nabc\n0\r\n\r\n"),
    "chunk extension too long": (400, CHUNKED + b"3;" + b"a" * 5000 + b"\r\nabc\r\n0\r\n\r\n"),
    "chunk extensions too many": (400, CHUNKED + (b"1;" + b"a" * 1000 + b"\r\na\r\n") * 20 + b"0\r\n\r\n"),
    "chunk extension with cr": (400, CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    "trailer without colon": (400, CHUNKED + b"0\r\nnothing\r\n\r\n"),
    "trailer folded": (400, CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n"),
    "trailers too large": (400, CHUNKED + b"0\r\n" + (b"A: " + b"b" * 1000 + b"\r\n") * 20 + b"\r\n"),
}


async def answer(request: HttpRequest, respond: Responder) -> None:
    host = (request.header(b"host") or b"").decode()
    seen = {"path": request.path, "host": host, "body": request.body.decode()}
    respond.send(200, [(b"content-type", b"application/json")], json.dumps(seen).encode())


@pytest.mark.parametrize("case", REFUSED)
async def test_it_is_refused_and_nothing_behind_it_is_read(start_native: StartNative, case: str) -> None:
    seen: list[str] = []

    async def note(request: HttpRequest, respond: Responder) -> None:
        seen.append(request.path)
        await answer(request, respond)

    status, raw = REFUSED[case]
    server = await start_native(note, max_body_bytes=1024)
    async with connect(server.port) as client:
        client.send(raw + SMUGGLED)
        refusal = await client.response()
        assert refusal.status == status
        assert refusal.headers["connection"] == "close"
        assert json.loads(refusal.body)["error"]["message"]
        assert await client.closed()
    assert seen == []


async def test_a_refusal_waits_for_the_answers_before_it(start_native: StartNative) -> None:
    server = await start_native(answer)
    async with connect(server.port) as client:
        client.send(post(b"one") + b"GET /two HTTP/1.1\r\n\r\n" + SMUGGLED)
        assert json.loads((await client.response()).body)["body"] == "one"
        assert (await client.response()).status == 400
        assert await client.closed()


async def test_a_client_still_sending_gets_to_see_its_refusal(start_native: StartNative) -> None:
    server = await start_native(answer, max_body_bytes=1024)
    async with connect(server.port) as client:
        client.send(get("/", "content-length: 50000000", method="POST"))
        for _ in range(50):
            client.send(b"x" * 100_000)
            await client.writer.drain()
        assert (await client.response()).status == 413


@pytest.mark.parametrize(
    ("raw", "path", "host"),
    [
        (b"GET http://b:81/p?q HTTP/1.1\r\nHost: a\r\n\r\n", "/p", "b:81"),
        (b"GET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n", "/", "b"),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*", "a"),
        (b"\r\nGET /p HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "/p", "[::1]:80"),
        (b"GET /p HTTP/1.1\r\nHost:  a \t\r\n\r\n", "/p", None),
        (b"GET /p HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", "/p", "a"),
        (b"GET /p HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "/p", "a"),
    ],
)
async def test_unusual_but_sound_requests_are_served(
    start_native: StartNative, raw: bytes, path: str, host: str | None
) -> None:
    server = await start_native(answer)
    async with connect(server.port) as client:
        client.send(raw + post(b"next"))
        first = json.loads((await client.response()).body)
        assert first["path"] == path
        assert host is None or first["host"] == host
        assert json.loads((await client.response()).body)["body"] == "next"


async def test_an_upgrade_with_a_body_keeps_its_body(start_native: StartNative) -> None:
    server = await start_native(answer)
    async with connect(server.port) as client:
        client.send(post(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", "connection: upgrade", "upgrade: h2c"))
        assert json.loads((await client.response()).body)["body"].startswith("GET /smuggled")
        client.send(post(b"next"))
        assert json.loads((await client.response()).body)["body"] == "next"


async def test_http_1_0_is_answered_without_chunks(start_native: StartNative) -> None:
    async def stream(request: HttpRequest, respond: Responder) -> None:
        if request.path == "/whole":
            respond.send(200, [], b"whole")
            return
        respond.start(200, [])
        respond.write(b"half")
        await asyncio.sleep(0.01)
        if request.path == "/broken":
            respond.abort()
            return
        respond.write(b"half")
        respond.finish()

    server = await start_native(stream)
    async with connect(server.port) as client:
        client.send(get("/whole", "connection: keep-alive", version="HTTP/1.0"))
        whole = await client.response()
        assert (whole.body, whole.headers["connection"]) == (b"whole", "keep-alive")
        client.send(get("/stream", "connection: keep-alive", version="HTTP/1.0"))
        streamed = await client.response()
        assert streamed.headers["connection"] == "close"
        assert "transfer-encoding" not in streamed.headers
        assert streamed.body == b"halfhalf"
    async with connect(server.port) as client:
        client.send(get("/broken", version="HTTP/1.0"))
        assert not (await client.response()).whole


async def test_a_connection_serves_so_many_requests_and_no_more(start_native: StartNative) -> None:
    server = await start_native(answer, max_requests_per_connection=3)
    async with connect(server.port) as client:
        client.send(b"".join(get(f"/{number}") for number in range(5)))
        answers = [await client.response() for _ in range(3)]
        assert [one.headers.get("connection") for one in answers] == [None, None, "close"]
        assert await client.closed()


async def test_a_full_server_says_503(start_native: StartNative) -> None:
    server = await start_native(answer, max_connections=2)
    async with connect(server.port) as one, connect(server.port) as two:
        for client in (one, two):
            client.send(get())
            assert (await client.response()).status == 200
        async with connect(server.port) as three:
            three.send(get())
            refusal = await three.response()
            assert (refusal.status, refusal.headers["retry-after"]) == (503, "1")
        one.send(get())
        assert (await one.response()).status == 200
    await asyncio.sleep(0.05)
    async with connect(server.port) as four:
        four.send(get())
        assert (await four.response()).status == 200


async def test_pipelined_input_is_bounded(start_native: StartNative) -> None:
    go_on = asyncio.Event()

    async def wait(request: HttpRequest, respond: Responder) -> None:
        await go_on.wait()
        await answer(request, respond)

    server = await start_native(wait)
    async with connect(server.port) as client:
        client.send(post(b"x" * 1000, path="/n") * 8_000)
        await asyncio.sleep(0.3)
        (connection,) = server.connections
        assert len(connection._buffer) < 512 * 1024
        assert client.writer.transport.get_write_buffer_size() > 1024 * 1024
        go_on.set()
        for _ in range(200):
            assert (await client.response()).status == 200


async def test_a_client_that_asks_and_never_reads_is_held_back(start_native: StartNative) -> None:
    served = 0

    async def large(request: HttpRequest, respond: Responder) -> None:
        nonlocal served
        served += 1
        respond.send(200, [], b"x" * 1_000_000)

    server = await start_native(large, write_timeout=0.4)
    async with connect(server.port) as client:
        client.writer.transport.pause_reading()
        client.send(get() * 100)
        await asyncio.sleep(0.3)
        assert 0 < served < 50
        await eventually(lambda: not server.connections)


@pytest.mark.parametrize(
    ("limits", "sent", "status"),
    [
        ({"header_timeout": 0.2}, b"", None),
        ({"header_timeout": 0.2}, b"GET / HTTP/1.1\r\nHo", 408),
        ({"body_timeout": 0.2}, get("/", "content-length: 5", method="POST") + b"abc", 408),
        ({"body_timeout": 0.2}, CHUNKED + b"5\r\nab", 408),
        ({"keep_alive_timeout": 0.2}, None, None),
    ],
    ids=["nothing", "half a head", "half a body", "half a chunk", "idle"],
)
async def test_slow_clients_are_dropped(
    start_native: StartNative, limits: dict[str, float], sent: bytes | None, status: int | None
) -> None:
    server = await start_native(answer, **limits)
    async with connect(server.port) as client:
        if sent is None:
            client.send(get())
            await client.response()
        else:
            client.send(sent)
        if status is not None:
            assert (await client.response(within=2)).status == status
        assert await client.closed(within=2)


async def test_a_head_that_trickles_is_dropped(start_native: StartNative) -> None:
    server = await start_native(answer, header_timeout=0.3)
    async with connect(server.port) as client:
        trickling = asyncio.create_task(_trickle(client))
        assert (await client.response(within=2)).status == 408
        trickling.cancel()


async def _trickle(client: RawClient) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    while True:
        client.send(b"X: y\r\n")
        await asyncio.sleep(0.05)
