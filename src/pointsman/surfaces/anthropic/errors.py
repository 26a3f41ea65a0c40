"""Errors in Anthropic's shape, so that its SDKs and Claude Code raise their own typed errors and know when to retry."""

from __future__ import annotations

import math
from typing import Any
from uuid import uuid4

import msgspec

from pointsman.core.errors import ContextTooLong, Overloaded, PointsmanError, UpstreamContextTooLong
from pointsman.surfaces.openai.errors import JSON, describe

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
OVERLOADED = 529

_encoder = msgspec.json.Encoder()


def to_anthropic(error: PointsmanError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of an error answer."""
    status, fields = _described(error)
    headers = [JSON, (b"request-id", fields["request_id"].encode())]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(0, math.ceil(error.retry_after))).encode()))
    headers.extend(error.headers)
    if error.decision_id is not None:
        headers.append((b"x-pointsman-decision", error.decision_id.encode()))
    return status, headers, _encoder.encode(fields)


def to_event(error: PointsmanError) -> bytes:
    """The server-sent event that ends a stream which broke after its first byte."""
    return b"event: error\ndata: " + _encoder.encode(_described(error)[1]) + b"\n\n"


def _described(error: PointsmanError) -> tuple[int, dict[str, Any]]:
    status, told = describe(error)
    if isinstance(error, Overloaded):
        status = OVERLOADED
    message = told["message"] or error.message
    if isinstance(error, UpstreamContextTooLong):  # Claude Code shortens its conversation when it reads these words
        message = f"prompt is too long: {error.prompt_tokens} tokens > {error.context} maximum"
    elif isinstance(error, ContextTooLong):
        message = f"prompt is too long: {message}"
    detail: dict[str, Any] = {
        "type": TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error"),
        "message": message,
    }
    if told["code"] is not None:
        detail["details"] = {"error_code": told["code"], "param": told["param"]}
    request_id = error.decision_id or f"req_{uuid4().hex[:24]}"
    return status, {"type": "error", "error": detail, "request_id": request_id}
