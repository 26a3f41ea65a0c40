"""What a handler's answer looks like to the client; the same for both servers."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging

import pytest
from transport_support import StartServer, connect, get, post

from pointsman.transport import uvicorn_protocol
from pointsman.transport.asgi_server import serve_asgi
from pointsman.transport.http import HttpRequest, Responder

JSON = (b"content-type", b"application/json")


async def echo(request: HttpRequest, respond: Responder) -> None:
    respond.send(200, [JSON], request.body)


async def describe(request: HttpRequest, respond: Responder) -> None:
    seen = {
        "method": request.method,
        "path": request.path,
        "query": request.query.decode(),
        "x": (request.header(b"x-test") or b"").decode(),
        "peer": request.peer,
        "length": len(request.body),
    }
    respond.send(200, [JSON], json.dumps(seen).encode())


async def test_a_handler_sees_the_whole_request(start_server: StartServer) -> None:
    server = await start_server(describe)
    async with connect(server.port) as client:
        client.send(post(b"x" * 100_000, "X-Test: some value", path="/a%20b/%C3%A9?q=1&r=%20"))
        answer = await client.response()
    assert json.loads(answer.body) == {
        "method": "POST",
        "path": "/a b/é",
        "query": "q=1&r=%20",
        "x": "some value",
        "peer": "127.0.0.1",
        "length": 100_000,
    }
    assert answer.headers["server"] == "pointsman"
    assert answer.headers["date"].endswith(" GMT")


async def test_a_connection_serves_many_requests(start_server: StartServer) -> None:
    server = await start_server(echo)
    async with connect(server.port) as client:
        for number in range(5):
            client.send(post(b"%d" % number))
            assert (await client.response()).body == b"%d" % number
        client.send(post(b"last", "connection: close"))
        answer = await client.response()
        assert answer.headers["connection"] == "close"
        assert await client.closed()


@pytest.mark.parametrize("pieces", [[b"\r\n"], [b"\r", b"\n"]], ids=["at once", "apart"])
async def test_an_empty_line_before_a_request_is_passed_over(start_server: StartServer, pieces: list[bytes]) -> None:
    server = await start_server(echo)
    async with connect(server.port) as client:
        for number in range(2):
            for piece in pieces:
                client.send(piece)
                await asyncio.sleep(0.05)
            client.send(post(b"%d" % number))
            assert (await client.response()).body == b"%d" % number


async def test_pipelined_requests_are_answered_in_order(start_server: StartServer) -> None:
    async def slower_first(request: HttpRequest, respond: Responder) -> None:
        await asyncio.sleep(0.05 / (1 + int(request.body)))
        respond.send(200, [JSON], request.body)

    server = await start_server(slower_first)
    async with connect(server.port) as client:
        client.send(b"".join(post(b"%d" % number) for number in range(12)))
        assert [(await client.response()).body for _ in range(12)] == [b"%d" % number for number in range(12)]


async def test_a_chunked_body_arrives_whole(start_server: StartServer) -> None:
    server = await start_server(echo)
    async with connect(server.port) as client:
        client.send(get("/", "transfer-encoding: chunked", method="POST"))
        client.send(b"5;note=1\r\nhello\r\n")
        await asyncio.sleep(0.02)
        client.send(b"06\r\n world\r\n0\r\nx-trailer: dropped\r\n\r\n" + post(b"next"))
        assert (await client.response()).body == b"hello world"
        assert (await client.response()).body == b"next"


async def test_a_body_is_called_for_when_the_client_waits(start_server: StartServer) -> None:
    server = await start_server(echo)
    async with connect(server.port) as client:
        client.send(get("/", "content-length: 4", "expect: 100-continue", method="POST"))
        assert (await client.response()).status == 100
        client.send(b"body")
        assert (await client.response()).body == b"body"


@pytest.mark.parametrize("body", [b"x" * 20_001, None], ids=["content-length", "chunked"])
async def test_a_body_over_the_limit_is_refused(start_server: StartServer, body: bytes | None) -> None:
    server = await start_server(echo, max_body_bytes=20_000)
    async with connect(server.port) as client:
        if body is not None:
            client.send(post(body))
        else:
            client.send(get("/", "transfer-encoding: chunked", method="POST"))
            client.send(b"".join(b"1000\r\n" + b"x" * 0x1000 + b"\r\n" for _ in range(6)) + b"0\r\n\r\n")
        answer = await client.response()
        assert answer.status == 413
        assert json.loads(answer.body)["error"]["code"] == "request_too_large"
        assert await client.closed()
    async with connect(server.port) as client:
        client.send(post(b"x" * 20_000))
        assert len((await client.response()).body) == 20_000


async def test_head_and_no_content_have_no_body(start_server: StartServer) -> None:
    async def handler(request: HttpRequest, respond: Responder) -> None:
        if request.path == "/none":
            respond.send(204, [], b"")
        elif request.path == "/stream":
            respond.start(200, [JSON])
            respond.write(b"abc")
            respond.finish()
        else:
            respond.send(200, [JSON], b"abc")

    server = await start_server(handler)
    async with connect(server.port) as client:
        client.send(get("/", method="HEAD"))
        assert (await client.response(head_only=True)).headers["content-length"] == "3"
        client.send(get("/stream", method="HEAD"))
        assert (await client.response(head_only=True)).status == 200
        client.send(get("/none"))
        answer = await client.response()
        assert answer.status == 204
        assert "content-length" not in answer.headers
        client.send(get("/"))
        assert (await client.response()).body == b"abc"


async def test_pieces_of_a_stream_are_sent_at_once(start_server: StartServer) -> None:
    go_on = asyncio.Event()

    async def stream(request: HttpRequest, respond: Responder) -> None:
        respond.start(200, [(b"content-type", b"text/event-stream")])
        respond.write(b"data: 1\n\n")
        await respond.drain()
        await go_on.wait()
        respond.write(b"")
        respond.write(b"data: 2\n\n")
        respond.finish()

    server = await start_server(stream)
    async with connect(server.port) as client:
        client.send(get())
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head.lower()
        assert await client.reader.readexactly(len(b"9\r\ndata: 1\n\n\r\n")) == b"9\r\ndata: 1\n\n\r\n"
        go_on.set()
        assert await client.reader.readuntil(b"0\r\n\r\n") == b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"


async def test_the_head_of_a_stream_does_not_wait_for_its_first_piece(start_server: StartServer) -> None:
    async def stream(request: HttpRequest, respond: Responder) -> None:
        respond.start(200, [JSON])
        await asyncio.sleep(5)
        respond.finish()

    server = await start_server(stream)
    async with connect(server.port) as client:
        client.send(get())
        async with asyncio.timeout(1):
            assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_failing_handler_is_a_500_that_quotes_nothing(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(request: HttpRequest, respond: Responder) -> None:
        raise ValueError(f"cannot read {request.body!r}")

    server = await start_server(fail)
    with caplog.at_level(logging.DEBUG, "pointsman"):
        async with connect(server.port) as client:
            client.send(post(b"my secret"))
            answer = await client.response()
            assert answer.status == 500
            assert json.loads(answer.body)["error"]["code"] == "internal_error"
            client.send(post(b"again"))
            assert (await client.response()).status == 500
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_handler_that_forgets_to_answer_is_a_500(start_server: StartServer) -> None:
    async def forget(request: HttpRequest, respond: Responder) -> None:
        return

    server = await start_server(forget)
    async with connect(server.port) as client:
        client.send(get())
        assert (await client.response()).status == 500


@pytest.mark.parametrize("how", ["abort", "raise", "forget"])
async def test_a_broken_stream_is_seen_to_be_broken(start_server: StartServer, how: str) -> None:
    async def stream(request: HttpRequest, respond: Responder) -> None:
        respond.start(200, [JSON])
        respond.write(b"half")
        await asyncio.sleep(0.02)
        if how == "abort":
            respond.abort()
        elif how == "raise":
            raise RuntimeError("upstream broke")

    server = await start_server(stream)
    async with connect(server.port) as client:
        client.send(get())
        answer = await client.response()
        assert answer.status == 200
        assert not answer.whole


async def test_a_header_that_ends_its_line_is_not_sent(start_server: StartServer) -> None:
    async def inject(request: HttpRequest, respond: Responder) -> None:
        respond.send(200, [(b"x-from-upstream", b"a\r\nset-cookie: b")], b"")

    server = await start_server(inject)
    async with connect(server.port) as client:
        client.send(get())
        answer = await client.response()
        assert answer.status == 500
        assert "set-cookie" not in answer.headers


async def test_a_client_that_leaves_cancels_its_handler(start_server: StartServer) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(request: HttpRequest, respond: Responder) -> None:
        if request.path == "/stream":
            respond.start(200, [JSON])
            respond.write(b"first")
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    server = await start_server(wait)
    for path in ("/plain", "/stream"):
        begun.clear()
        cancelled.clear()
        async with connect(server.port) as client:
            client.send(get(path))
            await begun.wait()
        async with asyncio.timeout(30):
            await cancelled.wait()


async def test_a_client_that_leaves_amid_pipelined_requests_cancels_the_one_that_runs(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(request: HttpRequest, respond: Responder) -> None:
        respond.start(200, [JSON])
        begun.set()
        try:
            while True:
                respond.write(b"more")
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    server = await start_server(wait)
    async with connect(server.port) as client:
        client.send(get() * 3)
        await begun.wait()
    async with asyncio.timeout(30):
        await cancelled.wait()
    await server.close(0)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_client_of_http_1_0_gets_a_body_that_ends_with_the_connection(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def tell(request: HttpRequest, respond: Responder) -> None:
        if request.path == "/whole":
            respond.send(200, [JSON], b"whole")
            return
        respond.start(200, [JSON])
        for piece in (b"half", b"", b"x" * 100_000, b"half"):
            respond.write(piece)
            await asyncio.sleep(0)
        respond.finish()

    server = await start_server(tell)
    for _ in range(2):
        async with connect(server.port) as client:
            client.send(get("/stream", version="HTTP/1.0"))
            answer = await client.response()
            assert "transfer-encoding" not in answer.headers
            assert answer.headers["connection"] == "close"
            assert answer.body == b"half" + b"x" * 100_000 + b"half"
    async with connect(server.port) as client:
        client.send(get("/whole", version="HTTP/1.0"))
        whole = await client.response()
        assert (whole.body, whole.headers["content-length"]) == (b"whole", "5")
        assert await client.closed()
    async with connect(server.port) as client:
        client.send(get("/stream"))
        assert (await client.response()).headers["transfer-encoding"] == "chunked"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("name", ["HttpToolsProtocol", "OF_A_PROTOCOL", "OF_A_CYCLE"])
async def test_a_uvicorn_with_other_inner_names_serves_all_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    importlib.import_module("uvicorn.protocols.http.auto")  # which has its own idea of what there is
    if name == "HttpToolsProtocol":
        monkeypatch.delattr(importlib.import_module(uvicorn_protocol.PLACE), name)
    else:
        monkeypatch.setattr(uvicorn_protocol, name, (*getattr(uvicorn_protocol, name), "is_there_no_more"))
    server = await serve_asgi(echo, host="127.0.0.1", port=0)
    for _ in range(2):
        async with connect(server.port) as client:
            client.send(post(b"hi") * 2)
            assert [(await client.response()).body for _ in range(2)] == [b"hi", b"hi"]
    await server.close(0)
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warned) == 1
    assert "uvicorn has no" in warned[0]


async def test_work_after_the_answer_outlives_the_client(start_server: StartServer) -> None:
    recorded = asyncio.Event()

    async def record(request: HttpRequest, respond: Responder) -> None:
        respond.send(200, [JSON], b"{}")
        await asyncio.sleep(0.1)
        recorded.set()

    server = await start_server(record)
    async with connect(server.port) as client:
        client.send(get())
        await client.response()
    async with asyncio.timeout(30):
        await recorded.wait()


async def test_a_slow_reader_holds_the_handler_back(start_server: StartServer) -> None:
    written = 0

    async def flood(request: HttpRequest, respond: Responder) -> None:
        nonlocal written
        respond.start(200, [JSON])
        for _ in range(512):
            respond.write(b"x" * 65536)
            written += 65536
            await respond.drain()
        respond.finish()

    server = await start_server(flood)
    async with connect(server.port) as client:
        client.writer.transport.pause_reading()
        client.send(get())
        before = -1
        while written != before:
            before = written
            await asyncio.sleep(0.15)
        # Kernel buffers take a few megabytes; without back-pressure it would be all 32.
        assert 0 < written < 16 * 1024 * 1024
        client.writer.transport.resume_reading()
        answer = await client.response(within=30)
        assert len(answer.body) == 32 * 1024 * 1024


async def test_two_hundred_streams_run_side_by_side(start_server: StartServer) -> None:
    together = asyncio.Barrier(200)

    async def stream(request: HttpRequest, respond: Responder) -> None:
        respond.start(200, [JSON])
        respond.write(request.body)
        await together.wait()
        for _ in range(5):
            respond.write(b".")
            await respond.drain()
            await asyncio.sleep(0)
        respond.finish()

    server = await start_server(stream)

    async def one(number: int) -> bytes:
        async with connect(server.port) as client:
            client.send(post(b"%d" % number))
            return (await client.response(within=20)).body

    bodies = await asyncio.gather(*(one(number) for number in range(200)))
    assert bodies == [b"%d....." % number for number in range(200)]


async def test_closing_lets_answers_finish_and_idle_clients_go(start_server: StartServer) -> None:
    begun = asyncio.Event()

    async def slow(request: HttpRequest, respond: Responder) -> None:
        if request.path == "/slow":
            begun.set()
            await asyncio.sleep(0.3)
        respond.send(200, [JSON], b"done")

    server = await start_server(slow)
    async with connect(server.port) as busy, connect(server.port) as idle:
        idle.send(get())
        await idle.response()
        busy.send(get("/slow"))
        await begun.wait()
        closing = asyncio.create_task(server.close(5))
        assert await idle.closed()
        answer = await busy.response()
        assert answer.body == b"done"
        assert await busy.closed()
        async with asyncio.timeout(30):
            await closing
    with pytest.raises(ConnectionRefusedError):
        async with connect(server.port):
            pass


async def test_closing_cancels_what_outlasts_the_grace_time(start_server: StartServer) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def stuck(request: HttpRequest, respond: Responder) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    server = await start_server(stuck)
    async with connect(server.port) as client:
        client.send(get())
        await begun.wait()
        async with asyncio.timeout(30):
            await server.close(0.1)
        assert cancelled.is_set()
