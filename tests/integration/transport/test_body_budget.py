"""Large bodies together stay within one bound, and a body must come at a pace."""

from __future__ import annotations

import asyncio
import time

import pytest
from transport_support import StartServer, connect, get, post

from pointsman.transport.http import HttpRequest, Responder

LARGE = 200_000


def opening(size: int = LARGE) -> bytes:
    return get("/", f"content-length: {size}", method="POST")


async def echo(request: HttpRequest, respond: Responder) -> None:
    respond.send(200, [], b"%d" % len(request.body))


async def test_large_bodies_share_a_bound_and_small_ones_get_in(start_server: StartServer) -> None:
    server = await start_server(echo, max_body_memory=500_000, max_body_bytes=LARGE)
    async with connect(server.port) as first, connect(server.port) as second, connect(server.port) as third:
        for client in (first, second):
            client.send(opening() + b"x" * (LARGE - 1))
            await client.writer.drain()
        await asyncio.sleep(0.1)
        third.send(opening() + b"x" * LARGE)
        refused = await third.response()
        assert (refused.status, refused.headers["connection"]) == (503, "close")
        async with connect(server.port) as small:
            small.send(post(b"x" * 60_000))
            assert (await small.response()).status == 200
        await first.leave()
        async with connect(server.port) as fourth:
            for _ in range(50):  # the server has yet to notice that the first one left
                fourth.send(post(b"x" * LARGE))
                answer = await fourth.response()
                if answer.status == 200:
                    break
                await asyncio.sleep(0.02)
                fourth.reader, fourth.writer = await asyncio.open_connection("127.0.0.1", server.port)
            assert answer.status == 200
            assert answer.body == b"%d" % LARGE
            fourth.writer.close()
        second.send(b"x")
        assert (await second.response()).status == 200


async def test_a_body_counts_until_it_is_answered(start_server: StartServer) -> None:
    going = asyncio.Event()

    async def slow(request: HttpRequest, respond: Responder) -> None:
        await going.wait()
        respond.send(200, [], b"done")

    server = await start_server(slow, max_body_memory=300_000, max_body_bytes=LARGE)
    async with connect(server.port) as first, connect(server.port) as second:
        first.send(post(b"x" * LARGE))
        await asyncio.sleep(0.1)
        second.send(post(b"x" * LARGE))
        assert (await second.response()).status == 503
        going.set()
        assert (await first.response()).status == 200
        for _ in range(3):
            first.send(post(b"x" * LARGE))
            assert (await first.response()).status == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_drips_is_ended(start_server: StartServer, chunked: bool) -> None:
    server = await start_server(echo, body_timeout=0.3, min_body_rate=1000)
    head = get("/", "transfer-encoding: chunked", method="POST") if chunked else opening()
    async with connect(server.port) as client:
        client.send(head)
        began = time.monotonic()

        async def drip() -> None:
            while True:
                client.send(b"1\r\nx\r\n" if chunked else b"x")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        try:
            assert (await client.response()).status == 408
        finally:
            dripping.cancel()
        assert time.monotonic() - began < 2


async def test_a_slow_body_at_an_honest_pace_arrives(start_server: StartServer) -> None:
    server = await start_server(echo, body_timeout=0.2, min_body_rate=10_000)
    async with connect(server.port) as client:
        client.send(opening(10_000))
        for _ in range(10):
            client.send(b"x" * 1000)
            await asyncio.sleep(0.06)
        assert (await client.response()).body == b"10000"
