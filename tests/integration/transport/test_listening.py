"""Where the native server listens, and how the pool gets to where it is going."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_outbound_tls import Certificate, make_certificate
from transport_support import RawClient, StartServer, connect, get, outgoing, post

from pointsman.transport import dial
from pointsman.transport.http import HttpRequest, Origin, Responder
from pointsman.transport.pool import Pool
from pointsman.transport.server import serve


async def echo(request: HttpRequest, respond: Responder) -> None:
    if request.path == "/stream":
        respond.start(200, [])
        for _ in range(64):
            respond.write(b"x" * 65536)
            await respond.drain()
        respond.finish()
        return
    respond.send(200, [(b"x-peer", str(request.peer).encode())], request.body)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "localhost")


async def test_tls(certificate: Certificate) -> None:
    server = await serve(echo, host="127.0.0.1", port=0, ssl_context=certificate.server_context())
    trusting = ssl.create_default_context(cafile=certificate.path)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting, server_hostname="localhost")
    client = RawClient(reader, writer)
    client.send(post(b"abc"))
    assert (await client.response()).body == b"abc"
    client.send(get("/stream"))
    assert len((await client.response()).body) == 64 * 65536
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert (await client.response()).status == 400
    await client.leave()
    await server.close(1)


async def test_the_pool_and_the_server_meet_over_tls_and_unix_sockets(certificate: Certificate, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    unix = await serve(echo, host="", port=0, sock=listening)
    secure = await serve(echo, host="127.0.0.1", port=0, ssl_context=certificate.server_context())
    pool = Pool(ca_file=certificate.path)
    for origin in (
        Origin(scheme="http", host="localhost", port=0, unix_socket=path),
        Origin(scheme="https", host="localhost", port=secure.port),
    ):
        for body in (b"", b"x" * 1_000_000):
            response = await pool.send(outgoing(origin, body=body))
            assert await response.read() == body
        streamed = await pool.send(outgoing(origin, target="/stream"))
        assert sum([len(block) async for block in streamed]) == 64 * 65536
        assert pool.stats()[origin].open == 1
    await pool.close()
    await unix.close(1)
    await secure.close(1)


def taken(port: int, count: int) -> list[socket.socket]:
    """Connections that the kernel has taken and the loop has not: it does not run meanwhile."""
    return [socket.create_connection(("127.0.0.1", port), timeout=2) for _ in range(count)]


async def test_requests_that_only_the_kernel_knows_of_are_answered_at_the_end(start_server: StartServer) -> None:
    server = await start_server(echo)
    clients = taken(server.port, 20)
    for client in clients:
        client.sendall(post(b"abc"))
    await server.close(5)
    for client in clients:
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert answer.endswith(b"abc")
        client.close()
    with pytest.raises(ConnectionRefusedError):
        taken(server.port, 1)


async def test_the_end_does_not_wait_for_handshakes(certificate: Certificate) -> None:
    server = await serve(echo, host="127.0.0.1", port=0, ssl_context=certificate.server_context())
    clients = taken(server.port, 3)
    begun = time.monotonic()
    await server.close(5)
    assert time.monotonic() - begun < 4.0
    for client in clients:
        client.close()


async def test_an_address_in_use_is_an_error() -> None:
    server = await serve(echo, host="127.0.0.1", port=0)
    with pytest.raises(OSError, match="in use"):
        await serve(echo, host="127.0.0.1", port=server.port)
    async with connect(server.port) as client:
        client.send(get())
        assert (await client.response()).status == 200
    await server.close(1)


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose queue is full: the kernel drops further connection attempts without a word."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(listening.getsockname())
    yield listening.getsockname()[1]
    for sock in (*fillers, listening):
        sock.close()


async def test_a_silent_address_does_not_hold_up_the_next(deaf_port: int) -> None:
    server = await serve(echo, host="127.0.0.1", port=0)
    kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
    begun = time.monotonic()
    sock = await dial._first_to_accept([(*kind, ("127.0.0.1", deaf_port)), (*kind, ("127.0.0.1", server.port))])
    assert 0.2 < time.monotonic() - begun < 1
    assert sock.getpeername()[1] == server.port
    sock.close()
    await server.close(1)


async def test_a_refusing_address_is_passed_over_at_once() -> None:
    server = await serve(echo, host="127.0.0.1", port=0)
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
    begun = time.monotonic()
    sock = await dial._first_to_accept([(*kind, ("127.0.0.1", port)), (*kind, ("127.0.0.1", server.port))])
    assert time.monotonic() - begun < 0.2
    sock.close()
    await server.close(1)
