"""No web page can drive a gateway on an open loopback port, and a wide one wants a key."""

from __future__ import annotations

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
