"""No web page can drive a gateway on an open loopback port, and a wide one wants a key."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

from .running import running

BODY = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/feedback", "/api/v1/route"])
def test_a_rebound_name_is_refused(gateway, lan, path):
    reply = gateway.ask("POST", path, BODY, headers={"Host": f"evil.example:{gateway.port}"})
    assert reply.status == 403
    assert not lan.chats


@pytest.mark.parametrize("path", ["/v1/models", "/api/v1/decisions", "/docs", "/"])
def test_reading_needs_a_known_name_too(gateway, path):
    assert gateway.ask("GET", path, headers={"Host": "evil.example"}).status == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
def test_a_foreign_page_is_refused(gateway, lan, origin):
    assert gateway.ask("POST", "/v1/chat/completions", BODY, headers={"Origin": origin}).status == 403
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    refused = gateway.ask("OPTIONS", "/v1/chat/completions", headers=preflight)
    assert refused.status == 403
    assert "access-control-allow-origin" not in refused.headers
    assert not lan.chats


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_is_refused(gateway, lan, content_type):
    reply = gateway.ask("POST", "/v1/chat/completions", BODY, headers={"Content-Type": content_type})
    assert reply.status == 400
    assert not lan.chats


def test_the_gateways_own_pages_may_call(gateway, lan):
    own = {"Origin": gateway.url}
    assert gateway.ask("POST", "/v1/chat/completions", BODY, headers=own).status == 200


def test_a_listed_origin_may_call(tmp_path, settings, lan):
    listed = {**settings, "server": {"allowed_origins": ["https://app.example"]}}
    with running(tmp_path, listed) as gateway:
        headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        preflight = gateway.ask("OPTIONS", "/v1/chat/completions", headers=headers)
        assert preflight.status == 204
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        reply = gateway.ask("POST", "/v1/chat/completions", BODY, headers={"Origin": "https://app.example"})
        assert reply.status == 200
        assert reply.headers["access-control-allow-origin"] == "https://app.example"


def test_beyond_loopback_without_a_key_it_refuses_to_start(tmp_path):
    command = [sys.executable, "-m", "pointsman", "serve", "--host", "0.0.0.0", "--port", "0"]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=30, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    )
    assert ended.returncode != 0
    assert "POINTSMAN_API_KEY" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_beyond_loopback_a_key_is_asked_for(tmp_path, settings, lan):
    wide = {**settings, "server": {"host": "0.0.0.0", "api_keys": ["wide-key"]}}
    with running(tmp_path, wide) as gateway:
        name = {"Host": f"{socket.gethostname()}:{gateway.port}"}
        assert gateway.ask("POST", "/v1/chat/completions", BODY, headers=name).status == 401
        key = {**name, "Authorization": "Bearer wide-key"}
        assert gateway.ask("POST", "/v1/chat/completions", BODY, headers=key).status == 200


def test_a_taken_port_is_said(tmp_path, gateway):
    command = [sys.executable, "-m", "pointsman", "serve", "--no-embedded", "--port", str(gateway.port)]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=30, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    )
    assert ended.returncode == 1
    assert str(gateway.port) in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("path", ["/", "/docs", "/v1/models", "/api/v1/decisions", "/v1/models/openai:gpt-4o"])
def test_a_foreign_page_may_link_but_not_load(gateway, path):
    site = {"Sec-Fetch-Site": "cross-site"}
    assert gateway.ask("GET", path, headers={**site, "Sec-Fetch-Mode": "navigate"}).status == 200
    for mode in ("no-cors", "cors", "same-origin", ""):
        assert gateway.ask("GET", path, headers={**site, "Sec-Fetch-Mode": mode}).status == 403
    assert gateway.ask("POST", "/v1/feedback", {}, headers={**site, "Sec-Fetch-Mode": "navigate"}).status == 403
    assert gateway.ask("GET", path, headers={"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}).status == 200


def raw(gateway, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(request)
        received = b""
        while block := client.recv(65536):
            received += block
    return received


TARGETS = [
    "//v1/chat/completions",
    "/v1/chat/completions/",
    "/v1/chat/../chat/completions",
    "/v1%2Fchat%2Fcompletions",
    "/v1/chat%2fcompletions",
    "/%761/chat/completions",
    "/v1/chat/completions?x=1",
    "/v1/chat/completions;x",
    "/V1/CHAT/COMPLETIONS",
    "/api/health/../../v1/chat/completions",
    "/api/health/",
    "http://evil.example/v1/chat/completions",
    "http://127.0.0.1@evil.example/v1/chat/completions",
    "*",
    "evil.example:80",
]
"""Ways to write a path. Whichever handler they reach, they pass the guard first."""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "bad",
    [
        "Host: evil.example",
        "Host: 127.0.0.1\r\nOrigin: https://evil.example",
        "Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site",
        "Host: evil.example\r\nHost: 127.0.0.1",
        "Host: [::1]evil.example",
        "Host: 127.0.0.1 evil.example",
    ],
)
def test_no_way_of_writing_a_path_passes_the_guard(gateway, lan, cloud, target, bad):
    body = json.dumps(BODY).encode()
    head = (
        f"POST {target} HTTP/1.1\r\n{bad}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    status = raw(gateway, head.encode() + body).split(b" ", 2)[1]
    assert status in (b"400", b"403", b"405"), status
    assert not lan.chats
    assert not cloud.chats


def test_a_path_forges_no_line_of_the_log(gateway):
    for path in ("/v1/x%0a12:00:00 error pointsman: forged", "/v1/models/%1b[2J%0d%0aforged", "/docs%00"):
        assert gateway.ask("GET", path.replace(" ", "%20")).status in (400, 404)
    assert "\x1b" not in gateway.log_text
    assert not [line for line in gateway.log_text.splitlines() if line.startswith(("forged", "12:00:00 error"))]


def test_keys_are_kept_apart(tmp_path, settings, lan):
    """A key sees its own decisions alone, may judge its own alone, and only as a header."""
    keys = ["first-key-0123456789", "second-key-0123456789"]
    with running(tmp_path, {**settings, "server": {"api_keys": keys}}) as gateway:
        first, second = ({"Authorization": f"Bearer {key}"} for key in keys)
        answer = gateway.chat("hi", model="fast", headers=first)
        decision, told = answer.headers["x-pointsman-decision"], answer.json["id"]
        for identifier in (decision, told):
            path = f"/api/v1/decisions/{identifier}"
            assert gateway.ask("GET", path, headers=first).status == 200
            assert gateway.ask("GET", path, headers=second).status == 404
            assert gateway.ask("POST", "/v1/feedback", {"id": identifier, "thumb": "up"}, headers=second).status == 404
            assert gateway.ask("POST", "/v1/feedback", {"id": identifier, "thumb": "up"}, headers=first).status == 200
        assert gateway.ask("GET", "/api/v1/decisions", headers=second).json["data"] == []
        assert gateway.ask("GET", "/api/v1/decisions?limit=201", headers=first).status == 400
        for wrong in (
            {},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer "},
            {"x-api-key": ""},
            {"Authorization": f"Basic {keys[0]}"},
            {"Authorization": f"Bearer {keys[0]}, Bearer {keys[1]}"},
            {"Authorization": f"Bearer {keys[0][:-1]}"},
            {"Cookie": f"api_key={keys[0]}"},
        ):
            for path in ("/v1/models", "/docs", "/", "/api/v1/decisions", f"/v1/models?api_key={keys[0]}x"):
                assert gateway.ask("GET", path, headers=wrong).status == 401, (path, wrong)
            assert gateway.ask("POST", "/v1/chat/completions", BODY, headers=wrong).status == 401
        assert gateway.ask("GET", "/v1/models", headers={"x-api-key": keys[1]}).status == 200


def test_without_a_key_a_wide_port_knows_its_names(tmp_path, settings):
    """Rebinding needs a name; whoever protects the port otherwise lists the names that it goes by."""
    wide = {"host": "0.0.0.0", "allow_unauthenticated": True, "allowed_hosts": ["gateway.lan"]}
    with running(tmp_path, {**settings, "server": wide}) as gateway:
        for host, status in (("evil.example", 403), ("gateway.lan", 200), ("192.0.2.7", 200), ("[2001:db8::7]", 200)):
            assert gateway.ask("GET", "/v1/models", headers={"Host": f"{host}:{gateway.port}"}).status == status
        rebound = {"Host": f"evil.example:{gateway.port}", "Origin": f"http://evil.example:{gateway.port}"}
        assert gateway.ask("POST", "/v1/chat/completions", BODY, headers=rebound).status == 403


@pytest.mark.parametrize("key", ["", " ", "na\u00efve-key"])
def test_a_key_that_cannot_be_sent_or_is_none_is_refused(tmp_path, key):
    (tmp_path / "pointsman.yaml").write_text(f'server: {{api_keys: ["{key}"]}}\n')
    command = [sys.executable, "-m", "pointsman", "--config", str(tmp_path / "pointsman.yaml"), "serve", "--port", "0"]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=30, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    )
    assert ended.returncode != 0
    assert "server.api_keys" in ended.stderr
    assert "Traceback" not in ended.stderr
