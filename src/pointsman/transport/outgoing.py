"""What an outbound request looks like on the wire, and what is refused before it gets there."""

from __future__ import annotations

from functools import cached_property, lru_cache

from pointsman.core.errors import InvalidRequest

from .http import Headers, Origin, UpstreamRequest
from .wire import offender

_TOLD_APART = frozenset(
    {b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"host", b"accept-encoding"}
)
_USUALLY_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
_MOST_STARTS = 64
"""Of calls with the same headers: one for each path."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


def request_head(request: UpstreamRequest) -> bytes:
    """The request line and headers of an outbound call.

    Raises:
        InvalidRequest: the method, target, host or a header holds what would end its line.
    """
    headers, body, method = request.headers, request.body, request.method
    if isinstance(headers, FixedHeaders):
        start = headers.start(method, request.target, request.origin)
    else:
        start = _head_start(method, request.target, request.origin, headers)
    if body or method not in _USUALLY_BODILESS:
        return b"%bcontent-length: %d\r\n\r\n" % (start, len(body))
    return start + b"\r\n"


class FixedHeaders(tuple[tuple[bytes, bytes], ...]):
    """The headers of every call to a place. What stands before the length of the body is written once."""

    def start(self, method: str, target: str, origin: Origin) -> bytes:
        found = self._starts.get((method, target, origin))
        if found is None:
            if len(self._starts) >= _MOST_STARTS:
                self._starts.clear()
            found = self._starts[method, target, origin] = _head_start(method, target, origin, self)
        return found

    @cached_property
    def _starts(self) -> dict[tuple[str, str, Origin], bytes]:
        return {}


def _head_start(method: str, target: str, origin: Origin, headers: Headers) -> bytes:
    """A head up to the length of its body. Raises InvalidRequest."""
    if not target.startswith("/") or not target.isascii() or not target.isprintable() or " " in target:
        raise InvalidRequest("The upstream path must be plain ASCII, begin with / and hold no space: encode it.")
    if not method.isalpha() or not method.isascii():
        raise InvalidRequest("The upstream method is not valid.")
    lines = []
    host = encoding = None
    for pair in headers:
        name = pair[0]
        if name not in _TOLD_APART:
            lines.append(b"%b: %b\r\n" % pair)
        elif name == b"host":
            host = pair[1]
        elif name == b"accept-encoding":
            encoding = pair[1]
    block = b"".join(lines)
    told = b"%b%b%b" % (block, host or b"", encoding or b"")
    if told.count(b"\n") != len(lines) or told.count(b"\r") != len(lines) or b"\0" in told:
        raise InvalidRequest(
            f"The upstream request cannot be sent: header {offender(headers)} holds a line break or NUL. Remove it"
            " where it is set."
        )
    return b"%b %b HTTP/1.1\r\n%bhost: %b\r\naccept-encoding: %b\r\n" % (
        method.encode(),
        target.encode(),
        block,
        host or host_value(origin),
        encoding or b"identity",
    )


@lru_cache(maxsize=1024)
def host_value(origin: Origin) -> bytes:
    """The Host header that names an origin.

    Raises:
        InvalidRequest: the host name is not one.
    """
    name = origin.host or "localhost"
    try:
        host = name.encode("ascii") if name.isascii() else name.encode("idna")
    except UnicodeError:
        raise InvalidRequest(f"{name!r} is not a valid host name.") from None
    if not name.isprintable() or b" " in host or b"/" in host:
        raise InvalidRequest(f"{name!r} is not a valid host name.")
    if b":" in host:
        host = b"[%b]" % host
    if origin.unix_socket is not None or origin.port == _DEFAULT_PORTS.get(origin.scheme):
        return host
    return b"%b:%d" % (host, origin.port)
