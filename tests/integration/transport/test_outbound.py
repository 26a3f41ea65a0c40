"""What a provider sees of an upstream; the same for both ways out."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from transport_support import REMOTE, RawUpstream, StartUpstream, answering, outgoing

from pointsman.core.errors import (
    InvalidRequest,
    OutOfFiles,
    PointsmanError,
    PrivacyWall,
    UpstreamBroken,
    UpstreamClosed,
    UpstreamConnectError,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from pointsman.core.ports import Timeouts
from pointsman.transport.http import Origin, Outbound, header
from pointsman.transport.pool import Pool
from waiting import eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_the_request_on_the_wire(out: Outbound, start_upstream: StartUpstream) -> None:
    upstream = await start_upstream(answering(OK))
    response = await out.send(
        outgoing(upstream.origin, body=b'{"a":1}', target="/v1/x?y=%20z", headers=[(b"authorization", b"Bearer k")])
    )
    assert response.status == 200
    assert header(response.headers, b"content-type") == b"application/json"
    assert await response.read() == b"{}"
    head, body = upstream.requests[0].split(b"\r\n\r\n", 1)
    lines = head.lower().split(b"\r\n")
    assert head.startswith(b"POST /v1/x?y=%20z HTTP/1.1\r\n")
    assert sorted(lines[1:]) == [
        b"accept-encoding: identity",
        b"authorization: bearer k",
        b"content-length: 7",
        b"host: 127.0.0.1:%d" % upstream.port,
    ]
    assert body == b'{"a":1}'


async def test_a_large_body_goes_out_whole(out: Outbound, start_upstream: StartUpstream) -> None:
    upstream = await start_upstream(answering(OK), limit=1 << 24)
    body = bytes(range(256)) * 4096 * 8
    await (await out.send(outgoing(upstream.origin, body=body))).read()
    assert upstream.requests[0].endswith(body)


async def test_no_more_files_is_said_of_the_gateway_and_not_of_the_upstream(
    out: Outbound, start_upstream: StartUpstream
) -> None:
    upstream = await start_upstream(answering(OK))
    await (await out.send(outgoing(upstream.origin))).read()  # what is loaded once is
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    holder = socket.socket()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (holder.fileno() + 1, before[1]))
        first, second = await asyncio.gather(
            *(out.send(outgoing(upstream.origin)) for _ in range(2)), return_exceptions=True
        )
        assert isinstance(second, OutOfFiles)
        assert str(upstream.port) not in second.message
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        holder.close()
    assert not isinstance(first, BaseException)  # the connection of before
    await first.read()


async def test_connections_are_used_again(out: Outbound, start_upstream: StartUpstream) -> None:
    upstream = await start_upstream(answering(OK))
    for _ in range(5):
        assert await (await out.send(outgoing(upstream.origin))).read() == b"{}"
    assert upstream.connections == 1
    assert len(upstream.requests) == 5


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"{}"),
        (CHUNKED + b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: z\r\n\r\n", b"abcdefg"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK, b"{}"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nsorry", b"sorry"),
    ],
)
async def test_bodies_are_framed_in_every_way(
    out: Outbound, start_upstream: StartUpstream, answer: bytes, body: bytes
) -> None:
    upstream = await start_upstream(answering(answer, then_close=True))
    response = await out.send(outgoing(upstream.origin))
    assert [b"".join([block async for block in response])] == [body]
    assert header(response.headers, b"link") is None


async def test_an_answer_to_head_has_no_body(out: Outbound, start_upstream: StartUpstream) -> None:
    upstream = await start_upstream(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"))
    for _ in range(2):
        response = await out.send(outgoing(upstream.origin, method="HEAD", body=b""))
        assert header(response.headers, b"content-length") == b"99"
        assert await response.read() == b""


async def test_blocks_come_as_they_were_sent(out: Outbound, start_upstream: StartUpstream) -> None:
    go_on = asyncio.Event()

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read_request(reader)
        writer.write(CHUNKED + b"3\r\none\r\n")
        await go_on.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    upstream = await start_upstream(script)
    response = await out.send(outgoing(upstream.origin))
    blocks = aiter(response)
    assert await anext(blocks) == b"one"
    go_on.set()
    assert [block async for block in blocks] == [b"two"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", UpstreamClosed),
        (b"HTTP/1.1 200 OK\r\nContent-Le", UpstreamBroken),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", UpstreamBroken),
        (CHUNKED + b"5\r\nabc", UpstreamBroken),
        (CHUNKED + b"3\r\nabc\r\n", UpstreamBroken),
        (CHUNKED + b"zz\r\nabc\r\n", UpstreamProtocolError),
        (b"SSH-2.0-OpenSSH_9.2\r\n", UpstreamProtocolError),
        (b"HTTP/1.1 OK\r\n\r\n", UpstreamProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", UpstreamProtocolError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", UpstreamProtocolError),
    ],
)
async def test_broken_answers_have_their_error(
    out: Outbound, start_upstream: StartUpstream, answer: bytes, error: type[PointsmanError]
) -> None:
    upstream = await start_upstream(answering(answer, then_close=True))
    with pytest.raises(error, match=f"127.0.0.1:{upstream.port}"):
        await (await out.send(outgoing(upstream.origin))).read()


async def test_an_unreachable_upstream_is_named(out: Outbound, start_upstream: StartUpstream) -> None:
    listener = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    secret = [(b"authorization", b"Bearer secret")]
    for origin, words in (
        (Origin(scheme="http", host="127.0.0.1", port=port), f"127.0.0.1:{port} .*refused"),
        (Origin(scheme="http", host="nowhere.invalid", port=80), "nowhere.invalid:80 .*resolved"),
        (Origin(scheme="http", host="", port=0, unix_socket="/nowhere.sock"), "/nowhere.sock .*[Nn]o such file"),
    ):
        with pytest.raises(UpstreamConnectError, match=words) as caught:
            await out.send(outgoing(origin, target="/x?key=secret", headers=secret))
        assert "secret" not in str(caught.value)


async def test_a_unix_socket(out: Outbound, start_upstream: StartUpstream, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    upstream = await start_upstream(answering(OK), unix=path)
    for _ in range(2):
        origin = Origin(scheme="http", host="localhost", port=0, unix_socket=path)
        assert await (await out.send(outgoing(origin))).read() == b"{}"
    assert upstream.connections == 1
    assert b"host: localhost\r\n" in upstream.requests[0].lower()


async def test_a_dead_idle_connection_is_replaced(
    make_out: Callable[..., Outbound], start_upstream: StartUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pointsman.transport")
    out = make_out(stale_seconds=60.0)

    async def dies_at_its_second_request(
        upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await upstream.read_request(reader)
        writer.write(OK)
        if upstream.connections == 1:
            await upstream.read_request(reader)

    upstream = await start_upstream(dies_at_its_second_request)
    for _ in range(2):
        assert await (await out.send(outgoing(upstream.origin))).read() == b"{}"
    assert upstream.connections == 2
    [said] = [record.getMessage() for record in caplog.records if record.name.startswith("pointsman.transport")]
    assert said.startswith(f"127.0.0.1:{upstream.port} closed an idle connection")


async def test_of_several_dead_idle_connections_one_is_tried(
    make_out: Callable[..., Outbound], start_upstream: StartUpstream
) -> None:
    out, all_open = make_out(stale_seconds=60.0), asyncio.Event()

    async def dies(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = upstream.connections
        if number == 3:
            all_open.set()
        await upstream.read_request(reader)
        await all_open.wait()
        writer.write(OK)
        if number <= 3:
            await upstream.read_request(reader)

    upstream = await start_upstream(dies)
    first = await asyncio.gather(*(out.send(outgoing(upstream.origin)) for _ in range(3)))
    assert [await response.read() for response in first] == [b"{}"] * 3
    assert await (await out.send(outgoing(upstream.origin))).read() == b"{}"
    assert (upstream.connections, len(upstream.requests)) == (4, 5)


async def test_a_connection_that_dies_at_work_is_not_asked_again(out: Outbound, start_upstream: StartUpstream) -> None:
    async def dies_at_work(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read_request(reader)
        writer.write(OK)
        await upstream.read_request(reader)
        await asyncio.sleep(0.1)

    upstream = await start_upstream(dies_at_work)
    await (await out.send(outgoing(upstream.origin))).read()
    with pytest.raises(UpstreamClosed):
        await out.send(outgoing(upstream.origin))
    assert len(upstream.requests) == 2


async def test_a_fresh_connection_that_dies_is_not_tried_again(out: Outbound, start_upstream: StartUpstream) -> None:
    upstream = await start_upstream(answering(b"", then_close=True))
    with pytest.raises(UpstreamClosed):
        await out.send(outgoing(upstream.origin))
    assert upstream.connections == 1


@pytest.mark.parametrize(
    ("phase", "sent"),
    [
        ("first_byte", b""),
        ("first_byte", CHUNKED),
        ("between_bytes", CHUNKED + b"3\r\nabc\r\n"),
        ("total", b""),
        ("total", CHUNKED + b"3\r\nabc\r\n"),
    ],
)
async def test_each_phase_has_its_time(out: Outbound, start_upstream: StartUpstream, phase: str, sent: bytes) -> None:
    left = asyncio.Event()

    async def stall(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read_request(reader)
        writer.write(sent)
        await reader.read()
        left.set()

    upstream = await start_upstream(stall)
    timeouts = Timeouts(**{"connect": 5, "first_byte": 5, "between_bytes": 5, "total": 5, phase: 0.2})
    begun = time.monotonic()
    with pytest.raises(UpstreamTimeout) as caught:
        await (await out.send(outgoing(upstream.origin, timeouts=timeouts))).read()
    assert caught.value.phase == phase
    assert 0.15 < time.monotonic() - begun < 1
    async with asyncio.timeout(30):
        await left.wait()


async def test_a_stream_may_last_longer_than_its_gaps(out: Outbound, start_upstream: StartUpstream) -> None:
    async def trickle(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read_request(reader)
        writer.write(CHUNKED)
        for _ in range(8):
            writer.write(b"1\r\n.\r\n")
            await asyncio.sleep(0.08)
        writer.write(b"0\r\n\r\n")

    upstream = await start_upstream(trickle)
    timeouts = Timeouts(connect=5, first_byte=0.3, between_bytes=0.3, total=5)
    assert await (await out.send(outgoing(upstream.origin, timeouts=timeouts))).read() == b"." * 8


async def test_a_connection_that_is_not_accepted_in_time(out: Outbound, start_upstream: StartUpstream) -> None:
    # TLS towards a listener that never speaks: the handshake is part of connecting.
    async def silent(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    origin = Origin(scheme="https", host="127.0.0.1", port=(await start_upstream(silent)).port)
    timeouts = Timeouts(connect=0.4, first_byte=5, between_bytes=5, total=5)
    with pytest.raises(UpstreamTimeout) as caught:
        await out.send(outgoing(origin, timeouts=timeouts))
    assert caught.value.phase == "connect"


@pytest.mark.parametrize("when", ["before the head", "in the body"])
async def test_giving_up_closes_the_upstream_connection(
    out: Outbound, start_upstream: StartUpstream, when: str
) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read_request(reader)
        asked.set()
        if when == "in the body":
            writer.write(CHUNKED + b"3\r\nabc\r\n")
        try:
            await reader.read()
        finally:
            left.set()

    upstream = await start_upstream(script)
    if when == "in the body":
        response = await out.send(outgoing(upstream.origin))
        assert await anext(aiter(response)) == b"abc"
        response.close()
    else:
        sending = asyncio.create_task(out.send(outgoing(upstream.origin)))
        await asked.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    async with asyncio.timeout(30):
        await left.wait()


async def test_a_reader_that_is_slow_holds_the_upstream_back(out: Outbound, start_upstream: StartUpstream) -> None:
    written = 0

    async def flood(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await upstream.read_request(reader)
        writer.write(CHUNKED)
        for _ in range(512):
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            written += 65536
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    upstream = await start_upstream(flood)
    # A reader's own slowness is not held against the upstream: the gap allowed is shorter than the pause.
    timeouts = Timeouts(connect=5, first_byte=5, between_bytes=0.25, total=20)
    response = await out.send(outgoing(upstream.origin, timeouts=timeouts))
    before = -1
    while written != before:
        before = written
        await asyncio.sleep(0.2)
    assert 0 < written < 16 * 1024 * 1024
    size = 0
    async for block in response:
        assert len(block) <= 1024 * 1024
        size += len(block)
    assert size == 512 * 65536


async def test_a_whole_body_has_a_limit(out: Outbound, start_upstream: StartUpstream) -> None:
    upstream = await start_upstream(answering(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 5_000_000, then_close=True))
    response = await out.send(outgoing(upstream.origin))
    with pytest.raises(UpstreamProtocolError, match="longer than 1000000"):
        await response.read(1_000_000)


@pytest.mark.parametrize(
    "change",
    [
        {"headers": [(b"x", b"a\r\nb: c")]},
        {"headers": [(b"x", b"a\nb")]},
        {"headers": [(b"x", b"a\0b")]},
        {"headers": [(b"x\r\ny", b"a")]},
        {"headers": [(b"host", b"a\r\nb: c")]},
        {"target": "/a\r\nb: c"},
        {"target": "/a b"},
        {"target": "http://elsewhere/"},
        {"target": "/é"},
        {"method": "GET /smuggled HTTP/1.1\r\n\r\nGET"},
    ],
)
async def test_what_would_end_a_line_is_refused(out: Outbound, start_upstream: StartUpstream, change: dict) -> None:
    upstream = await start_upstream(answering(OK))
    with pytest.raises(InvalidRequest):
        await out.send(outgoing(upstream.origin, **change))
    assert upstream.connections == 0


async def test_local_only_content_does_not_leave(out: Outbound, start_upstream: StartUpstream) -> None:
    upstream = await start_upstream(answering(OK))
    with pytest.raises(PrivacyWall):
        await out.send(outgoing(upstream.origin, local_only=True, destination=REMOTE))
    assert upstream.connections == 0
    assert await (await out.send(outgoing(upstream.origin, local_only=True))).read() == b"{}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(out: Outbound, start_upstream: StartUpstream, status: int) -> None:
    elsewhere = await start_upstream(answering(OK))
    redirect = b"HTTP/1.1 %d Moved\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
    upstream = await start_upstream(answering(redirect % (status, elsewhere.port)))
    response = await out.send(outgoing(upstream.origin))
    assert response.status == status
    await response.read()
    assert elsewhere.connections == 0


async def test_proxies_of_the_environment_are_not_used(
    make_out: Callable[..., Outbound], start_upstream: StartUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await start_upstream(answering(OK))
    upstream = await start_upstream(answering(OK))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert await (await make_out().send(outgoing(upstream.origin))).read() == b"{}"
    assert (proxy.connections, upstream.connections) == (0, 1)


async def test_compressed_bodies_are_left_as_they_are(out: Outbound, start_upstream: StartUpstream) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"
    upstream = await start_upstream(answering(answer))
    response = await out.send(outgoing(upstream.origin, headers=[(b"accept-encoding", b"gzip")]))
    assert await response.read() == b"\x1f\x8b\x08"
    assert b"accept-encoding: gzip\r\n" in upstream.requests[0].lower()


async def test_many_calls_run_side_by_side(out: Outbound, start_upstream: StartUpstream) -> None:
    upstream = await start_upstream(answering(CHUNKED + b"3\r\nabc\r\n", b"0\r\n\r\n"))

    async def one() -> bytes:
        return await (await out.send(outgoing(upstream.origin))).read()

    for _ in range(2):
        assert await asyncio.gather(*(one() for _ in range(200))) == [b"abc"] * 200


class TestPool:
    """What only the native pool promises."""

    async def test_it_counts_its_connections(self, pool: Pool, start_upstream: StartUpstream) -> None:
        upstream = await start_upstream(answering(CHUNKED + b"3\r\nabc\r\n"))
        response = await pool.send(outgoing(upstream.origin))
        (stats,) = pool.stats().values()
        assert (stats.open, stats.idle, stats.in_use) == (1, 0, 1)
        response.close()
        await eventually(lambda: pool.stats() == {})

    async def test_idle_connections_expire(self, start_upstream: StartUpstream) -> None:
        upstream = await start_upstream(answering(OK))
        pool = Pool(idle_seconds=0.1)
        await (await pool.send(outgoing(upstream.origin))).read()
        assert pool.stats()[upstream.origin].idle == 1
        await eventually(lambda: pool.stats() == {})
        await eventually(lambda: upstream.open == 0)
        await pool.close()

    async def test_so_many_stay_idle_and_no_more(self, start_upstream: StartUpstream) -> None:
        upstream = await start_upstream(answering(OK))
        pool = Pool(max_idle_per_origin=3)

        async def one() -> None:
            await (await pool.send(outgoing(upstream.origin))).read()

        await asyncio.gather(*(one() for _ in range(10)))
        await eventually(lambda: upstream.open == 3)
        assert pool.stats()[upstream.origin].idle == 3
        await pool.close()

    @pytest.mark.parametrize("stray", [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", b"HT", b"garbage"])
    async def test_a_stray_answer_reaches_nobody(self, pool: Pool, start_upstream: StartUpstream, stray: bytes) -> None:
        upstream = await start_upstream(answering(OK + stray))
        for _ in range(3):
            assert await (await pool.send(outgoing(upstream.origin))).read() == b"{}"
        assert upstream.connections == 3

    async def test_a_late_stray_answer_reaches_nobody(self, pool: Pool, start_upstream: StartUpstream) -> None:
        async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await upstream.read_request(reader)
            writer.write(OK)
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")
            await reader.read()

        upstream = await start_upstream(script)
        await (await pool.send(outgoing(upstream.origin))).read()
        await eventually(lambda: pool.stats() == {})

    async def test_other_transfer_encodings_are_refused(self, pool: Pool, start_upstream: StartUpstream) -> None:
        upstream = await start_upstream(
            answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
        )
        with pytest.raises(UpstreamProtocolError, match="Transfer-Encoding"):
            await pool.send(outgoing(upstream.origin))

    async def test_an_unasked_change_of_protocol_is_refused(self, pool: Pool, start_upstream: StartUpstream) -> None:
        switching = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxxxx"
        upstream = await start_upstream(answering(switching))
        with pytest.raises(UpstreamProtocolError, match="protocols"):
            await pool.send(outgoing(upstream.origin))

    async def test_a_closed_pool_connects_no_more(self, start_upstream: StartUpstream) -> None:
        upstream = await start_upstream(answering(OK))
        pool = Pool()
        await pool.close()
        with pytest.raises(UpstreamConnectError, match="shutting down"):
            await pool.send(outgoing(upstream.origin))
