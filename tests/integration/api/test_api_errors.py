"""Errors of the application: the right shape for the path, the field named, nothing of the inside told."""

from __future__ import annotations

import sqlite3
from typing import Any

import jsonschema
import pytest

from pointsman.core.errors import (
    Forbidden,
    Overloaded,
    PointsmanError,
    PrivacyWall,
    RateLimited,
    StoreError,
    Unauthenticated,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.core.ports import SystemClock
from pointsman.surfaces.asgi_app import build_asgi_app
from pointsman.surfaces.native.errors import to_native
from pointsman.surfaces.schemas import ERRORS

from .conftest import Api, Reply


def openai(reply: Reply) -> dict[str, Any]:
    jsonschema.validate(reply.json, ERRORS["OpenAIError"])
    error: dict[str, Any] = reply.json["error"]
    return error


def native(reply: Reply) -> dict[str, Any]:
    jsonschema.validate(reply.json, ERRORS["GatewayError"])
    error: dict[str, Any] = reply.json["error"]
    return error


@pytest.mark.parametrize("limit", ["0", "201", "many", ""])
async def test_a_wrong_query_is_a_400_that_names_the_field(api: Api, limit: str):
    reply = await api.ask("GET", f"/api/v1/decisions?limit={limit}")
    assert reply.status == 400
    assert native(reply)["code"] == "validation_error"
    assert native(reply)["details"]["param"] == "limit"
    assert "limit" in native(reply)["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"id":"x","score":2}', b"null", b"1e999"]
)
async def test_a_wrong_body_is_a_400_in_the_shape_of_its_path(api: Api, body: bytes):
    for path, shape in (("/v1/feedback", openai), ("/api/v1/feedback", native), ("/api/v1/route", native)):
        reply = await api.ask("POST", path, body)
        assert reply.status == 400, (path, reply.body)
        assert shape(reply)["message"]


async def test_route_names_the_field_of_a_wrong_chat(api: Api):
    reply = await api.ask("POST", "/api/v1/route", {"messages": "hi"})
    assert reply.status == 400
    assert native(reply)["details"]["param"] == "messages"


@pytest.mark.parametrize("path", ["/v1/nothing", "/nothing", "/v1/models/", "/v1", "/docs/"])
async def test_an_unknown_path_is_a_404_in_openais_shape(api: Api, path: str):
    reply = await api.ask("GET", path)
    assert reply.status == 404
    assert openai(reply)["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1", "/api/v1/decisions/"])
async def test_an_unknown_path_under_api_v1_is_a_404_in_its_own_shape(open_api: Api, path: str):
    reply = await open_api.ask("GET", path, who=None)
    assert reply.status == 404
    assert native(reply)["details"]["reason"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed", "shape"),
    [
        ("POST", "/v1/models", "GET", openai),
        ("DELETE", "/v1/models/auto", "GET", openai),
        ("GET", "/v1/feedback", "POST", openai),
        ("GET", "/v1/chat/completions", "POST", openai),
        ("PUT", "/api/v1/route", "POST", native),
    ],
)
async def test_a_wrong_method_is_a_405_that_says_which_will_do(
    api: Api, method: str, path: str, allowed: str, shape: Any
):
    reply = await api.ask(method, path, {} if method != "GET" else None)
    assert reply.status == 405
    assert reply.headers["allow"] == allowed
    assert allowed in shape(reply)["message"]


async def test_no_key_no_answer(api: Api):
    assert openai(await api.ask("GET", "/v1/models", who=None))["code"] == "invalid_api_key"
    assert native(await api.ask("GET", "/api/v1/health", who=None))["code"] == "auth_error"


async def test_the_unexpected_is_a_500_that_tells_nothing_of_the_inside(api: Api, caplog: pytest.LogCaptureFixture):
    def decide(request: Any, caller: Any) -> Any:
        raise ZeroDivisionError("a secret of the inside")

    api.decide = decide
    reply = await api.ask("POST", "/api/v1/route", {"messages": [{"role": "user", "content": "hi"}]})
    assert reply.status == 500
    assert native(reply)["code"] == "system_error"
    assert b"secret" not in reply.body
    assert b"ZeroDivision" not in reply.body
    assert "a secret of the inside" in caplog.text
    assert (await api.ask("GET", "/api/v1/health")).status == 200


async def test_a_failing_log_is_told_to_admins_with_its_mend_and_to_others_without_the_path(api: Api):
    where = api.database_path
    await api.log.recent(1)
    connection = sqlite3.connect(where)
    connection.execute("DROP TABLE feedback")
    connection.close()
    reply = await api.ask("GET", "/api/v1/decisions")
    assert reply.status == 503
    assert native(reply)["details"]["reason"] == "store_unavailable"
    assert str(where).encode() not in reply.body
    health = (await api.ask("GET", "/api/v1/health")).json
    assert health["decision_log"]["last_error"] is None


async def test_an_application_without_the_front_door_answers_500():
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    class Nothing:
        clock, version = SystemClock(), "1"
        started_at = 0.0
        budgets = sign_in = settings = responses = None

    scope = {"type": "http", "method": "GET", "path": "/docs", "query_string": b"", "headers": [], "state": {}}
    await build_asgi_app(Nothing())(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 500
    assert b"internal_error" in sent[1]["body"]


@pytest.mark.parametrize(
    ("error", "status", "code", "reason"),
    [
        (RateLimited(retry_after=1.2), 429, "rate_limit_exceeded", "rate_limit_exceeded"),
        (PrivacyWall(), 403, "validation_error", "privacy_local_only"),
        (Unauthenticated(), 401, "auth_error", "invalid_api_key"),
        (Forbidden(), 403, "auth_error", "forbidden"),
        (UpstreamTimeout("first_byte", 3.0), 504, "provider_error", "upstream_timeout"),
        (UpstreamStatus(503, b"private words"), 502, "provider_error", "upstream_status"),
        (Overloaded(), 503, "provider_error", "overloaded"),
        (StoreError(), 500, "system_error", "store_error"),
        (PointsmanError(), 500, "system_error", "internal_error"),
    ],
)
def test_every_kind_of_error_has_its_code(error: PointsmanError, status: int, code: str, reason: str):
    sent, headers, body = to_native(error)
    shown = native(Reply(sent, {}, body))
    assert (sent, shown["code"], shown["details"]["reason"]) == (status, code, reason)
    assert shown["remediation"]["retry_after"] == error.retry_after
    assert (b"retry-after" in dict(headers)) == (error.retry_after is not None)
    assert b"private words" not in body


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/keys", "/api/v1/keys/x/rotate"])
async def test_what_is_not_named_otherwise_is_for_admins(api: Api, path: str):
    """The door refuses it, so that a handler which forgets to ask gives nothing away."""
    for method in ("GET", "POST", "PATCH", "DELETE"):
        reply = await api.ask(method, path, {} if method == "POST" else None)
        assert reply.status == 403
        assert native(reply)["code"] == "auth_error"
