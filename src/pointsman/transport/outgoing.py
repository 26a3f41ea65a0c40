"""What an outbound request looks like on the wire, and what is refused before it gets there."""

from __future__ import annotations

from functools import lru_cache

from pointsman.core.errors import InvalidRequest

from .http import Origin, UpstreamRequest, header
from .wire import UnsafeHeader, header_block

_OURS = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"host"})
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
    try:
        block = header_block(request.headers, _OURS)
    except UnsafeHeader as error:
        raise InvalidRequest(f"The upstream request cannot be sent: {error}. Remove it where it is set.") from None
    host = header(request.headers, b"host") or host_value(request.origin)
    if b"\r" in host or b"\n" in host or b"\0" in host:
        raise InvalidRequest("The upstream request cannot be sent: header 'host' holds a line break or NUL.")
    if header(request.headers, b"accept-encoding") is None:
        block += b"accept-encoding: identity\r\n"
    if request.body or method not in _USUALLY_BODILESS:
        block += b"content-length: %d\r\n" % len(request.body)
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (method.encode(), target.encode(), host, block)


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
