"""The bytes of an HTTP/1.1 message that both directions write: status lines, header blocks, error bodies."""

from __future__ import annotations

from http import HTTPStatus
from operator import itemgetter

import msgspec

from pointsman.core.lifecycle import Stopping

from .http import Headers, Tells

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}

ALWAYS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
"""On every answer, refusals too. Pages add a policy of their own."""
OVER_TLS: Headers = ((b"strict-transport-security", b"max-age=31536000"),)

FRAMING = frozenset(
    {b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"date", b"server"}
    | {name for name, _ in (*ALWAYS, *OVER_TLS)}
)
"""Answer headers that only the server itself may set."""

JSON = (b"content-type", b"application/json")


_name_of = itemgetter(0)


class UnsafeHeader(ValueError):
    """A header that would end its own line. The text names the header, never its value."""


def status_line(status: int) -> bytes:
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status


def header_block(headers: Headers, without: frozenset[bytes]) -> bytes:
    """Header lines as they go on the wire, those named in `without` left out.

    Raises:
        UnsafeHeader: a name or value holds CR, LF or NUL.
    """
    if not without.isdisjoint(map(_name_of, headers)):
        headers = [pair for pair in headers if pair[0] not in without]
    block = b"\r\n".join([*map(b": ".join, headers), b""])
    if len(block) - len(block.translate(None, b"\r\n\0")) != 2 * len(headers):
        raise UnsafeHeader(f"header {offender(headers)} holds a line break or NUL")
    return block


def offender(headers: Headers) -> str:
    """The name, quoted, of the header that holds CR, LF or NUL."""
    for name, value in headers:
        if any(byte in name or byte in value for byte in (b"\r", b"\n", b"\0")):
            return repr(name[:64].decode("latin-1"))
    return "?"


def plainly(path: str, status: int, code: str, message: str) -> tuple[Headers, bytes]:
    """A `Tells` that knows OpenAI's shape alone."""
    kind = "invalid_request_error" if status < 500 else "api_error"
    return [JSON], msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})


def internal_error(tells: Tells, path: str) -> tuple[Headers, bytes]:
    """Headers and body of a 500."""
    return tells(path, 500, "internal_error", "Something went wrong inside the gateway.")


def stopping(tells: Tells, path: str) -> tuple[Headers, bytes]:
    """Headers and body of the 503 for what is not answered because the server ends."""
    told = Stopping()
    headers, body = tells(path, 503, told.code, told.message)
    return with_patience(headers), body


def with_patience(headers: Headers) -> list[tuple[bytes, bytes]]:
    """A refusal's headers with a Retry-After, which every 503 has."""
    missing = all(name != b"retry-after" for name, _ in headers)
    return [*headers, (b"retry-after", b"1")] if missing else list(headers)


def path_in(head: bytes) -> str:
    """The path that a head asks for, as far as it can be made out; a head that is refused may be cut or broken."""
    target = head[: head.find(b"\r\n")].split(b" ")[1:2]
    return target[0].partition(b"?")[0][:1024].decode("ascii", "replace") if target else ""
