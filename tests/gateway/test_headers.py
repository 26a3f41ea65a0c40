"""What every answer tells a browser: the headers of security, and the protocol of pages from other origins (CORS)."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import socket
from collections.abc import Iterator

import pytest

from .running import Gateway, running

APP = "https://app.example"
KEY = "key-of-the-page-0123456789"
KEYED = {"Authorization": f"Bearer {KEY}"}
BODY = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def gateway(settings, data_plane, tmp_path_factory) -> Iterator[Gateway]:
    server = {"api_keys": [KEY], "allowed_origins": [APP], "data_plane": data_plane, "max_body_bytes": 100_000}
    with running(tmp_path_factory.mktemp("gateway"), {**settings, "server": server}) as gateway:
        yield gateway


def lines(gateway: Gateway, method: str, path: str, body: object = None, headers: dict[str, str] | None = None):
    """Status and every header line: one that stands twice must be seen."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    try:
        sent = {"Content-Type": "application/json", **(headers or {})}
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        answer = connection.getresponse()
        answer.read()
        return answer.status, [(name.lower(), value) for name, value in answer.getheaders()]
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", "/v1/chat/completions", BODY, KEYED, 200),
        ("POST", "/v1/chat/completions", {**BODY, "stream": True}, KEYED, 200),
        ("POST", "/v1/chat/completions", {"model": 1}, KEYED, 400),
        ("POST", "/v1/chat/completions", BODY, {}, 401),
        ("POST", "/v1/chat/completions", BODY, {**KEYED, "Origin": "https://evil.example"}, 403),
        ("POST", "/v1/chat/completions", {**BODY, "user": "x" * 100_001}, KEYED, 413),
        ("GET", "/v1/models", None, KEYED, 200),
        ("GET", "/api/health", None, {}, 200),
        ("GET", "/docs", None, KEYED, 200),
        ("GET", "/nothing", None, KEYED, 404),
        ("DELETE", "/v1/models", None, KEYED, 405),
        ("OPTIONS", "/v1/models", None, {"Origin": APP, "Access-Control-Request-Method": "GET"}, 204),
    ],
)
def test_every_answer_has_them_once(gateway, lan, method, path, body, headers, status):
    got, found = lines(gateway, method, path, body, headers)
    assert got == status
    names = [name for name, _ in found]
    assert len(names) == len(set(names)), names
    fields = dict(found)
    assert fields["x-content-type-options"] == "nosniff"
    assert fields["referrer-policy"] == "no-referrer"
    assert fields["x-frame-options"] == "DENY"
    assert fields["server"] == "pointsman"
    assert "strict-transport-security" not in fields  # not without TLS: it would lock out what else has this name
    assert "x-powered-by" not in fields


def test_what_the_transport_refuses_has_them_too(gateway, data_plane):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as client:
        client.sendall(b"GET / broken HTTP/1.1\r\n\r\n")
        answer = client.recv(65536).lower()
    assert answer.startswith(b"http/1.1 400")
    assert answer.count(b"x-content-type-options: nosniff") == 1


@pytest.mark.parametrize("path", ["/", "/docs", "/nothing", "/v1/models", "/api/v1/decisions"])
def test_nothing_is_kept_and_nothing_is_loaded(gateway, path):
    reply = gateway.ask("GET", path, headers=KEYED)
    assert reply.headers["cache-control"] == "no-store"
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    if reply.headers["content-type"].startswith("text/html"):
        page = reply.body.decode()
        for style in re.findall(r"<style>(.*?)</style>", page, re.DOTALL):
            assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
        assert not re.search(r"<script|\sstyle=|\son[a-z]+=|javascript:", page)


def preflight(gateway: Gateway, origin: str, **headers: str):
    sent = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return gateway.ask("OPTIONS", "/v1/chat/completions", headers={**sent, **headers})


def test_a_listed_origin_is_granted_what_it_needs(gateway):
    asked = {"Access-Control-Request-Headers": "authorization,content-type,x-stainless-os,x-evil,x-stainless-!"}
    reply = preflight(gateway, APP, **asked)
    assert reply.status == 204
    granted = reply.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "x-pointsman-signature", "x-csrf-token", "x-stainless-os"} <= set(granted)
    assert "x-evil" not in granted
    assert set(reply.headers["access-control-allow-methods"].split(", ")) == {"GET", "POST", "PUT", "PATCH", "DELETE"}
    assert reply.headers["access-control-allow-origin"] == APP
    assert reply.headers["vary"] == "origin"
    assert "access-control-allow-private-network" not in reply.headers


def test_a_listed_origin_reads_what_it_needs(gateway, lan):
    reply = gateway.ask("POST", "/v1/chat/completions", BODY, headers={**KEYED, "Origin": APP})
    assert reply.status == 200
    exposed = reply.headers["access-control-expose-headers"].split(", ")
    assert "*" not in exposed
    told = {name for name in reply.headers if name.startswith(("x-pointsman-", "ratelimit", "x-ratelimit-"))}
    assert told <= set(exposed), told - set(exposed)
    assert {"retry-after", "x-pointsman-decision"} <= set(exposed)
    assert "access-control-allow-credentials" not in reply.headers


def test_a_refusal_of_a_listed_origin_can_be_read(gateway):
    reply = gateway.ask("POST", "/v1/chat/completions", BODY, headers={"Origin": APP})
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (401, APP)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", f"{APP}.evil.example", "https://app.example:444", "*"]
)
def test_another_origin_gets_nothing(gateway, origin):
    for reply in (
        preflight(gateway, origin),
        preflight(gateway, origin, **{"Access-Control-Request-Private-Network": "true"}),
        gateway.ask("GET", "/v1/models", headers={**KEYED, "Origin": origin}),
    ):
        assert reply.status == 403
        assert reply.headers["vary"] == "origin"
        assert not [name for name in reply.headers if name.startswith("access-control-")]


def test_a_listed_origin_may_come_from_a_wider_network(gateway):
    reply = preflight(gateway, APP, **{"Access-Control-Request-Private-Network": "true"})
    assert reply.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("origin", ["*", "app.example", "https://app.example/path", "https://*.example"])
def test_an_origin_that_is_none_is_refused_at_the_start(origin):
    from pointsman import settings
    from pointsman.core.errors import SettingsError

    with pytest.raises(SettingsError, match=r"server\.allowed_origins"):
        settings.load({"server.allowed_origins": [origin]}, environ={})
