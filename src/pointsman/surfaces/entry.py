"""The front door: every request passes here, is admitted, and goes to its handler.

The hot endpoints are answered on the data plane; every other path goes to the ASGI application, which is loaded at
its first request.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

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


class _Visit(msgspec.Struct, gc=False):
    """What the head of a request says, made once for requests with the same one."""

    knock: Knock
    handler: HotHandler | None
    """None: the ASGI application's."""
    odd: bool
    """It asks for a probe, or comes from a web page."""
    preflight: Headers | None
    """Of a browser's question what a web page may ask: the headers of a yes."""


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
        same = request.same
        visit: _Visit | None = same.made if same is not None else None
        if visit is None:
            visit = self._read(request)
            if same is not None:
                same.made = visit
        knock = visit.knock
        request.peer = knock.peer
        if visit.odd:
            greeted = self._greet(visit, respond)
            if greeted is None:
                return
            respond = greeted
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
        handler = visit.handler
        if handler is not None:
            await handler(request, respond, caller)
        else:
            await self._asgi(request, respond, {"caller": caller})

    def _read(self, request: HttpRequest) -> _Visit:
        headers = dict(request.headers)
        if len(headers) != len(request.headers):
            _keep_single(headers, request)
        origin = headers.get(b"origin")
        method, path = request.method, request.path
        asks = origin is not None and method == "OPTIONS" and b"access-control-request-method" in headers
        knock = Knock(
            method=method,
            path=path,
            endpoint=classify(path),
            peer=self._proxies.client_of(request) if self._proxies is not None else request.peer,
            query=request.query,
            host=headers.get(b"host"),
            origin=origin,
            fetch_site=headers.get(b"sec-fetch-site"),
            fetch_mode=headers.get(b"sec-fetch-mode"),
            content_type=headers.get(b"content-type"),
            authorization=headers.get(b"authorization"),
            api_key=headers.get(b"x-api-key"),
            cookie=headers.get(b"cookie"),
            csrf=headers.get(b"x-csrf-token"),
        )
        return _Visit(
            knock,
            self._hot.get((method, path)),
            odd=origin is not None or path in PROBES,
            preflight=preflight(headers) if asks else None,
        )

    def _greet(self, visit: _Visit, respond: Responder) -> Responder | None:
        """Answer a probe, or a browser that asks what a page may ask: None. Of other requests, where to answer."""
        knock = visit.knock
        if knock.path in PROBES and knock.method in ("GET", "HEAD"):
            if knock.path == "/ready" and self._lifecycle.leaving:
                respond.send(503, [JSON, (b"retry-after", b"1")], b'{"status":"stopping"}')
            else:
                respond.send(200, [JSON], b'{"status":"ok"}')
            return None
        if knock.origin is None:
            return respond
        allowed = self._access.allows_origin(knock.origin, knock.host)
        respond = _WithHeaders(respond, granted(knock.origin) if allowed else VARY)
        if visit.preflight is not None:
            respond.send(204 if allowed else 403, visit.preflight if allowed else (), b"")
            return None
        return respond


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
