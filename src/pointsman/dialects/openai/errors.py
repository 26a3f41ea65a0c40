"""Errors that an upstream states inside a body or a stream whose HTTP status was 200."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pointsman.core.errors import UpstreamError, UpstreamStatus

STATUS_OF: dict[str, int] = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "context_length_exceeded": 400,
    "invalid_request_error": 400,
    "content_filter": 400,
    "server_error": 500,
    "internal_server_error": 500,
    "overloaded_error": 503,
    "api_error": 500,
    "timeout_error": 504,
    "authentication_error": 401,
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

UNPAID = 402
_NO_MONEY = re.compile(
    r"insufficient_(?:user_)?(?:quota|balance|credits?|funds)|exceeded_current_quota\w*|billing_\w+|payment_required"
    r"|credit_balance\w*|arrearage",
    re.IGNORECASE,
)
"""Words for an account with nothing left to pay with. OpenAI sends them with 429, as if waiting helped, or with 400."""
_NO_CREDIT = "Your credit balance is too low"
"""What Anthropic says of it, as an `invalid_request_error` with 400."""
_MACHINES = re.compile(r"(?=.{1,40}\Z)[A-Za-z]+(?:_[A-Za-z]+)*")
"""A name that upstreams give to a kind of error: no key and no sentence has this form."""
_encoder = msgspec.json.Encoder()


class _Body(msgspec.Struct):
    error: Any = None


_body_decoder = msgspec.json.Decoder(_Body)


def stated_error(error: Any) -> UpstreamError:
    """The typed error for the value of an `error` field: an object, or a sentence.

    The upstream's own words stay in `UpstreamStatus.body`: they may quote the prompt or a key, which messages must not.
    """
    detail = error if isinstance(error, dict) else {"message": str(error)}
    words = [detail.get("code"), detail.get("type"), detail.get("status")]
    status = next((found for word in words if (found := _status(word)) is not None), None)
    if _unpaid(detail):
        status = UNPAID
    if status is not None:
        return UpstreamStatus(status, _encoder.encode({"error": detail}))
    plain = "The model's provider reported an error in place of an answer"
    failure = UpstreamError(f"{plain} ({_named(*words) or 'no type given'}).")
    failure.plain = f"{plain}."
    return failure


def status_of(status: int, body: bytes) -> int:
    """The status of an error answer; 402 where its body says that the account has nothing left to pay with."""
    detail = _detail(body)
    return UNPAID if detail is not None and _unpaid(detail) else status


def word_of(body: bytes) -> str | None:
    """The upstream's word for what was wrong in the body of an error answer, such as `invalid_api_key`."""
    detail = _detail(body)
    if detail is None:
        return None
    return _named(detail.get("code"), detail.get("status"), detail.get("type"))


def _named(*words: Any) -> str | None:
    """The first of some words of an upstream's that may be repeated to admins."""
    return next((word for word in words if isinstance(word, str) and _MACHINES.fullmatch(word)), None)


def _detail(body: bytes) -> dict[str, Any] | None:
    try:
        detail = _body_decoder.decode(body).error
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return detail if isinstance(detail, dict) else None


def _unpaid(detail: dict[str, Any]) -> bool:
    words = (detail.get("code"), detail.get("type"))
    if any(isinstance(word, str) and _NO_MONEY.fullmatch(word) for word in words):
        return True
    return str(detail.get("message", "")).startswith(_NO_CREDIT)


def _status(word: Any) -> int | None:
    if isinstance(word, str) and len(word) == 3 and word.isdecimal():
        word = int(word)
    if isinstance(word, int) and not isinstance(word, bool):
        return word if 400 <= word <= 599 else None
    return STATUS_OF.get(word.lower()) if isinstance(word, str) else None
