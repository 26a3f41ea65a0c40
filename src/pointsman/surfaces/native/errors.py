"""Errors in the shape of `/api/v1`: a code of five, what happened, and what the caller can do about it."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from pointsman.core.errors import (
    Forbidden,
    Overloaded,
    PointsmanError,
    PrivacyWall,
    ProviderShort,
    RateLimited,
    RequestError,
    Unauthenticated,
    UpstreamContextTooLong,
    UpstreamError,
    UpstreamLacks,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.core.usage import LimitUse, iso_utc
from pointsman.surfaces.openai.errors import describe as describe_for_openai

CODES: tuple[tuple[type[PointsmanError], str], ...] = (
    (RateLimited, "rate_limit_exceeded"),
    (PrivacyWall, "validation_error"),  # another model or other content mends it, another key does not
    (Unauthenticated, "auth_error"),
    (Forbidden, "auth_error"),
    (RequestError, "validation_error"),
    (UpstreamContextTooLong, "validation_error"),
    (UpstreamLacks, "validation_error"),
    (UpstreamError, "provider_error"),
    (Overloaded, "provider_error"),
    (PointsmanError, "system_error"),
)
"""The first row that an error is an instance of gives its code."""

OF_THE_REQUEST = frozenset({400, 413, 422})
"""Statuses with which an upstream says that the request itself is wrong."""

_encoder = msgspec.json.Encoder()


def to_native(error: PointsmanError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of an error answer."""
    headers = [(b"content-type", b"application/json")]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(0, math.ceil(error.retry_after))).encode()))
    headers.extend(error.headers)
    if error.decision_id is not None:
        headers.append((b"x-pointsman-decision", error.decision_id.encode()))
    return describe_for_openai(error)[0], headers, _encoder.encode({"error": describe(error)})


def describe(error: PointsmanError) -> dict[str, Any]:
    """The `error` object. `details.reason` is the finer code that the `/v1` shape carries; an upstream's own words
    about the request are told as they are there."""
    status, told = describe_for_openai(error)
    code = next(code for kind, code in CODES if isinstance(error, kind))
    if isinstance(error, UpstreamStatus) and status in OF_THE_REQUEST:
        code = "validation_error"
    return {
        "code": code,
        "message": told["message"],
        "details": {"reason": told["code"], "param": told["param"], **_details(error)},
        "remediation": {
            "retry_after": error.retry_after,
            "alternatives": list(error.alternatives),
            "fallback_available": bool(error.alternatives),
        },
    }


def _details(error: PointsmanError) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if error.decision_id is not None:
        details["decision_id"] = error.decision_id
    if isinstance(error, UpstreamStatus):
        details["upstream_status"] = error.upstream_status
    if isinstance(error, UpstreamTimeout):
        details["phase"] = error.phase
    if isinstance(error, ProviderShort):
        details["provider"] = error.provider
    if isinstance(error, RateLimited) and error.refused_by is not None:
        refused_by = error.refused_by
        details |= {
            "tier": error.tier,
            "limit": refused_by.limit,
            "remaining": refused_by.remaining,
            "reset_at": iso_utc(refused_by.reset_at),
            "usage_statistics": {use.name: use_fields(use) for use in error.usage},
        }
    return details


def use_fields(use: LimitUse) -> dict[str, int | str]:
    """One limit as the API shows it."""
    return {
        "limit": use.limit,
        "used": use.used,
        "remaining": use.remaining,
        "reset_at": iso_utc(use.reset_at),
    }
