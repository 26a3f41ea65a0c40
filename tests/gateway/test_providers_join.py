"""Providers join by the environment alone, and nobody is missed who was not invited."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pointsman.testing.answers import Answer, Status, ToolUse

from .running import free_port, running


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


def listed(gateway) -> set[str]:
    return {model["id"] for model in gateway.ask("GET", "/v1/models").json["data"]}


def test_an_ollama_joins_by_its_address(tmp_path, lan_server, background):
    lan_server.reset()
    lan_server.models = ("mistral:latest", "big:cloud")
    with running(tmp_path, {}, env={"OLLAMA_HOST": lan_server.root}) as gateway:
        assert {"ollama:mistral:latest", "ollama:big:cloud"} <= listed(gateway)
        lan_server.script(
            Answer(text="Bonjour.", tool_calls=(ToolUse("say", {"word": "oui"}),)), Answer(text="Salut.", pieces=1)
        )
        reply = gateway.chat("Say hello.", model="ollama:mistral")
        message = reply.json["choices"][0]["message"]
        assert message["content"] == "Bonjour."
        assert message["tool_calls"][0]["function"] == {"name": "say", "arguments": '{"word":"oui"}'}
        assert reply.headers["x-pointsman-provider"] == "ollama"
        streamed = gateway.chat("Say hello.", model="ollama:mistral", stream=True)
        assert streamed.body.endswith(b"data: [DONE]\n\n")
        assert b"Salut." in streamed.body
        # Nobody declared it local, and a loopback address proves nothing.
        secret = "My token is ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2."
        assert gateway.chat(secret, model="ollama:mistral").status == 403
    lan_server.models = ("scripted-model",)


def test_cloud_providers_join_by_their_keys(tmp_path, cloud_server):
    cloud_server.reset()
    cloud_server.models = ("gpt-4o-mini", "text-embedding-3-small")
    env = {
        "OPENAI_API_KEY": "sk-planted",
        "OPENAI_BASE_URL": cloud_server.base_url,
        "LITELLM_URL": cloud_server.base_url,
        "LITELLM_MASTER_KEY": "sk-litellm",
    }
    with running(tmp_path, {"providers": {"ollama": {"enabled": False}}}, env=env) as gateway:
        assert {"openai:gpt-4o-mini", "litellm:gpt-4o-mini"} <= listed(gateway)
        reply = gateway.chat("hi", model="litellm:gpt-4o-mini")
        assert reply.status == 200
        assert cloud_server.chats[-1].headers["authorization"] == "Bearer sk-litellm"
        health = gateway.ask("GET", "/api/v1/health").json
        assert health["status"] == "ok"
        assert set(health["providers"]) == {"openai", "litellm"}
    assert "sk-planted" not in gateway.log_text
    cloud_server.models = ("scripted-model",)


def test_an_ollama_that_nobody_asked_for_is_not_missed(tmp_path):
    with running(tmp_path, {}, env={"OPENAI_API_KEY": ""}) as gateway:
        health = gateway.ask("GET", "/api/v1/health").json
        assert "ollama" not in health["providers"]
        assert "ollama" not in gateway.log_text


def test_a_refused_key_is_said_with_its_mend(tmp_path, cloud_server):
    cloud_server.reset()
    cloud_server.pages["/v1/models"] = Status(401)
    env = {"OPENAI_API_KEY": "sk-wrong", "OPENAI_BASE_URL": cloud_server.base_url}
    try:
        with running(tmp_path, {}, env=env) as gateway:
            found = gateway.ask("GET", "/api/v1/health").json["providers"]["openai"]
            assert found["connected"] is False
            assert "providers.openai.api_key" in found["mend"]
    finally:
        cloud_server.pages.clear()
    assert "sk-wrong" not in gateway.log_text


def test_names_that_nobody_has_are_told_at_the_start(tmp_path):
    with running(tmp_path, {"routing": {"default_provider": "opanai"}}) as gateway:
        assert "routing.default_provider names opanai" in gateway.log_text


def test_an_embedded_model_that_does_not_exist_stops_the_start(tmp_path):
    command = [sys.executable, "-m", "pointsman", "serve", "--port", "0", "--embedded-models", "gpt-5"]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, env=env)
    assert ended.returncode != 0
    assert "smollm2:135m" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_address_that_is_our_own_is_left_out(tmp_path):
    """The tools of a shell are sent here by OPENAI_BASE_URL; the gateway, started there, must not call itself."""
    port = free_port()
    env = {"OPENAI_API_KEY": "sk-any", "OPENAI_BASE_URL": f"http://localhost:{port}/v1"}
    with running(tmp_path, {"server": {"port": port}}, env=env) as gateway:
        assert "openai" not in gateway.ask("GET", "/api/v1/health").json["providers"]
        assert "this gateway's own address" in gateway.log_text
