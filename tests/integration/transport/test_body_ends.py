"""The end of an answer's body: behind the answer's own end, behind much that is no body, and behind another answer."""

from __future__ import annotations

import asyncio
import gc

import pytest
from transport_support import RawUpstream, StartUpstream, answering, outgoing

from pointsman.core.errors import UpstreamBroken, UpstreamProtocolError
from pointsman.core.ports import Timeouts
from pointsman.providers.endpoint import settled
from pointsman.transport.http import Outbound, UpstreamResponse
from pointsman.transport.pool import Pool
from pointsman.transport.pool_response import PoolResponse

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


@pytest.mark.parametrize("late", [0.0, 0.02])
async def test_an_end_that_comes_soon_leaves_the_connection_for_others(
    out: Outbound, start_upstream: StartUpstream, late: float
) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read_request(reader)
            writer.write(CHUNKED + b"3\r\nabc\r\n" + (b"" if late else END))
            if late:
                await asyncio.sleep(late)
                writer.write(END)

    upstream = await start_upstream(script)
    for _ in range(3):
        response = await out.send(outgoing(upstream.origin))
        assert await anext(aiter(response)) == b"abc"
        await settled(response)
        response.close()
    assert upstream.connections < 3  # on a busy machine one end may come too late


async def test_an_end_that_does_not_come_is_not_waited_for(out: Outbound, start_upstream: StartUpstream) -> None:
    upstream = await start_upstream(answering(CHUNKED + b"3\r\nabc\r\n"))
    response = await out.send(outgoing(upstream.origin))
    assert await anext(aiter(response)) == b"abc"
    async with asyncio.timeout(3):  # the time-outs of the call are longer
        await settled(response)
    response.close()
    async with asyncio.timeout(5):
        while upstream.open:
            await asyncio.sleep(0.01)


async def test_much_framing_around_a_little_body_holds_nothing_back(start_upstream: StartUpstream) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read_request(reader)
        writer.write(CHUNKED + b"1;" + b"x" * 20_000)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"\r\na\r\n" + b"1\r\nb\r\n" * 5_000 + END)

    upstream = await start_upstream(script)
    pool = Pool(buffer_bytes=1000)
    response = await pool.send(outgoing(upstream.origin, timeouts=Timeouts(connect=5, first_byte=5, total=10)))
    assert b"".join([block async for block in response]) == b"a" + b"b" * 5_000
    await pool.close()


async def test_a_body_up_to_its_limit_is_whole_however_it_is_framed(start_upstream: StartUpstream) -> None:
    upstream = await start_upstream(answering(CHUNKED, b"1\r\nb\r\n" * 1_000, b"1\r\nb\r\n" * 1_000 + END))
    pool = Pool()
    assert await (await pool.send(outgoing(upstream.origin))).read(2_000) == b"b" * 2_000
    assert upstream.connections == 1
    await pool.close()


async def test_what_follows_a_body_is_no_part_of_it(start_upstream: StartUpstream) -> None:
    upstream = await start_upstream(answering(CHUNKED + b"3\r\nabc\r\n" + END + CHUNKED + b"3\r\ndef\r\n" + END))
    pool = Pool()
    for _ in range(2):
        response = await pool.send(outgoing(upstream.origin))
        assert [block async for block in response] == [b"abc"]
    assert upstream.connections == 2
    await pool.close()


async def test_a_body_of_single_bytes_is_put_together_as_it_comes(start_upstream: StartUpstream) -> None:
    whole = bytes(range(256)) * 200

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read_request(reader)
            writer.write(CHUNKED)
            for begin in range(0, len(whole), 1_000):
                writer.write(b"".join(b"1\r\n%c\r\n" % byte for byte in whole[begin : begin + 1_000]))
                await writer.drain()
            writer.write(END)

    upstream = await start_upstream(script)
    pool = Pool()
    try:
        response = await pool.send(outgoing(upstream.origin))
        reading = asyncio.ensure_future(response.read())
        most = 0
        while not reading.done():
            most = max(most, len(response.blocks))
            await asyncio.sleep(0)
        assert await reading == whole
        assert most < len(whole) / 2
        response = await pool.send(outgoing(upstream.origin))
        with pytest.raises(UpstreamProtocolError, match="longer than 40000 bytes"):
            await response.read(40_000)
    finally:
        await pool.close()


@pytest.mark.parametrize("error", [None, UpstreamBroken("it broke off")])
async def test_a_reader_that_is_called_off_as_its_answer_ends_leaves_nothing_behind(
    start_upstream: StartUpstream, error: UpstreamBroken | None
) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["message"]))
    upstream = await start_upstream(answering(CHUNKED + b"3\r\nabc\r\n"))
    pool = Pool()
    response = await pool.send(outgoing(upstream.origin))
    assert isinstance(response, PoolResponse)
    assert await anext(aiter(response)) == b"abc"
    reading = asyncio.ensure_future(_all(response))
    await asyncio.sleep(0)
    response.end(error)  # the reader is woken by this, and in the same turn of the loop its caller leaves
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    del reading, response
    gc.collect()
    assert complaints == []
    await pool.close()


async def test_blocks_that_nobody_waits_for_are_read_as_one(start_upstream: StartUpstream) -> None:
    more = asyncio.Event()

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read_request(reader)
        for block in (b"ab", b"cd", b"ef"):
            writer.write(CHUNKED * (block == b"ab") + b"2\r\n%b\r\n" % block)
            await asyncio.sleep(0.01)
        await more.wait()
        writer.write(b"2\r\ngh\r\n" + END)

    upstream = await start_upstream(script)
    pool = Pool()
    response = await pool.send(outgoing(upstream.origin))
    assert isinstance(response, PoolResponse)
    async with asyncio.timeout(10):
        while len(response.blocks) < 3:
            await asyncio.sleep(0.01)
    first = await anext(aiter(response))
    more.set()
    assert [first, *await _all(response)] == [b"abcdef", b"gh"]
    assert response.ended
    await pool.close()


async def _all(response: UpstreamResponse) -> list[bytes]:
    return [block async for block in response]
