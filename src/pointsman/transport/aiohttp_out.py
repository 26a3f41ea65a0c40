"""The second way out, on aiohttp: the same promises as the pool, for when the pool itself is in doubt."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import TYPE_CHECKING

from pointsman.core.errors import (
    UpstreamBroken,
    UpstreamClosed,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from pointsman.core.ports import Timeouts

from .dial import STALE_SECONDS, failed_to_open, place, reason_of, unreachable
from .http import Origin, Outbound, UpstreamRequest, UpstreamResponse
from .outgoing import host_value, request_head

if TYPE_CHECKING:
    import ssl

    import aiohttp

_OURS = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive"})
_LARGE_BODY = 512 * 1024

log = logging.getLogger(__name__)


class AiohttpOut(Outbound):
    """An `Outbound` over aiohttp sessions: one for TCP, one for each Unix socket, and twins of them whose connections
    are all new.

    Args:
        ca_file: PEM certificates trusted beside the public ones.
        idle_seconds, max_head_bytes, stale_seconds: as the pool's.
    """

    def __init__(
        self,
        *,
        ca_file: str | None = None,
        idle_seconds: float = 30.0,
        max_head_bytes: int = 64 * 1024,
        stale_seconds: float = STALE_SECONDS,
    ) -> None:
        self._ca_file = ca_file
        self._idle_seconds = idle_seconds
        self._max_head_bytes = max_head_bytes
        self._stale_seconds = stale_seconds
        self._sessions: dict[tuple[str | None, bool], aiohttp.ClientSession] = {}
        self._context: ssl.SSLContext | None = None

    async def _send(self, request: UpstreamRequest) -> UpstreamResponse:
        request_head(request)  # refuses what would end a line
        loop = asyncio.get_running_loop()
        if request.origin.scheme == "https" and self._context is None:
            from .tls import client_context

            self._context = await loop.run_in_executor(None, client_context, self._ca_file)
        total_at = loop.time() + request.timeouts.total
        call = _Call(request.timeouts, total_at)
        try:
            return await self._attempt(request, call)
        except UpstreamClosed:
            if not call.reused or loop.time() - call.sent_at > self._stale_seconds:
                raise
        log.info("%s closed an idle connection under a request: it is sent again", place(request.origin))
        if request.on_resend is not None:
            request.on_resend()
        return await self._attempt(request, _Call(request.timeouts, total_at), fresh=True)

    async def close(self) -> None:
        """Close every connection, those in use too."""
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()

    async def _attempt(self, request: UpstreamRequest, call: _Call, *, fresh: bool = False) -> UpstreamResponse:
        import aiohttp
        import yarl

        origin, timeouts = request.origin, request.timeouts
        host = f"[{origin.host}]" if ":" in origin.host else origin.host or "localhost"
        secure = origin.scheme == "https"
        try:
            async with asyncio.timeout_at(call.total_at) as call.timer:
                response = await self._session(origin, fresh=fresh).request(
                    request.method,
                    yarl.URL(f"{origin.scheme}://{host}:{origin.port}{request.target}", encoded=True),
                    data=_body(request.body),
                    headers=_headers(request),
                    allow_redirects=False,
                    skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
                    ssl=self._context if secure and self._context else True,
                    server_hostname=origin.host if secure else None,
                    timeout=aiohttp.ClientTimeout(total=None, connect=timeouts.connect),
                    trace_request_ctx=call,
                )
        except TimeoutError as error:
            if isinstance(error, aiohttp.ServerTimeoutError):
                raise UpstreamTimeout("connect", timeouts.connect) from None
            raise call.timed_out("first_byte", call.first_byte_at) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _failed_before_head(origin, error, sent=call.sent_at > 0) from None
        return AiohttpResponse(response, origin, call)

    def _session(self, origin: Origin, *, fresh: bool) -> aiohttp.ClientSession:
        """
        Args:
            fresh: whether its connections carry one request each. Elsewhere aiohttp chooses, and after one that was
                closed it may hand out another.
        """
        import aiohttp

        session = self._sessions.get((origin.unix_socket, fresh))
        if session is None:
            connector: aiohttp.BaseConnector
            seconds = None if fresh else self._idle_seconds
            if origin.unix_socket is not None:
                connector = aiohttp.UnixConnector(
                    origin.unix_socket, limit=0, keepalive_timeout=seconds, force_close=fresh
                )
            else:
                connector = aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=seconds, force_close=fresh, use_dns_cache=False
                )
            session = self._sessions[origin.unix_socket, fresh] = aiohttp.ClientSession(
                connector=connector,
                trust_env=False,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=self._max_head_bytes,
                max_field_size=self._max_head_bytes,
                trace_configs=[_reuse_trace()],
            )
        return session


class AiohttpResponse(UpstreamResponse):
    """An answer of aiohttp's, under the seam's deadlines and errors."""

    def __init__(self, response: aiohttp.ClientResponse, origin: Origin, call: _Call) -> None:
        self.status = response.status
        self.headers = [(name.lower(), value) for name, value in response.raw_headers]
        self._response = response
        self._origin = origin
        self._call = call
        self._phase = "first_byte"
        self._next_at = call.first_byte_at

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        import aiohttp

        call = self._call
        try:
            async with asyncio.timeout_at(min(self._next_at, call.total_at)):
                data = await self._response.content.readany()
        except TimeoutError:
            self.close()
            raise call.timed_out(self._phase, self._next_at) from None
        except (aiohttp.ClientError, OSError) as error:
            self.close()
            raise _failed_in_body(self._origin, error) from None
        if not data:
            raise StopAsyncIteration
        self._phase = "between_bytes"
        self._next_at = asyncio.get_running_loop().time() + call.timeouts.between_bytes
        return data

    async def read(self, limit: int = 64 * 1024 * 1024) -> bytes:
        blocks: list[bytes] = []
        size = 0
        async for block in self:
            size += len(block)
            if size > limit:
                self.close()
                raise UpstreamProtocolError(f"The model's provider sent an answer longer than {limit} bytes.")
            blocks.append(block)
        return b"".join(blocks)

    def close(self) -> None:
        self._response.close()


class _Call:
    """One attempt's deadlines, set by the session's traces as they pass."""

    def __init__(self, timeouts: Timeouts, total_at: float) -> None:
        self.timeouts = timeouts
        self.total_at = total_at
        self.first_byte_at = total_at
        self.sent_at = 0.0
        self.reused = False
        self.timer: asyncio.Timeout | None = None

    def connected(self, *, reused: bool) -> None:
        self.reused = reused
        self.sent_at = asyncio.get_running_loop().time()
        self.first_byte_at = self.sent_at + self.timeouts.first_byte
        if self.timer is not None:
            self.timer.reschedule(min(self.first_byte_at, self.total_at))

    def timed_out(self, phase: str, phase_at: float) -> UpstreamTimeout:
        """The deadline that ran out: the nearer one. Loops fire a timer up to its resolution early, so the clock does
        not tell."""
        if self.total_at <= phase_at:
            phase = "total"
        return UpstreamTimeout(phase, getattr(self.timeouts, phase))


async def _on_created(session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    context.trace_request_ctx.connected(reused=False)


async def _on_reused(session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    context.trace_request_ctx.connected(reused=True)


def _reuse_trace() -> aiohttp.TraceConfig:
    import aiohttp

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(_on_created)
    trace.on_connection_reuseconn.append(_on_reused)
    return trace


def _body(body: bytes) -> bytes | io.BytesIO | None:
    """aiohttp writes large bytes in one go, and says so in a warning; a file it writes in pieces."""
    if len(body) > _LARGE_BODY:
        return io.BytesIO(body)
    return body or None


def _headers(request: UpstreamRequest) -> list[tuple[str, str]]:
    names = {name for name, _ in request.headers}
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers if name not in _OURS
    ]
    if b"host" not in names:
        headers.append(("host", host_value(request.origin).decode()))
    if b"accept-encoding" not in names:
        headers.append(("accept-encoding", "identity"))
    return headers


def _failed_before_head(origin: Origin, error: Exception, *, sent: bool) -> UpstreamError:
    import aiohttp

    if isinstance(error, aiohttp.ClientResponseError):
        reason = error.message.splitlines()[0].rstrip(":") if error.message else "bad message"
        return UpstreamProtocolError(f"{place(origin)} answered with something that is not HTTP/1.1: {reason}.")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        verdict = getattr(error.certificate_error, "verify_message", str(error.certificate_error))
        return unreachable(origin, f"its TLS certificate is not accepted ({verdict})")
    if isinstance(error, aiohttp.ClientSSLError):
        return unreachable(origin, "the TLS handshake failed")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return unreachable(origin, f"the name cannot be resolved ({error.os_error.strerror})")
    if isinstance(error, aiohttp.ClientConnectorError):
        return failed_to_open(origin, error.os_error)
    if isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str):
        return UpstreamBroken(f"{place(origin)} broke off in the middle of its answer.")
    why = "the connection was closed" if isinstance(error, aiohttp.ServerDisconnectedError) else reason_of(error)
    return UpstreamClosed(f"{place(origin)} did not answer: {why}.") if sent else unreachable(origin, why)


def _failed_in_body(origin: Origin, error: Exception) -> UpstreamError:
    from aiohttp.http_exceptions import TransferEncodingError

    cause = error.__cause__
    if isinstance(cause, TransferEncodingError) and "Not enough data" not in cause.message:
        return UpstreamProtocolError(f"{place(origin)} answered with a body that is not HTTP/1.1.")
    return UpstreamBroken(f"{place(origin)} broke off in the middle of its answer.")
