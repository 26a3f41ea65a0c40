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
    UpstreamError,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.core.usage import LimitUse, iso_utc

CODES: tuple[tuple[type[PointsmanError], str], ...] = (
    (RateLimited, "rate_limit_exceeded"),
    (PrivacyWall, "validation_error"),  # another model or other content mends it, another key does not
    (Unauthenticated, "auth_error"),
    (Forbidden, "auth_error"),
    (RequestError, "validation_error"),
    (UpstreamError, "provider_error"),
    (Overloaded, "provider_error"),
    (PointsmanError, "system_error"),
)
"""The first row that an error is an instance of gives its code."""

_encoder = msgspec.json.Encoder()


def to_native(error: PointsmanError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of an error answer."""
    headers = [(b"content-type", b"application/json")]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(0, math.ceil(error.retry_after))).encode()))
    if isinstance(error, RateLimited):
        headers.extend(error.headers)
    if error.decision_id is not None:
        headers.append((b"x-pointsman-decision", error.decision_id.encode()))
    return error.status, headers, _encoder.encode({"error": describe(error)})


def describe(error: PointsmanError) -> dict[str, Any]:
    """The `error` object. `details.reason` is the finer code that the `/v1` shape carries."""
    return {
        "code": next(code for kind, code in CODES if isinstance(error, kind)),
        "message": error.message,
        "details": _details(error),
        "remediation": {
            "retry_after": error.retry_after,
            "alternatives": list(error.alternatives),
            "fallback_available": bool(error.alternatives),
        },
    }


def _details(error: PointsmanError) -> dict[str, Any]:
    details: dict[str, Any] = {"reason": error.code, "param": error.param}
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
