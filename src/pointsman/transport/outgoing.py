"""What an outbound request looks like on the wire, and what is refused before it gets there."""

from __future__ import annotations

from functools import lru_cache

from pointsman.core.errors import InvalidRequest

from .http import Origin, UpstreamRequest
from .wire import offender

_TOLD_APART = frozenset(
    {b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"host", b"accept-encoding"}
)
_USUALLY_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


def request_head(request: UpstreamRequest) -> bytes:
    """The request line and headers of an outbound call.

    Raises:
        InvalidRequest: the method, target, host or a header holds what would end its line.
    """
    target, method = request.target, request.method
    if not target.startswith("/") or not target.isascii() or not target.isprintable() or " " in target:
        raise InvalidRequest("The upstream path must be plain ASCII, begin with / and hold no space: encode it.")
    if not method.isalpha() or not method.isascii():
        raise InvalidRequest("The upstream method is not valid.")
    lines = []
    host = encoding = None
    for pair in request.headers:
        name = pair[0]
        if name in _TOLD_APART:
            if name == b"host":
                host = pair[1]
            elif name == b"accept-encoding":
                encoding = pair[1]
            continue
        lines.append(b"%b: %b\r\n" % pair)
    lines.append(b"host: %b\r\naccept-encoding: %b\r\n" % (host or host_value(request.origin), encoding or b"identity"))
    block = b"".join(lines)
    count = len(lines) + 1
    if block.count(b"\n") != count or block.count(b"\r") != count or b"\0" in block:
        bad = offender(request.headers)
        raise InvalidRequest(
            f"The upstream request cannot be sent: header {bad} holds a line break or NUL. Remove it where it is set."
        )
    if request.body or method not in _USUALLY_BODILESS:
        block += b"content-length: %d\r\n" % len(request.body)
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method.encode(), target.encode(), block)


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
