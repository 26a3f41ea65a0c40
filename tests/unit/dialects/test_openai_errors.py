"""What an upstream says in an error, whatever status it says it with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pointsman.core.errors import UpstreamStatus
from pointsman.dialects.openai.errors import stated_error, status_of
from pointsman.pipeline.execute.blame import Blame, blame
from pointsman.pipeline.execute.order import can_help

UNPAID: list[tuple[int, dict[str, Any]]] = [
    (429, {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota"}),
    (429, {"message": "quota", "type": "insufficient_quota", "code": 429}),
    (429, {"message": "not active", "type": "billing_not_active", "code": "billing_not_active"}),
    (400, {"message": "limit", "type": "invalid_request_error", "code": "billing_hard_limit_reached"}),
    (429, {"message": "exceeded", "type": "exceeded_current_quota_error"}),
    (400, {"message": "overdue", "code": "Arrearage"}),
    (400, {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}),
    (403, {"type": "billing_error", "message": "pay"}),
]
OTHERS: list[tuple[int, dict[str, Any]]] = [
    (429, {"message": "insufficient_quota", "type": "rate_limit_exceeded", "code": "rate_limit_exceeded"}),
    (400, {"message": "Invalid: 'Your credit balance is too low'", "type": "invalid_request_error"}),
    (429, {"message": "slow down", "status": "RESOURCE_EXHAUSTED", "code": 429}),
]


@pytest.mark.parametrize(("status", "error"), UNPAID)
def test_an_account_that_cannot_pay_is_a_402(status: int, error: dict[str, Any]) -> None:
    stated = stated_error(error)
    assert isinstance(stated, UpstreamStatus)
    for said in (stated, UpstreamStatus(status_of(status, json.dumps({"error": error}).encode()), b"")):
        assert said.upstream_status == 402
        assert (said.retryable, can_help(said), blame(said)) == (True, False, Blame.FAILED)
        assert (b"x-should-retry", b"false") in said.headers


@pytest.mark.parametrize(("status", "error"), OTHERS)
def test_no_other_error_is(status: int, error: dict[str, Any]) -> None:
    assert status_of(status, json.dumps({"error": error}).encode()) == status
    stated = stated_error(error)
    assert isinstance(stated, UpstreamStatus)
    assert (stated.upstream_status, stated.headers) == (status, ())


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"error": "insufficient_quota"}', b'{"error": null}', b"\xff"])
def test_what_cannot_be_read_keeps_its_status(body: bytes) -> None:
    assert status_of(429, body) == 429
