"""Errors in the shape of `/api/v1`: every kind there is has a code of five and the whole shape."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pointsman.core import errors
from pointsman.core.errors import PointsmanError
from pointsman.core.usage import LimitUse
from pointsman.surfaces.native.errors import to_native
from pointsman.surfaces.openai.errors import to_openai

MADE = {
    "SettingsError": lambda: errors.SettingsError("a.b", 1, "must be 2"),
    "ProviderShort": lambda: errors.ProviderShort("openai", "Used up.", retry_after=3),
    "UpstreamTimeout": lambda: errors.UpstreamTimeout("first_byte", 3),
    "UpstreamStatus": lambda: errors.UpstreamStatus(500, b""),
    "UpstreamContextTooLong": lambda: errors.UpstreamContextTooLong("a:b", 9, 4),
    "UpstreamLacks": lambda: errors.UpstreamLacks("logit_bias"),
}
CODES = {
    "InvalidRequest": "validation_error",
    "ContextTooLong": "validation_error",
    "NoCapableModel": "validation_error",
    "NotFound": "validation_error",
    "MethodNotAllowed": "validation_error",
    "BodyTooLarge": "validation_error",
    "PrivacyWall": "validation_error",
    "UpstreamContextTooLong": "validation_error",
    "UpstreamLacks": "validation_error",
    "Unauthenticated": "auth_error",
    "Forbidden": "auth_error",
    "RateLimited": "rate_limit_exceeded",
    "ProviderShort": "rate_limit_exceeded",
    "BudgetExceeded": "rate_limit_exceeded",
    "UpstreamConnectError": "provider_error",
    "UpstreamTimeout": "provider_error",
    "UpstreamStatus": "provider_error",
    "UpstreamBroken": "provider_error",
    "UpstreamClosed": "provider_error",
    "Overloaded": "provider_error",
    "StoreError": "system_error",
    "StoreUnavailable": "system_error",
    "PointsmanError": "system_error",
    "SettingsError": "system_error",
}


def kinds(kind: type[PointsmanError] = PointsmanError) -> Iterator[type[PointsmanError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from kinds(below)


@pytest.mark.parametrize("kind", list(dict.fromkeys(kinds())), ids=lambda kind: kind.__name__)
def test_every_error_has_the_whole_shape(kind):
    error = MADE.get(kind.__name__, kind)()
    error.alternatives = ("a:b",)
    status, headers, body = to_native(error)
    assert status == to_openai(error)[0]
    assert (b"content-type", b"application/json") in headers
    found = json.loads(body)["error"]
    assert set(found) == {"code", "message", "details", "remediation"}
    assert found["code"] == CODES.get(kind.__name__, found["code"])
    assert found["code"] in set(CODES.values())
    assert found["message"]
    assert found["details"]["reason"] == json.loads(to_openai(error)[2])["error"]["code"]
    assert found["remediation"]["alternatives"] == ["a:b"]
    assert found["remediation"]["fallback_available"] is True


def test_a_limit_is_told_whole():
    use = LimitUse(name="minute", limit=20, used=20, remaining=0, reset_at=1_700_000_000.0)
    error = errors.RateLimited.by(
        use, "Slow down.", tier="free", retry_after=12.2, usage=[use], headers=[(b"x-a", b"1")]
    )
    status, headers, body = to_native(error)
    assert status == 429
    assert (b"retry-after", b"13") in headers
    assert (b"x-a", b"1") in headers
    found = json.loads(body)["error"]
    assert found["details"] == {
        "reason": "rate_limit_exceeded",
        "param": None,
        "tier": "free",
        "limit": 20,
        "remaining": 0,
        "reset_at": "2023-11-14T22:13:20Z",
        "usage_statistics": {"minute": {"limit": 20, "used": 20, "remaining": 0, "reset_at": "2023-11-14T22:13:20Z"}},
    }
    assert found["remediation"] == {"retry_after": 12.2, "alternatives": [], "fallback_available": False}


@pytest.mark.parametrize(
    ("status", "code"), [(400, "validation_error"), (422, "validation_error"), (429, "provider_error")]
)
def test_what_an_upstream_says_of_the_request_is_passed_on(status, code):
    body = json.dumps({"error": {"message": "no such knob", "code": "bad_knob", "param": "knob"}}).encode()
    told, _, answer = to_native(errors.UpstreamStatus(status, body))
    found = json.loads(answer)["error"]
    assert (told, found["code"], found["message"]) == (status, code, "no such knob")
    assert found["details"] == {"reason": "bad_knob", "param": "knob", "upstream_status": status}


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_what_it_says_of_us_is_not(status):
    body = json.dumps({"error": {"message": "your key sk-123 is wrong"}}).encode()
    told, _, answer = to_native(errors.UpstreamStatus(status, body))
    assert told == 502
    assert b"sk-123" not in answer
    assert json.loads(answer)["error"]["code"] == "provider_error"
