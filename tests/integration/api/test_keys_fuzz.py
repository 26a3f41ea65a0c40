"""Whatever is sent to `/api/v1/keys` gets an answer or a typed error."""

from __future__ import annotations

import asyncio
import http.client
import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import Api

FIELDS = ["name", "role", "models", "endpoints", "networks", "tier", "daily_micro_usd", "monthly_micro_usd",
          "expires_at", "overlap_seconds", "more"]  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20),
    st.sampled_from(["chat", "free", "admin", "10.0.0.0/8", "\x00", "key_", "ci"]),
    st.lists(st.text(max_size=8) | st.sampled_from(["chat", "::1", "\x00", "*"]), max_size=4),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)  # fmt: skip


def ask(port: int, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("method", ["POST", "PATCH", "ROTATE", "GET", "DELETE"])
async def test_any_body_and_any_name(open_api: Api, method: str):
    @given(fields=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6) | VALUES, name=st.text(max_size=12))
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def check(fields, name):
        path = "/api/v1/keys" if method == "POST" else f"/api/v1/keys/{quote(name or 'ci', safe='')}"
        verb, path = ("POST", f"{path}/rotate") if method == "ROTATE" else (method, path)
        body = json.dumps(fields).encode() if method not in ("GET", "DELETE") else None
        status, answer = ask(open_api.port, verb, path, body)
        assert status in (200, 201, 400, 404, 405), (status, answer)
        if status >= 400:
            assert json.loads(answer)["error"]["message"]
        else:
            assert json.loads(answer)["name"].isprintable()

    await asyncio.to_thread(ask, open_api.port, "POST", "/api/v1/keys", b'{"name": "ci"}')
    await asyncio.to_thread(check)
