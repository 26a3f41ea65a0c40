"""The front door: every request passes here, is admitted, and goes to its handler.

The hot endpoints are answered on the data plane; every other path goes to the ASGI application, which is loaded at
its first request.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from pointsman.core.caller import Caller, EndpointClass
from pointsman.core.errors import PointsmanError, Unauthenticated
from pointsman.core.knock import Knock
from pointsman.core.lifecycle import Lifecycle
from pointsman.transport.http import Headers, HttpRequest, Responder

from .cross_origin import VARY, granted, preflight
from .endpoints import classify
from .errors import for_caller, shape_for

log = logging.getLogger(__name__)

PROBES = frozenset({"/api/health", "/ready"})
"""Whether the process lives, and whether it wants requests: answered without asking anything else."""
JSON = (b"content-type", b"application/json")

HotHandler = Callable[[HttpRequest, Responder, Caller], Awaitable[None]]
AsgiHandler = Callable[[HttpRequest, Responder, Mapping[str, Any]], Awaitable[None]]


class Admits(Protocol):
    """Says who asks, or raises a typed error."""

    def check(self, knock: Knock) -> Caller: ...

    def allows_origin(self, origin: bytes, host: bytes | None = None) -> bool: ...


class Verifies(Protocol):
    """Checks a request's signature, where its key has a signing secret or the settings require one."""

    async def __call__(self, request: HttpRequest, caller: Caller) -> None: ...


class Charges(Protocol):
    """Counts a request against its caller's limits; returns the headers that say how they stand.

    Raises RateLimited, StateUnavailable.
    """

    async def __call__(self, caller: Caller, endpoint: EndpointClass, peer: str | None) -> Headers: ...


class FindsClient(Protocol):
    """Says which address a request comes from, where proxies stand in front; None: it cannot be known."""

    def client_of(self, request: HttpRequest) -> str | None: ...


class Entry:
    """A `transport.http.Handler`."""

    def __init__(
        self,
        *,
        access: Admits,
        hot: Mapping[tuple[str, str], HotHandler],
        asgi: AsgiHandler,
        verify: Verifies | None = None,
        charge: Charges | None = None,
        proxies: FindsClient | None = None,
        sign_in_page: Callable[[HttpRequest], str | None] = lambda request: None,
        lifecycle: Lifecycle | None = None,
    ) -> None:
        """
        Args:
            lifecycle: of the gateway, for whoever asks whether to send requests; None: it does not end.
        """
        self._access = access
        self._verify = verify
        self._charge = charge
        self._proxies = proxies
        self._sign_in_page = sign_in_page
        self._hot = hot
        self._asgi = asgi
        self._lifecycle = lifecycle or Lifecycle()

    async def __call__(self, request: HttpRequest, respond: Responder) -> None:
        headers = dict(request.headers)
        if len(headers) != len(request.headers):
            _keep_single(headers, request)
        origin, host = headers.get(b"origin"), headers.get(b"host")
        if request.path in PROBES and request.method in ("GET", "HEAD"):
            if request.path == "/ready" and self._lifecycle.leaving:
                respond.send(503, [JSON, (b"retry-after", b"1")], b'{"status":"stopping"}')
            else:
                respond.send(200, [JSON], b'{"status":"ok"}')
            return
        if origin is not None:
            allowed = self._access.allows_origin(origin, host)
            respond = _WithHeaders(respond, granted(origin)) if allowed else _WithHeaders(respond, VARY)
            if request.method == "OPTIONS" and b"access-control-request-method" in headers:
                respond.send(204 if allowed else 403, preflight(headers) if allowed else (), b"")
                return
        if self._proxies is not None:
            request.peer = self._proxies.client_of(request)
        knock = Knock(
            method=request.method,
            path=request.path,
            endpoint=classify(request.path),
            peer=request.peer,
            query=request.query,
            host=host,
            origin=origin,
            fetch_site=headers.get(b"sec-fetch-site"),
            fetch_mode=headers.get(b"sec-fetch-mode"),
            content_type=headers.get(b"content-type"),
            authorization=headers.get(b"authorization"),
            api_key=headers.get(b"x-api-key"),
            cookie=headers.get(b"cookie"),
            csrf=headers.get(b"x-csrf-token"),
        )
        caller: Caller | None = None
        try:
            caller = self._access.check(knock)
            if self._verify is not None:
                await self._verify(request, caller)
            if self._charge is not None:
                standing = await self._charge(caller, knock.endpoint, knock.peer)
                if standing:
                    respond = _WithHeaders(respond, standing)
        except PointsmanError as error:
            if isinstance(error, Unauthenticated) and knock.fetch_mode == b"navigate" and knock.method == "GET":
                page = self._sign_in_page(request)
                if page is not None:  # a person in a browser, not a program
                    respond.send(303, [(b"location", page.encode()), (b"cache-control", b"no-store")], b"")
                    return
            status, error_headers, body = shape_for(request.path)(for_caller(error, caller))
            respond.send(status, error_headers, body)
            return
        handler = self._hot.get((request.method, request.path))
        if handler is not None:
            await handler(request, respond, caller)
        else:
            await self._asgi(request, respond, {"caller": caller})


def _keep_single(headers: dict[bytes, bytes], request: HttpRequest) -> None:
    """Of headers that decide who may enter, one that stands several times is worth nothing."""
    for name in (b"host", b"origin", b"authorization", b"x-api-key", b"cookie", b"x-csrf-token"):
        if sum(key == name for key, _ in request.headers) > 1:
            headers[name] = b""


class _WithHeaders:
    """A responder that adds headers to every answer."""

    def __init__(self, respond: Responder, headers: Headers) -> None:
        self._respond = respond
        self._headers = headers
        self.write, self.drain, self.finish, self.abort = respond.write, respond.drain, respond.finish, respond.abort

    @property
    def started(self) -> bool:
        return self._respond.started

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        self._respond.send(status, [*headers, *self._headers], body)

    def start(self, status: int, headers: Headers) -> None:
        self._respond.start(status, [*headers, *self._headers])
