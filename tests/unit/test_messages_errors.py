"""Errors in Anthropic's shape."""

from __future__ import annotations

import json

import pytest

from pointsman.core import errors
from pointsman.surfaces.anthropic.errors import to_anthropic, to_event


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.InvalidRequest("x", param="a"), 400, "invalid_request_error"),
        (errors.Unauthenticated(), 401, "authentication_error"),
        (errors.PrivacyWall(), 403, "permission_error"),
        (errors.ModelNotFound("x"), 404, "not_found_error"),
        (errors.MethodNotAllowed("x"), 405, "invalid_request_error"),
        (errors.BodyTooLarge(), 413, "request_too_large"),
        (errors.RateLimited("x", retry_after=2.5), 429, "rate_limit_error"),
        (errors.BudgetExceeded("x"), 429, "rate_limit_error"),
        (errors.PointsmanError(), 500, "api_error"),
        (errors.UpstreamConnectError(), 502, "api_error"),
        (errors.StoreUnavailable(), 503, "api_error"),
        (errors.UpstreamTimeout("first_byte", 3), 504, "timeout_error"),
        (errors.Overloaded(), 529, "overloaded_error"),
        (errors.UpstreamStatus(401, b""), 502, "api_error"),
        (errors.UpstreamStatus(429, b"", retry_after=3), 429, "rate_limit_error"),
        (errors.UpstreamStatus(422, b"{}"), 422, "invalid_request_error"),
    ],
)
def test_status_and_type(error, status, kind):
    error.decision_id = "dec_1"
    told, headers, body = to_anthropic(error)
    shape = json.loads(body)
    assert (told, shape["type"], shape["error"]["type"]) == (status, "error", kind)
    assert shape["error"]["message"]
    assert shape["request_id"] == "dec_1"
    found = dict(headers)
    assert found[b"request-id"] == found[b"x-pointsman-decision"] == b"dec_1"
    assert (b"retry-after" in found) == (error.retry_after is not None)
    assert to_event(error) == b"event: error\ndata: " + body + b"\n\n"


def test_budgets_are_not_tried_again():
    assert dict(to_anthropic(errors.BudgetExceeded("x"))[1])[b"x-should-retry"] == b"false"


def test_an_upstreams_own_words_are_told():
    body = b'{"type": "error", "error": {"type": "invalid_request_error", "message": "temperature: too hot"}}'
    assert json.loads(to_anthropic(errors.UpstreamStatus(400, body))[2])["error"]["message"] == "temperature: too hot"


def test_long_prompts_in_the_words_that_clients_look_for():
    told = json.loads(to_anthropic(errors.UpstreamContextTooLong("m", 9000, 8192))[2])
    assert told["error"]["message"] == "prompt is too long: 9000 tokens > 8192 maximum"
    assert told["request_id"].startswith("req_")
    assert (
        json.loads(to_anthropic(errors.ContextTooLong("By 5."))[2])["error"]["message"] == "prompt is too long: By 5."
    )
