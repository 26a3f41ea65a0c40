"""Opening a socket to an upstream: resolution, and RFC 8305's staggered attempts over both address families.

Done here and not by `create_connection`, as uvloop's has no `happy_eyeballs_delay`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterable

from pointsman.core.errors import OutOfFiles, UpstreamConnectError

from .http import Origin

STALE_SECONDS = 0.05
"""An idle connection that the upstream had closed says so within a round trip. One that closes later may have died at
work, and the request is not sent a second time unasked: it may be billed, or be what its reader died of."""
_STAGGER = 0.25
"""Seconds before the next address is tried beside the one that has not answered (RFC 8305, section 5)."""

_Address = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes] | str]


def place(origin: Origin) -> str:
    """The origin for people: `host:port`, or the socket's path."""
    if origin.unix_socket is not None:
        return origin.unix_socket
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return f"{host}:{origin.port}"


async def connect_socket(origin: Origin) -> socket.socket:
    """A connected, non-blocking socket.

    Raises:
        UpstreamConnectError: the name is unknown, no address of it accepts, or no more files may be open.
    """
    if origin.unix_socket is not None:
        try:
            return await _connect((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", origin.unix_socket))
        except OSError as error:
            raise failed_to_open(origin, error) from None
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid host name"
        raise unreachable(origin, f"the name cannot be resolved ({reason})") from None
    try:
        return await _first_to_accept(_interleaved(found))
    except OSError as error:
        raise failed_to_open(origin, error) from None


def release(sock: socket.socket, inode: int) -> None:
    """Close a socket whose transport could not be opened.

    uvloop's transport has closed the descriptor by then, and another thread's file may have its number: that must not
    be closed, now or when the object is collected. `inode` is the socket's own, from when it was open.
    """
    try:
        ours = os.fstat(sock.fileno()).st_ino == inode
    except OSError:
        ours = False
    if ours:
        sock.close()
    else:
        sock.detach()


def unreachable(origin: Origin, reason: str) -> UpstreamConnectError:
    return UpstreamConnectError(f"{place(origin)} could not be reached: {reason}.")


def failed_to_open(origin: Origin, error: OSError) -> UpstreamConnectError:
    """What a socket says that could not be opened: of the upstream, or of this machine."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return OutOfFiles()
    return unreachable(origin, reason_of(error))


def reason_of(error: BaseException) -> str:
    """An error's reason without numbers and addresses."""
    if isinstance(error, OSError):
        words = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        if words:
            return words[0].lower() + words[1:]
        if isinstance(error, ConnectionError):
            return "it closed the connection"
    return str(error) or type(error).__name__


def _interleaved(found: Iterable[_Address]) -> list[_Address]:
    """Families in turn, beginning with the one the resolver prefers."""
    addresses = list(found)
    first = [address for address in addresses if address[0] == addresses[0][0]]
    rest = [address for address in addresses if address[0] != addresses[0][0]]
    ordered: list[_Address] = []
    while first or rest:
        if first:
            ordered.append(first.pop(0))
        if rest:
            ordered.append(rest.pop(0))
    return ordered


async def _first_to_accept(addresses: list[_Address]) -> socket.socket:
    if len(addresses) == 1:
        return await _connect(addresses[0])
    attempts: set[asyncio.Task[socket.socket]] = set()
    failure: OSError = OSError("no address")
    try:
        waiting = list(addresses)
        while waiting or attempts:
            if waiting:
                attempts.add(asyncio.create_task(_connect(waiting.pop(0))))
            timeout = _STAGGER if waiting else None
            done, _ = await asyncio.wait(attempts, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                error = attempt.exception()
                if error is None:
                    attempts.discard(attempt)
                    return attempt.result()
                if not isinstance(error, OSError):
                    raise error
                failure = error
                attempts.discard(attempt)
        raise failure
    finally:
        for attempt in attempts:
            attempt.add_done_callback(_close_late)
            attempt.cancel()


def _close_late(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _connect(address: _Address) -> socket.socket:
    family, kind, protocol, _, target = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock
