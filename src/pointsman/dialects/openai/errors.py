"""Errors that an upstream states inside a body or a stream whose HTTP status was 200."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pointsman.core.errors import UpstreamError, UpstreamStatus

STATUS_OF: dict[str, int] = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "context_length_exceeded": 400,
    "invalid_request_error": 400,
    "content_filter": 400,
    "server_error": 500,
    "internal_server_error": 500,
    "overloaded_error": 503,
    "api_error": 500,
    "timeout_error": 504,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "permission_denied": 403,
    "unauthenticated": 401,
    "not_found": 404,
    "resource_exhausted": 429,
    "internal": 500,
    "unavailable": 503,
    "deadline_exceeded": 504,
}
"""Words that upstreams use for `code` or `type` → the status they would have sent before the stream began."""

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MACHINES = re.compile(r"(?=.{1,40}\Z)[A-Za-z]+(?:_[A-Za-z]+)*")
"""A name that upstreams give to a kind of error: no key and no sentence has this form."""
_encoder = msgspec.json.Encoder()


class _Body(msgspec.Struct):
    error: Any = None


_body_decoder = msgspec.json.Decoder(_Body)


def stated_error(error: Any) -> UpstreamError:
    """The typed error for the value of an `error` field: an object, or a sentence.

    The upstream's own words stay in `UpstreamStatus.body`: they may quote the prompt, which messages must not.
    """
    detail = error if isinstance(error, dict) else {"message": str(error)}
    words = [detail.get("code"), detail.get("type"), detail.get("status")]
    status = next((found for word in words if (found := _status(word)) is not None), None)
    if status is not None:
        return UpstreamStatus(status, _encoder.encode({"error": detail}))
    named = next((word for word in words if isinstance(word, str) and _WORD.fullmatch(word)), "no type given")
    return UpstreamError(f"The model's provider reported an error in place of an answer ({named}).")


def word_of(body: bytes) -> str | None:
    """The upstream's word for what was wrong in the body of an error answer, such as `invalid_api_key`."""
    try:
        detail = _body_decoder.decode(body).error
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    if not isinstance(detail, dict):
        return None
    words = (detail.get("code"), detail.get("status"), detail.get("type"))
    return next((word for word in words if isinstance(word, str) and _MACHINES.fullmatch(word)), None)


def _status(word: Any) -> int | None:
    if isinstance(word, str) and word.isdecimal():
        word = int(word)
    if isinstance(word, int) and not isinstance(word, bool):
        return word if 400 <= word <= 599 else None
    return STATUS_OF.get(word.lower()) if isinstance(word, str) else None
