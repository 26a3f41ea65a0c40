"""The native way out: keep-alive connections to upstreams, pooled by origin."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pointsman.core.errors import UpstreamClosed, UpstreamTimeout

from .dial import STALE_SECONDS, connect_socket, place, reason_of, release, unreachable
from .http import Origin, Outbound, UpstreamRequest, UpstreamResponse
from .outgoing import request_head
from .pool_connection import PoolConnection

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginStats:
    """Connections to one origin."""

    open: int
    idle: int

    @property
    def in_use(self) -> int:
        return self.open - self.idle


class OriginConnections:
    """Those to one origin. Kept by each of them, so that giving one back looks nothing up."""

    __slots__ = ("idle", "open")

    def __init__(self) -> None:
        self.idle: list[PoolConnection] = []
        self.open: set[PoolConnection] = set()


class Pool(Outbound):
    """An `Outbound` over its own connections.

    Args:
        ca_file: PEM certificates trusted beside the public ones.
        max_idle_per_origin: idle connections kept; more are closed as they come back.
        idle_seconds: after which an idle connection is closed. Below the usual keep-alive time of servers.
        max_head_bytes: of an answer.
        buffer_bytes: of a body that wait for their reader before the upstream is held back.
        stale_seconds: within which a connection that was idle says that it had been closed, and what was sent on it is
            sent once more.
    """

    def __init__(
        self,
        *,
        ca_file: str | None = None,
        max_idle_per_origin: int = 64,
        idle_seconds: float = 30.0,
        max_head_bytes: int = 64 * 1024,
        buffer_bytes: int = 256 * 1024,
        stale_seconds: float = STALE_SECONDS,
    ) -> None:
        self.max_head_bytes = max_head_bytes
        self.buffer_bytes = buffer_bytes
        self._ca_file = ca_file
        self._max_idle = max_idle_per_origin
        self._idle_seconds = idle_seconds
        self._stale_seconds = stale_seconds
        self._connections: dict[Origin, OriginConnections] = {}
        self._tls: ssl.SSLContext | None = None
        self._closed = False
        self._emptied: asyncio.Event | None = None

    async def _send(self, request: UpstreamRequest) -> UpstreamResponse:
        head = request_head(request)
        total_at = asyncio.get_running_loop().time() + request.timeouts.total
        connection = self._take_idle(request.origin)
        if connection is not None:
            response = connection.exchange(request, head, total_at)
            try:
                await response.head()
                return response
            except UpstreamClosed:
                if asyncio.get_running_loop().time() - connection.sent_at > self._stale_seconds:
                    raise
                log.info("%s closed an idle connection under a request: it is sent again", place(request.origin))
                if request.on_resend is not None:
                    request.on_resend()
            except BaseException:
                response.close()
                raise
        connection = await self._connect(request)
        response = connection.exchange(request, head, total_at)
        try:
            await response.head()
        except BaseException:
            response.close()
            raise
        return response

    async def close(self) -> None:
        """Close every connection, those in use too."""
        self._closed = True
        self._emptied = asyncio.Event()
        for connections in tuple(self._connections.values()):
            for connection in tuple(connections.open):
                connection.close()
        while self._connections:
            self._emptied.clear()
            await self._emptied.wait()

    def stats(self) -> Mapping[Origin, OriginStats]:
        """Connections by origin, for metrics and leak tests. Origins without any are left out."""
        return {
            origin: OriginStats(open=len(connections.open), idle=len(connections.idle))
            for origin, connections in self._connections.items()
        }

    def give_back(self, connection: PoolConnection) -> None:
        """Called by a connection whose answer has come whole."""
        idle = connection.siblings.idle
        if self._closed or len(idle) >= self._max_idle:
            connection.close()
            return
        connection.rest(self._idle_seconds)
        idle.append(connection)

    def remember(self, connection: PoolConnection) -> None:
        """Called by a connection that is open."""
        siblings = self._connections.get(connection.origin)
        if siblings is None:
            siblings = self._connections[connection.origin] = OriginConnections()
        siblings.open.add(connection)
        connection.siblings = siblings

    def forget(self, connection: PoolConnection) -> None:
        """Called by a connection that is closed."""
        siblings = connection.siblings
        siblings.open.discard(connection)
        if connection in siblings.idle:
            siblings.idle.remove(connection)
        if not siblings.open:
            del self._connections[connection.origin]
        if self._emptied is not None:
            self._emptied.set()

    def _take_idle(self, origin: Origin) -> PoolConnection | None:
        connections = self._connections.get(origin)
        if connections is None:
            return None
        idle = connections.idle
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
        return None

    async def _connect(self, request: UpstreamRequest) -> PoolConnection:
        origin, timeouts = request.origin, request.timeouts
        if self._closed:
            raise unreachable(origin, "the gateway is shutting down")
        seconds = min(timeouts.connect, timeouts.total)
        connection = PoolConnection(self, origin)
        try:
            async with asyncio.timeout(seconds):
                await self._open_transport(connection)
        except BaseException as error:
            connection.give_up()
            if isinstance(error, TimeoutError):
                raise UpstreamTimeout("connect" if timeouts.connect <= timeouts.total else "total", seconds) from None
            if isinstance(error, OSError):  # a failed handshake too: ssl.SSLError is one
                raise unreachable(origin, _tls_reason(error)) from None
            raise
        if not connection.usable:
            raise unreachable(origin, "the connection was closed at once")
        return connection

    async def _open_transport(self, connection: PoolConnection) -> None:
        origin = connection.origin
        context = await self._tls_context() if origin.scheme == "https" else None
        hostname = origin.host if context is not None else None
        loop = asyncio.get_running_loop()
        sock = await connect_socket(origin)
        inode = os.fstat(sock.fileno()).st_ino
        try:
            if origin.unix_socket is not None:
                await loop.create_unix_connection(lambda: connection, sock=sock, ssl=context, server_hostname=hostname)
            else:
                await loop.create_connection(lambda: connection, sock=sock, ssl=context, server_hostname=hostname)
        except BaseException:
            release(sock, inode)
            raise

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            from .tls import client_context

            self._tls = await asyncio.get_running_loop().run_in_executor(None, client_context, self._ca_file)
        return self._tls


def _tls_reason(error: OSError) -> str:
    """Why a connection or its handshake failed, in words."""
    verdict = getattr(error, "verify_message", None)
    if verdict:
        return f"its TLS certificate is not accepted ({verdict})"
    reason = getattr(error, "reason", None)
    if reason:
        return f"the TLS handshake failed ({str(reason).lower().replace('_', ' ')})"
    return reason_of(error)
