"""The seam of the data plane: what a handler sees of the server, and what a provider sees of the way out.

Two fillers each: `server.py` and `pool.py` (asyncio protocols on httptools), `asgi.py` and `aiohttp_out.py`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Coroutine, Sequence
from typing import Any, Protocol

import msgspec

from pointsman.core.locality import Destination, guard
from pointsman.core.ports import Timeouts

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case."""


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of a header, or None."""
    return dict(reversed(headers)).get(name)


class SameHead:
    """Shared by the requests of one connection whose heads say the same, but for the length of the body."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made: Any = None
        """What a handler made of the head, so that it need not be made again."""


class HttpRequest(msgspec.Struct, gc=False):
    """One request, whole."""

    method: str
    path: str
    """Percent-decoded, without the query."""
    query: bytes
    headers: Headers
    """Without Content-Length, where the server has read the body by it. Other requests may share them."""
    body: bytes
    peer: str | None = None
    """The client's address."""
    same: SameHead | None = None
    """None: nothing is remembered of this head."""

    def header(self, name: bytes) -> bytes | None:
        return header(self.headers, name)


class Responder(Protocol):
    """Where a handler writes its answer. A client that leaves cancels the handler's task."""

    @property
    def started(self) -> bool: ...

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer in one write; sets Content-Length."""

    def start(self, status: int, headers: Headers) -> None:
        """Begin a streamed answer (chunked)."""

    def write(self, data: bytes) -> bool:
        """A piece of a streamed answer, sent at once. True: the client reads too slowly, and `drain` should be waited
        for before more is written."""

    async def drain(self) -> None:
        """Wait while the client reads too slowly. Returns at once otherwise."""

    def finish(self) -> None:
        """End a streamed answer."""

    def abort(self) -> None:
        """Close the connection: the client must see that the answer is not whole."""


Handler = Callable[[HttpRequest, Responder], Awaitable[None]]

Tells = Callable[[str, int, str, str], tuple[Headers, bytes]]
"""Headers and body with which the server itself refuses, in the words of whoever asks: path (empty where it is not
known), status, code, message."""


class Origin(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Scheme, host and port of an upstream: what connections are pooled by."""

    scheme: str
    host: str
    port: int
    unix_socket: str | None = None


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One outbound call. `local_only` and `destination` have no defaults: whoever sends must know."""

    destination: Destination
    local_only: bool
    origin: Origin
    method: str
    target: str
    """Path and query as they go on the wire."""
    headers: Headers
    body: bytes = b""
    timeouts: Timeouts = msgspec.field(default_factory=Timeouts)
    clears: Callable[[bytes], bool] | None = None
    """Given with a redacted copy of local-only content: says whether the body may leave."""
    on_resend: Callable[[], None] | None = None
    """Told when it is sent once more, because the idle connection that it was sent on had been closed."""


class UpstreamResponse(ABC):
    """An answer whose head has arrived.

    `close` gives the connection back, or closes it when the body was not read whole.
    """

    status: int
    headers: Headers

    @property
    def ended(self) -> bool:
        """Whether the body is known to have come whole and to be read."""
        return False

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[bytes]:
        """Blocks of the body as they arrive. Raises UpstreamTimeout, UpstreamBroken, UpstreamProtocolError."""

    @abstractmethod
    async def read(self, limit: int = 64 * 1024 * 1024) -> bytes:
        """The whole body. Raises UpstreamProtocolError beyond `limit` bytes."""

    @abstractmethod
    def close(self) -> None: ...


LARGE_TO_CLEAR = 64 * 1024
"""Bytes of a redacted body from which on its last check is made in a thread; it takes some 17 ms a megabyte."""


def _guard(request: UpstreamRequest, remote: Container[Origin]) -> None:
    destination = request.destination
    if destination.local and request.origin in remote:
        destination = Destination(destination.model)
    guard(destination, local_only=request.local_only, clears=request.clears, body=request.body)


class Outbound(ABC):
    """The only way out of the process. The privacy wall stands here: every filler passes it.

    Follows no redirect and reads no proxy from the environment.
    """

    remote: frozenset[Origin] = frozenset()
    """Addresses that were declared local and are not any more: a request that was decided before must not go there."""

    def send(self, request: UpstreamRequest) -> Coroutine[Any, Any, UpstreamResponse]:
        """Send a request; the answer comes when its head has arrived.

        Raises:
            PrivacyWall: the request is local-only, the destination is not local, and the body is not clear of it.
            UpstreamConnectError, UpstreamClosed, UpstreamTimeout, UpstreamProtocolError: as they say.
        """
        if request.local_only:
            if request.clears is not None and len(request.body) > LARGE_TO_CLEAR:
                return self._send_cleared(request)
            _guard(request, self.remote)
        return self._send(request)

    async def _send_cleared(self, request: UpstreamRequest) -> UpstreamResponse:
        await asyncio.to_thread(_guard, request, self.remote)
        return await self._send(request)

    @abstractmethod
    async def _send(self, request: UpstreamRequest) -> UpstreamResponse: ...

    @abstractmethod
    async def close(self) -> None: ...
