"""Whatever is sent to any endpoint that the gateway says it has gets an answer or a typed error. New ones join by
themselves."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st

from .running import Gateway, running

ADMIN = "pm-key-of-the-fuzzing-admin-0123456789"
ENTERED = {"authorization": f"Bearer {ADMIN}"}

WORDS = st.text(max_size=12) | st.sampled_from(
    ["dec_0", "key_", "admin", "2026-11", "2026-13", "0", "-1", "1e9", "null", "../..", "%2e%2e/", "\x00", "auto", "*"]
)
LEAVES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | WORDS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3))


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def gateway(settings, tmp_path_factory):  # a key of its own, so that no key made on the way shuts it out
    tree = {**settings, "server": {"admin_keys": [ADMIN], "data_plane": "native"}}
    with running(tmp_path_factory.mktemp("fuzzed"), tree) as gateway:
        yield gateway


def operations(gateway: Gateway) -> list[tuple[str, str, dict[str, Any]]]:
    document = gateway.ask("GET", "/openapi.json", headers=ENTERED).json
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def fields_of(operation: dict[str, Any], schemas: dict[str, Any]) -> list[str]:
    """The names that an operation's body knows."""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    named = schemas.get(body.get("$ref", "").rpartition("/")[2], body)
    return list(named.get("properties", {}))


def test_any_body_path_and_query(gateway: Gateway, cloud, lan):
    found = operations(gateway)
    schemas = gateway.ask("GET", "/openapi.json", headers=ENTERED).json["components"]["schemas"]
    assert len(found) > 25

    @given(data=st.data())
    @rules(max_examples=len(found) * 20, deadline=None, suppress_health_check=list(HealthCheck))
    def check(data):
        method, path, operation = data.draw(st.sampled_from(found), label="operation")
        known = fields_of(operation, schemas) or ["x"]
        query = {}
        for parameter in operation.get("parameters", []):
            value = data.draw(WORDS, label=parameter["name"])
            if parameter["in"] == "path":
                path = path.replace("{" + parameter["name"] + "}", quote(value or "x", safe=""))
            elif parameter["in"] == "query" and data.draw(st.booleans()):
                query[parameter["name"]] = value
        target = f"{path}?{urlencode(query)}" if query else path
        body = None
        if method not in ("GET", "DELETE"):
            sent = data.draw(st.dictionaries(st.sampled_from(known) | WORDS, VALUES, max_size=5) | VALUES, label="body")
            body = json.dumps(sent).encode()
        answer = gateway.ask(method, target, body, headers=ENTERED)
        assert answer.status < 500 or answer.status in (502, 503, 504), (method, target, body, answer.body)
        if answer.status >= 400:
            error = json.loads(answer.body)["error"]
            assert error["message"] if isinstance(error, dict) else error  # OAuth's shape is a word

    check()
    assert "failed unexpectedly" not in gateway.log_text
    assert "Traceback" not in gateway.log_text
    assert gateway.ask("GET", "/api/health").status == 200
