"""Errors in OpenAI's shape, so that SDKs raise their own typed errors and honour `Retry-After`."""

from __future__ import annotations

import math

import msgspec

from pointsman.core.errors import PointsmanError, UpstreamStatus

JSON = (b"content-type", b"application/json")

PASSED_ON = frozenset({400, 408, 409, 413, 422, 429})
"""Upstream statuses that say something of the caller's request. Others (401: our key was refused) become a 502."""

_encoder = msgspec.json.Encoder()


class _UpstreamDetail(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    param: str | None = None


class _UpstreamBody(msgspec.Struct):
    error: _UpstreamDetail | str | None = None


def to_openai(error: PointsmanError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of an error answer."""
    status, fields = describe(error)
    headers = [JSON]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(0, math.ceil(error.retry_after))).encode()))
    headers.extend(error.headers)
    if error.decision_id is not None:
        headers.append((b"x-pointsman-decision", error.decision_id.encode()))
    return status, headers, _encoder.encode({"error": fields})


def to_frame(error: PointsmanError) -> bytes:
    """The server-sent event that ends a stream which broke after its first byte."""
    return b"data: " + _encoder.encode({"error": describe(error)[1]}) + b"\n\n"


def describe(error: PointsmanError) -> tuple[int, dict[str, str | None]]:
    """Status and the `error` object."""
    fields: dict[str, str | None] = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    if isinstance(error, UpstreamStatus) and error.upstream_status in PASSED_ON:
        detail = _detail(error.body)
        if detail is not None:
            fields["message"] = detail.message or error.message
            fields["param"] = detail.param
            fields["code"] = str(detail.code) if detail.code is not None else error.code
            fields["type"] = detail.type or _type_of(error.upstream_status)
        else:
            fields["type"] = _type_of(error.upstream_status)
        return error.upstream_status, fields
    return error.status, fields


def _type_of(status: int) -> str:
    return "rate_limit_error" if status == 429 else "invalid_request_error"


def _detail(body: bytes) -> _UpstreamDetail | None:
    """The upstream's own words, when it speaks the same shape."""
    try:
        error = msgspec.json.decode(body, type=_UpstreamBody).error
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return _UpstreamDetail(message=error) if isinstance(error, str) else error
