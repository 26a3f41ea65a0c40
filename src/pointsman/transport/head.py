"""A request's head: the grammar is llhttp's, and what llhttp lets pass is refused here.

The llhttp of httptools 0.9 lets through: a request without Host or with several, `Transfer-Encoding: gzip, chunked`,
chunked on HTTP/1.0, HTTP/0.9 and 2.0, the protocol names ICE and RTSP, several spaces in the request line, fragments,
and heads of any size. Line ends, folded lines and control bytes it does refuse; they are checked here once more, on the
raw bytes, as a proxy before us may frame by them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

import httptools

from .http import Headers, SameHead
from .limits import ServerLimits

METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)(.*)", re.DOTALL)
_TOLD_APART = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"expect"})
_REQUEST_LINE_OVERHEAD = len(b"OPTIONS  HTTP/1.1")
MOST_DIGITS = 18
"""Of a Content-Length."""


class Refusal(Exception):
    """The request is answered by the server itself, and the connection closed."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def malformed(message: str) -> Refusal:
    return Refusal(400, "bad_request", message)


class _Listener:
    """What the parser tells."""

    __slots__ = ("on_header",)

    def __init__(self, on_header: Callable[[bytes, bytes], object]) -> None:
        self.on_header = on_header


class RequestHead:
    """The parsed head of one request.

    `raw` is the head with the empty line that ends it.

    Raises:
        Refusal: with the status that the client is to see.
    """

    __slots__ = (
        "_told_apart",
        "chunked",
        "content_length",
        "expects_continue",
        "headers",
        "http10",
        "keep_alive",
        "method",
        "path",
        "query",
        "same",
    )

    def __init__(self, raw: bytes, limits: ServerLimits) -> None:
        line_end = raw.find(b"\r\n")
        if line_end > limits.max_target_bytes + _REQUEST_LINE_OVERHEAD:
            raise Refusal(414, "uri_too_long", f"The request target is longer than {limits.max_target_bytes} bytes.")
        _check_lines(raw, limits.max_headers)
        parts = raw[:line_end].split(b" ")
        if len(parts) != 3:
            raise malformed("The request line is not METHOD TARGET HTTP/1.1.")
        method, target, version = parts
        self.http10 = version == b"HTTP/1.0"
        if not self.http10 and version != b"HTTP/1.1":
            if re.fullmatch(rb"HTTP/\d\.\d", version):
                raise Refusal(505, "http_version_not_supported", "This server speaks HTTP/1.1.")
            raise malformed("The request line is not METHOD TARGET HTTP/1.1.")
        known = METHODS.get(method)
        if known is None:
            raise _refused_method(method)
        self.method = known
        # A dictionary's own method takes the headers without a step of Python each; where one stands twice, it keeps
        # the first alone, and they are read anew.
        found: dict[bytes, bytes] = {}
        self._parse(raw, found.setdefault)
        headers = list(zip(map(bytes.lower, found), found.values(), strict=True))
        if len(headers) != raw.count(b"\r\n") - 2:
            headers = []
            self._parse(raw, lambda name, value: headers.append((name.lower(), value)))
        self.headers: Headers = tuple(pair for pair in headers if pair[0] != b"content-length")
        self.same: SameHead | None = None
        self._told_apart = [pair for pair in headers if pair[0] in _TOLD_APART]
        authority = self._read_target(target)
        self._read_told_apart(authority)

    def _parse(self, raw: bytes, on_header: Callable[[bytes, bytes], object]) -> None:
        try:
            httptools.HttpRequestParser(_Listener(on_header)).feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass  # an offer to change protocols may be ignored (RFC 9110, 7.8)
        except httptools.HttpParserError as error:
            raise malformed(f"The request head cannot be read: {error}.") from None

    def _read_target(self, target: bytes) -> bytes | None:
        """Set path and query; returns the authority of an absolute-form target."""
        authority = None
        if not target.startswith(b"/"):
            absolute = _ABSOLUTE.fullmatch(target)
            if absolute is not None:
                authority = absolute[1]
                if not _HOST.fullmatch(authority):
                    raise malformed("The request target names no valid host.")
                target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
            elif target != b"*" or self.method != "OPTIONS":
                raise malformed("The request target is neither a path nor an http URL.")
        if b"#" in target:
            raise malformed("The request target holds a fragment.")
        path, _, self.query = target.partition(b"?")
        self.path = path.decode("ascii")
        if "%" in self.path:
            self.path = unquote(self.path)
            if "\0" in self.path:
                raise malformed("The request target holds a NUL.")
        return authority

    def _read_told_apart(self, authority: bytes | None) -> None:
        """Host, body framing, persistence and expectation, each held to the one form that all servers agree on."""
        host: bytes | None = None
        length: bytes | None = None
        self.chunked = self.expects_continue = False
        self.keep_alive = not self.http10
        for name, value in self._told_apart:
            if name == b"host":
                if host is not None:
                    raise malformed("The Host header is repeated.")
                host = value.strip()
                if not _HOST.fullmatch(host):
                    raise malformed("The Host header is not valid.")
            elif name == b"content-length":
                if length is not None:
                    raise malformed("The Content-Length header is repeated.")
                length = value.strip()
                if not length.isdigit() or len(length) > MOST_DIGITS:
                    raise malformed("The Content-Length header is not a number.")
            elif name == b"transfer-encoding":
                if self.chunked or self.http10 or value.strip().lower() != b"chunked":
                    raise malformed("The only Transfer-Encoding is one `chunked`, on HTTP/1.1.")
                self.chunked = True
            elif name == b"connection":
                tokens = [token.strip() for token in value.lower().split(b",")]
                if b"close" in tokens:
                    self.keep_alive = False
                elif self.http10 and b"keep-alive" in tokens:
                    self.keep_alive = True
            elif not self.http10:
                if value.strip().lower() != b"100-continue":
                    raise Refusal(417, "expectation_failed", "The only expectation that can be met is 100-continue.")
                self.expects_continue = True
        if self.chunked and length is not None:
            raise malformed("Content-Length and Transfer-Encoding exclude each other.")
        if host is None and not self.http10:
            raise malformed("The Host header is missing.")
        if authority is not None:
            # RFC 9112, 3.2.2: the target's authority stands above the header's.
            self.headers = (*(pair for pair in self.headers if pair[0] != b"host"), (b"host", authority))
        self.content_length = int(length) if length is not None else 0


def _check_lines(raw: bytes, max_headers: int) -> None:
    if raw.count(b"\r\n") - 2 > max_headers:
        raise Refusal(431, "headers_too_large", f"The request has more than {max_headers} headers.")
    text = raw.replace(b"\r\n", b"")
    if b"\n" in text or b"\r" in text:
        raise malformed("A line of the request head does not end in CR LF.")
    if b"\0" in text:
        raise malformed("The request head holds a NUL.")
    if b"\r\n " in raw or b"\r\n\t" in raw:
        raise malformed("A header is folded over several lines.")


def _refused_method(method: bytes) -> Refusal:
    if method in (b"CONNECT", b"TRACE"):
        return Refusal(405, "method_not_allowed", f"{method.decode()} is not allowed here.")
    if _TOKEN.fullmatch(method):
        return Refusal(501, "method_not_implemented", "This request method is not implemented.")
    return malformed("The request method is not valid.")
