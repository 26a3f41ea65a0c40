"""API keys through real gateways: made, used, rotated and revoked, and held to their scopes."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openai
import pytest

from pointsman.testing import Answer, SeenRequest
from pointsman.testing.answers import Wire
from stream_frames import chunk
from waiting import until

from .running import Gateway, Reply, running

SECRET = "a secret that both gateways share, and nobody else"
BODY = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
SOON = 10.0
"""Seconds that a busy machine may take for what takes less than one."""


@pytest.fixture
def data_plane() -> str:
    return "native"


@pytest.fixture
def gateway(tmp_path: Path, settings: dict[str, Any]):
    with running(tmp_path, settings) as gateway:
        yield gateway


def command(gateway: Gateway, *arguments: str, env: Mapping[str, str] | None = None, ok: bool = True) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "--config", str(gateway.folder / "pointsman.yaml"), *arguments],
        capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(gateway.folder), **(env or {})},
    )  # fmt: skip
    assert (done.returncode == 0) is ok, done.stderr
    return (done.stdout if ok else done.stderr).strip()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def status(gateway: Gateway, token: str | None) -> int:
    return gateway.ask("GET", "/v1/models", headers=bearer(token) if token is not None else None).status


def becomes(gateway: Gateway, token: str | None, wanted: int) -> None:
    """Wait until a token is let in, or refused."""
    until(lambda: status(gateway, token) == wanted, every=0.02)


def make(gateway: Gateway, admin: str, **fields: Any) -> dict[str, Any]:
    made = gateway.ask("POST", "/api/v1/keys", fields, headers=bearer(admin))
    assert made.status == 201, made.body
    return made.json


def test_a_key_from_the_command_line(gateway, lan):
    """The open port closes with the first key; its bearer and the owner's command line are let in."""
    assert "open to whoever is on this machine" in gateway.log_text
    token = command(gateway, "keys", "create", "ci")
    becomes(gateway, None, 401)
    assert gateway.ask("POST", "/v1/chat/completions", BODY).status == 401
    with openai.OpenAI(base_url=gateway.base_url, api_key=token, max_retries=0) as client:
        assert client.chat.completions.create(**BODY).choices
        assert "lan:llama3.1:8b" in [model.id for model in client.models.list()]
    for wrong in ("unused", token[:-1], token.replace("pm_", "pm-")):
        with openai.OpenAI(base_url=gateway.base_url, api_key=wrong, max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as refused:
                client.models.list()
            assert wrong not in str(refused.value)
    record = json.loads(command(gateway, "why", "--json"))
    assert record["key_id"] == json.loads(command(gateway, "keys", "show", "ci", "--json"))["id"]
    assert "lan:llama3.1:8b" in command(gateway, "models")
    assert command(gateway, "complete", "--model", "fast", "hi")
    doctor = json.loads(command(gateway, "doctor", "--quick", "--json"))
    assert next(finding for finding in doctor["findings"] if finding["part"] == "Gateway")["status"] == "ok"


def test_another_users_command_line_needs_a_key(gateway):
    """Without the installation's secret the command line is as anybody else."""
    token = command(gateway, "keys", "create", "ci")
    becomes(gateway, None, 401)
    elsewhere = {"POINTSMAN_DATA_DIR": str(gateway.folder / "another")}
    url = ["--url", gateway.url]
    assert "POINTSMAN_API_KEY" in command(gateway, *url, "models", env=elsewhere, ok=False)
    assert not (gateway.folder / "another").exists()
    assert "lan:llama3.1:8b" in command(gateway, *url, "models", env={**elsewhere, "POINTSMAN_API_KEY": token})


def test_two_gateways_on_one_postgres(tmp_path, settings, postgres_url, lan):
    """What one replica or the command line does holds on the other within a second, give or take a busy machine."""
    env = {"DATABASE_URL": postgres_url, "POINTSMAN_SECRET_KEY": SECRET}
    with running(tmp_path / "a", settings, env=env) as one, running(tmp_path / "b", settings, env=env) as other:
        admin = command(one, "keys", "create", "admin", "--admin", env=env)
        for gateway in (one, other):
            becomes(gateway, admin, 200)
        took = []
        for round in range(3):
            made = make(one, admin, name=f"key {round}")
            assert status(one, made["token"]) == 200
            becomes(other, made["token"], 200)
            gone = one.ask("DELETE", f"/api/v1/keys/{made['id']}", headers=bearer(admin))
            begun = time.monotonic()
            assert (gone.status, gone.json["state"]) == (200, "revoked")
            assert status(one, made["token"]) == 401
            becomes(other, made["token"], 401)
            took.append(time.monotonic() - begun)
        assert min(took) < 1.0, took

        made = make(one, admin, name="rotated")
        second = one.ask("POST", "/api/v1/keys/rotated/rotate", {"overlap_seconds": 600}, headers=bearer(admin)).json
        becomes(other, second["token"], 200)
        assert second["id"] == made["id"]
        assert status(other, made["token"]) == status(one, made["token"]) == 200
        third = one.ask("POST", "/api/v1/keys/rotated/rotate", {"overlap_seconds": 0}, headers=bearer(admin)).json
        becomes(other, third["token"], 200)
        for token in (made["token"], second["token"]):
            refused = other.ask("GET", "/v1/models", headers=bearer(token))
            assert (refused.status, refused.json["error"]["code"]) == (401, "expired_api_key")

        decision = other.ask("POST", "/v1/chat/completions", BODY, headers=bearer(third["token"]))
        assert decision.status == 200

        ends = make(one, admin, name="short", expires_at=time.time() + 1.5)
        becomes(other, ends["token"], 401)


def test_models_of_a_key(gateway, cloud, lan):
    """`auto` picks no other, no fallback carries one, and a name outside is a 403 that names those inside."""
    admin = command(gateway, "keys", "create", "admin", "--admin")
    becomes(gateway, admin, 200)
    token = make(gateway, admin, name="small", models=["gpt-4o-mini", "openai:nothing*"])["token"]
    listed = gateway.ask("GET", "/v1/models", headers=bearer(token)).json["data"]
    assert [model["id"] for model in listed] == ["auto", "openai:gpt-4o-mini"]
    assert gateway.ask("GET", "/v1/models/fast", headers=bearer(token)).status == 403

    for name in ("fast", "lan:llama3.1:8b", "gpt-4o", "openai:gpt-4o"):
        for path in ("/v1/chat/completions", "/api/v1/route"):
            refused = gateway.ask("POST", path, {**BODY, "model": name}, headers=bearer(token))
            assert refused.status == 403, (name, path)
            assert b"openai:gpt-4o-mini" in refused.body
    assert not cloud.chats
    assert not lan.chats

    for content in ("hi", "Prove that every planar graph has a vertex of degree at most five, step by step."):
        answer = gateway.chat(content, headers=bearer(token))
        assert answer.headers["x-pointsman-model"] == "openai:gpt-4o-mini"
        route = gateway.ask("POST", "/api/v1/route", {**BODY, "model": "auto"}, headers=bearer(token)).json
        assert route["plan"] == ["openai:gpt-4o-mini"]
        assert not route["dropped"]
    private = gateway.chat("My card is 4111 1111 1111 1111.", headers=bearer(token))
    assert private.status == 403
    assert not lan.chats

    def confine(models: list[str]) -> Reply:
        """What `auto` gives, once the key has other models."""
        assert gateway.ask("PATCH", "/api/v1/keys/small", {"models": models}, headers=bearer(admin)).status == 200
        return gateway.chat(headers=bearer(token))

    assert confine(["lan:*"]).headers["x-pointsman-model"] == "lan:llama3.1:8b"
    away = confine(["away:*"])
    assert (away.status, "away:*" in away.json["error"]["message"]) == (400, True)


def test_a_configured_chain_carries_no_model_of_others(tmp_path, settings, cloud, lan):
    routing = {**settings["routing"], "fallbacks": {"openai:gpt-4o-mini": ["lan:llama3.1:8b", "openai:gpt-4o"]}}
    keyed = {**settings, "routing": routing, "server": {"admin_keys": ["an-admin-key-of-the-settings"]}}
    with running(tmp_path, keyed) as gateway:
        token = make(gateway, "an-admin-key-of-the-settings", name="x", models=["openai:*"])["token"]
        for model in ("openai:gpt-4o-mini", "auto"):
            plan = gateway.ask("POST", "/api/v1/route", {**BODY, "model": model}, headers=bearer(token)).json["plan"]
            assert "lan:llama3.1:8b" not in plan
            assert set(plan) == {"openai:gpt-4o-mini", "openai:gpt-4o"}


def test_scopes_and_roles(gateway, lan):
    admin = command(gateway, "keys", "create", "admin", "--admin")
    becomes(gateway, admin, 200)
    chat = make(gateway, admin, name="chat", endpoints=["chat"])["token"]
    away = make(gateway, admin, name="away", networks=["192.0.2.0/24"])["token"]
    here = make(gateway, admin, name="here", networks=["127.0.0.0/8", "::1"])["token"]
    viewer = make(gateway, admin, name="viewer", role="viewer")["token"]
    member = make(gateway, admin, name="member")["token"]

    def ask(token: str, method: str = "POST", path: str = "/v1/chat/completions", body: Any = BODY) -> Reply:
        return gateway.ask(method, path, body if method == "POST" else None, headers=bearer(token))

    assert ask(chat).status == 200
    assert ask(chat, "GET", "/v1/models").status == ask(chat, "GET", "/api/v1/decisions").status == 403
    assert ask(away).json["error"]["code"] == "network_not_allowed"
    assert ask(here).status == ask(member).status == 200
    assert ask(viewer).status == ask(viewer, path="/api/v1/route").status == 403
    assert ask(viewer, "GET", "/api/v1/decisions").json["data"] == []
    for token in (member, viewer, chat):
        for method, path in (
            ("GET", "/api/v1/keys"), ("POST", "/api/v1/keys"), ("GET", "/api/v1/keys/admin"),
            ("PATCH", "/api/v1/keys/admin"), ("DELETE", "/api/v1/keys/admin"), ("POST", "/api/v1/keys/admin/rotate"),
        ):  # fmt: skip
            assert ask(token, method, path, {"name": "x"}).status == 403, (method, path)
    assert ask(admin, "GET", "/api/v1/decisions").json["data"]


def test_what_the_api_takes_and_tells(gateway):
    admin = command(gateway, "keys", "create", "admin", "--admin")
    becomes(gateway, admin, 200)
    made = make(gateway, admin, name="bounded", tier="free", daily_micro_usd=500_000, networks=["10.1.2.3/8"])
    shown = gateway.ask("GET", "/api/v1/keys/bounded", headers=bearer(admin)).json
    assert shown == {name: value for name, value in made.items() if name != "token"}
    assert (shown["networks"], shown["tier"], shown["daily_micro_usd"]) == (["10.0.0.0/8"], "free", 500_000)
    listed = gateway.ask("GET", "/api/v1/keys", headers=bearer(admin))
    assert [key["name"] for key in listed.json["data"]] == ["bounded", "admin"]
    assert made["token"][12:].encode() not in listed.body
    who = listed.json["data"][1]["id"]
    assert shown["created_by"] == who
    for fields in (
        {}, {"name": 3}, {"name": "x", "role": "king"}, {"name": "x", "unknown": 1}, {"name": "x", "models": "a"},
        {"name": "x", "daily_micro_usd": -1}, {"name": "x", "daily_micro_usd": 1.5}, {"name": "x", "expires_at": 1},
        {"name": "x", "endpoints": ["all"]}, {"name": "x", "networks": ["here"]}, {"name": "bounded"},
        {"name": "x", "models": ["m"] * 101}, {"name": "x", "expires_at": 1e300}, {"name": "x", "tier": "gold"},
    ):  # fmt: skip
        refused = gateway.ask("POST", "/api/v1/keys", fields, headers=bearer(admin))
        assert refused.status == 400, (fields, refused.body)
        assert refused.json["error"]["message"]
    for method, path, fields, code in (
        ("GET", "/api/v1/keys/nobody", None, 404), ("DELETE", "/api/v1/keys/nobody", None, 404),
        ("PATCH", "/api/v1/keys/bounded", {}, 400), ("PATCH", "/api/v1/keys/nobody", {"tier": None}, 404),
        ("POST", "/api/v1/keys/bounded/rotate", {"overlap_seconds": -1}, 400),
        ("POST", "/api/v1/keys/nobody/rotate", {}, 404),
    ):  # fmt: skip
        assert gateway.ask(method, path, fields, headers=bearer(admin)).status == code, (method, path)
    gone = gateway.ask("DELETE", "/api/v1/keys/bounded", headers=bearer(admin)).json
    assert (gone["state"], gone["revoked_by"], gone["tokens"]) == ("revoked", who, [])
    assert gateway.ask("DELETE", f"/api/v1/keys/{gone['id']}", headers=bearer(admin)).status == 400
    assert f"was revoked by {who}" in gateway.log_text


@pytest.mark.parametrize("plane", ["native", "asgi"])
def test_tokens_stand_nowhere(tmp_path, settings, lan, plane):
    """Neither in the log nor in a byte of the data folder, however they were sent, and whatever went wrong."""
    with running(tmp_path, {**settings, "server": {"data_plane": plane}, "log": {"level": "debug"}}) as gateway:
        tokens = [command(gateway, "keys", "create", "one", "--admin")]
        becomes(gateway, tokens[0], 200)
        tokens.append(make(gateway, tokens[0], name="two")["token"])
        rotated = gateway.ask("POST", "/api/v1/keys/two/rotate", {"overlap_seconds": 60}, headers=bearer(tokens[0]))
        tokens.append(rotated.json["token"])
        for token in tokens:
            asked = f"?api_key={token}"
            assert gateway.ask("POST", f"/v1/chat/completions{asked}", BODY).status == 200
            encoded = "".join(f"%{byte:02x}" for byte in token.encode())
            assert gateway.ask("GET", f"/v1/models?x=1&api_key={encoded}").status == 200
            assert gateway.ask("GET", "/v1/models", headers={"x-api-key": token}).status == 200
            for path in ("/v1/nothing", "/v1/models/x", "/api/v1/decisions/x", "/api/v1/nothing", "/docs/x"):
                reply = gateway.ask("GET", path + asked)
                assert reply.status in (403, 404)
                assert token.encode() not in reply.body
            assert gateway.ask("GET", f"/api/v1/decisions{asked}&limit=x").status == 400
            assert gateway.ask("POST", f"/v1/chat/completions{asked}", b"{").status == 400
            # as a model's name, and as content: it is a secret like others, and stays on the machine
            named = gateway.ask("POST", "/v1/chat/completions", {**BODY, "model": token}, headers=bearer(token))
            assert named.status == 404
            said = gateway.chat(f"my key is {token}", model="openai:gpt-4o", headers=bearer(token))
            assert (said.status, said.json["error"]["code"]) == (403, "privacy_local_only")
        assert gateway.ask("GET", f"/v1/models?api_key={tokens[0]}&api_key={tokens[1]}").status == 401
        assert gateway.ask("GET", f"/v1/models?api_key={tokens[0]}", headers=bearer(tokens[1])).status == 401
        assert gateway.ask("GET", f"/v1/models?api_key={tokens[0]}&api_key={tokens[0]}").status == 200
    secrets = [token[12:].encode() for token in tokens]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".sqlite3" for path in files)
    for path in files:
        content = path.read_bytes()
        for secret in secrets:
            assert secret not in content, path


@pytest.mark.parametrize("plane", ["native", "asgi"])
def test_odd_keys(tmp_path, settings, plane):
    """Whatever is sent for a key gets a clean refusal, and the gateway goes on."""
    with running(
        tmp_path, {**settings, "server": {"data_plane": plane, "api_keys": ["right-key-0123456789"]}}
    ) as gateway:
        good = "right-key-0123456789"
        odd = ["pm_" * 100, "\xff\xfe", "a" * 7000, "pm_aaaaaaaa_" + "A" * 43, "pm_local_" + "A" * 43,
               "pm_aaaaaaaa_" + "\xe9" * 43, "eyJ" + "." * 300, "%00", "null", "Bearer " + good]  # fmt: skip
        for key in odd:
            assert gateway.ask("GET", "/v1/models", headers=bearer(key)).status == 401, key[:20]
            assert gateway.ask("GET", "/v1/models", headers={"x-api-key": key}).status == 401, key[:20]
        for query in ("api_key=", "api_key=%", "api_key=%zz", "api_key=%ff%fe", "api_key", "API_KEY=" + good,
                      f"api_key={good}&api_key=", f"api_key=x{good}", "api_key=" + "a" * 5000):  # fmt: skip
            assert gateway.ask("GET", f"/v1/models?{query}").status == 401, query[:30]
        assert gateway.ask("GET", f"/v1/models?api_key={good}").status == 200
        assert gateway.ask("GET", f"/v1/models?api_key={good}", headers=bearer("x")).status == 401

        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
        connection.putrequest("GET", "/v1/models")
        connection.putheader("x-api-key", good)
        connection.putheader("x-api-key", good)
        connection.endheaders()
        assert connection.getresponse().status == 401, "a header that stands twice is worth nothing"
        connection.close()
        for name in ("Authorization", "x-api-key"):
            try:
                megabyte = gateway.ask("GET", "/v1/models", headers={name: "Bearer " + "k" * 1_000_000})
            except OSError:
                continue  # closed before the client had sent it all
            assert megabyte.status in (400, 401, 431)
        assert gateway.ask("GET", "/v1/models", headers=bearer(good)).status == 200


def test_a_stored_key_in_the_environment_is_no_key_of_the_settings(tmp_path, settings):
    """Who starts a gateway with POINTSMAN_API_KEY=pm_… for its command line lifts neither scopes nor revocation."""
    with running(tmp_path, settings) as gateway:
        token = command(gateway, "keys", "create", "small", "--endpoint", "models")
    with running(tmp_path, settings, env={"POINTSMAN_API_KEY": token}) as gateway:
        assert status(gateway, token) == 200
        assert gateway.ask("POST", "/v1/chat/completions", BODY, headers=bearer(token)).status == 403
        command(gateway, "keys", "revoke", "small")
        becomes(gateway, token, 401)
        assert gateway.ask("GET", "/v1/models").status == 401


def test_beyond_loopback_a_stored_key_is_enough(tmp_path, settings):
    wide = {**settings, "server": {"host": "0.0.0.0"}}
    with pytest.raises(AssertionError, match="pointsman keys create"), running(tmp_path, wide):
        pass
    gateway = Gateway(None, 0, tmp_path)  # type: ignore[arg-type]
    token = command(gateway, "keys", "create", "first")
    with running(tmp_path, wide) as gateway:
        assert gateway.ask("GET", "/v1/models").status == 401
        assert status(gateway, token) == 200
        assert "open to" not in gateway.log_text
        command(gateway, "keys", "revoke", "first")
        becomes(gateway, token, 401)
        assert gateway.ask("GET", "/v1/models").status == 401, "nothing opens when the last key goes"


class GoesOn:
    """A stream of words until it is told to end."""

    def __init__(self) -> None:
        self.begun, self.ends = threading.Event(), threading.Event()

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        first, *_, last, done = Answer(text="word", done=1).openai_frames(request.json)
        await wire.head(200, {"content-type": "text/event-stream"}, length=None)
        await wire.body(first)
        while not self.ends.is_set():
            await wire.body(chunk({"content": "word "}))
            self.begun.set()
            await asyncio.sleep(0.05)
        for frame in (chunk({"content": "the end"}), chunk({}, "stop"), last, done):
            await wire.body(frame)
        await wire.end()


async def test_a_revoked_key_stops_under_load(gateway, lan):
    """Of requests that run all the time, none gets in later than a second (or a busy machine's while) after. A stream
    that was let in before is told to its end."""
    token = command(gateway, "keys", "create", "busy")
    await asyncio.to_thread(becomes, gateway, token, 200)
    held = GoesOn()
    lan.script(held)
    stream = {**BODY, "stream": True}
    telling = asyncio.create_task(
        asyncio.to_thread(gateway.ask, "POST", "/v1/chat/completions", stream, headers=bearer(token))
    )
    assert await asyncio.to_thread(held.begun.wait, 30)
    seen: list[tuple[float, int]] = []
    stop = asyncio.Event()

    async def keep_asking() -> None:
        while not stop.is_set():
            answer = await asyncio.to_thread(status, gateway, token)
            seen.append((time.monotonic(), answer))

    asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
    await asyncio.sleep(0.5)
    await asyncio.to_thread(command, gateway, "keys", "revoke", "busy")
    revoked = time.monotonic()
    await asyncio.to_thread(becomes, gateway, token, 401)
    await asyncio.sleep(0.7)
    stop.set()
    await asyncio.gather(*asking)
    refused = next(at for at, code in seen if code == 401)
    assert all(code == 401 for at, code in seen if at > refused + 0.5), "once refused, always refused"
    assert refused - revoked < SOON
    assert {code for _, code in seen} == {200, 401}
    assert not telling.done()
    held.ends.set()
    told = await telling
    assert (told.status, b"the end" in told.body, told.body.endswith(b"data: [DONE]\n\n")) == (200, True, True)
