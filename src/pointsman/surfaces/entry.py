"""The front door: every request passes here, is admitted, and goes to its handler.

The hot endpoints are answered on the data plane; every other path goes to the ASGI application, which is loaded at
its first request.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from pointsman.core.caller import Caller
from pointsman.core.errors import PointsmanError
from pointsman.transport.http import HttpRequest, Responder

from .errors import shape_for

log = logging.getLogger(__name__)

HotHandler = Callable[[HttpRequest, Responder, Caller], Awaitable[None]]
AsgiHandler = Callable[[HttpRequest, Responder, Mapping[str, Any]], Awaitable[None]]


class Admits(Protocol):
    """Admits a request or raises a typed error."""

    def check(
        self,
        *,
        method: str,
        host: bytes | None,
        origin: bytes | None,
        fetch_site: bytes | None,
        fetch_mode: bytes | None,
        content_type: bytes | None,
        authorization: bytes | None,
        api_key: bytes | None,
    ) -> Caller: ...

    def allows_origin(self, origin: bytes, host: bytes | None = None) -> bool: ...


class Entry:
    """A `transport.http.Handler`."""

    def __init__(self, *, access: Admits, hot: Mapping[tuple[str, str], HotHandler], asgi: AsgiHandler) -> None:
        self._access = access
        self._hot = hot
        self._asgi = asgi

    async def __call__(self, request: HttpRequest, respond: Responder) -> None:
        headers = dict(request.headers)
        if len(headers) != len(request.headers):
            _keep_single(headers, request)
        origin, host = headers.get(b"origin"), headers.get(b"host")
        if request.path == "/api/health" and request.method in ("GET", "HEAD"):
            respond.send(200, [(b"content-type", b"application/json")], b'{"status":"ok"}')
            return
        if origin is not None:
            respond = _CrossOrigin(respond, origin) if self._access.allows_origin(origin, host) else respond
            if request.method == "OPTIONS" and b"access-control-request-method" in headers:
                respond.send(204 if isinstance(respond, _CrossOrigin) else 403, PREFLIGHT, b"")
                return
        try:
            caller = self._access.check(
                method=request.method,
                host=host,
                origin=origin,
                fetch_site=headers.get(b"sec-fetch-site"),
                fetch_mode=headers.get(b"sec-fetch-mode"),
                content_type=headers.get(b"content-type"),
                authorization=headers.get(b"authorization"),
                api_key=headers.get(b"x-api-key"),
            )
        except PointsmanError as error:
            status, error_headers, body = shape_for(request.path)(error)
            respond.send(status, error_headers, body)
            return
        handler = self._hot.get((request.method, request.path))
        if handler is not None:
            await handler(request, respond, caller)
        else:
            await self._asgi(request, respond, {"caller": caller})


def _keep_single(headers: dict[bytes, bytes], request: HttpRequest) -> None:
    """Of headers that decide who may enter, one that stands several times is worth nothing."""
    for name in (b"host", b"origin", b"authorization", b"x-api-key"):
        if sum(key == name for key, _ in request.headers) > 1:
            headers[name] = b""


PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, x-api-key, x-pointsman-privacy, x-pointsman-priority",
    ),
    (b"access-control-max-age", b"600"),
]


class _CrossOrigin:
    """A responder whose answers an allowed web origin may read."""

    def __init__(self, respond: Responder, origin: bytes) -> None:
        self._respond = respond
        self._headers = [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", b"*"),
            (b"vary", b"origin"),
        ]
        self.write, self.drain, self.finish, self.abort = respond.write, respond.drain, respond.finish, respond.abort

    @property
    def started(self) -> bool:
        return self._respond.started

    def send(self, status: int, headers: Any, body: bytes) -> None:
        self._respond.send(status, [*headers, *self._headers], body)

    def start(self, status: int, headers: Any) -> None:
        self._respond.start(status, [*headers, *self._headers])
