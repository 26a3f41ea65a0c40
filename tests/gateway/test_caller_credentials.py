"""Keys that callers bring: each goes to its provider and nowhere else, costs the installation nothing, and is kept
nowhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from pointsman.testing.answers import Answer, HangUp, Page, Stall, Status, Stream

from .conftest import UPSTREAM_KEY
from .running import Gateway, Reply, running

KEY = "Pl4nted.key+with~no/known=form_0123456789"
"""Masks that go by a key's form do not know it: nothing but care keeps it out."""
PINNED = "openai:gpt-4o-mini"
HI = [{"role": "user", "content": "Say hello."}]
HEADER = {"x-pointsman-credential": f"openai={KEY}"}
OVERRIDE = {"auth_override": {"openai_api_key": KEY, "openai_org_id": "org-planted-too"}}


def providers(cloud_server, lan_server) -> dict[str, Any]:
    return {
        "openai": {"base_url": cloud_server.base_url, "api_key": UPSTREAM_KEY, "caller_keys": True,
                   "models": ["gpt-4o-mini", "gpt-4o", "text-embedding-3-small", "gpt-3.5-turbo-instruct"]},
        "bare": {"base_url": cloud_server.base_url, "caller_keys": True, "models": ["m"]},
        "anthropic": {"base_url": cloud_server.root, "caller_keys": True, "models": ["claude-opus-5-5"]},
        "lan": {"base_url": lan_server.base_url, "local": True, "models": ["llama3.1:8b"]},
        "box": {"type": "ollama-compatible", "base_url": cloud_server.root, "caller_keys": True,
                "models": ["qwen3:8b"]},
        "ollama": {"enabled": False},
        "litellm": {"enabled": False},
    }  # fmt: skip


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def settings(cloud_server, lan_server) -> dict[str, Any]:
    return {
        "providers": providers(cloud_server, lan_server),
        "routing": {"fallbacks": {PINNED: ["lan:llama3.1:8b"], "openai:gpt-4o": []}},
        "limits": {"first_byte_timeout": 1.0, "between_bytes_timeout": 1.0, "connect_timeout": 2.0},
    }


def keys_seen(upstream) -> list[str | None]:
    return [request.headers.get("authorization") for request in upstream.chats]


@pytest.mark.parametrize("way", ["body", "header"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_key_goes_to_its_provider_in_place_of_ours(gateway, cloud, way, stream):
    fields, headers = (OVERRIDE, {}) if way == "body" else ({}, HEADER)
    reply = gateway.chat("hi", model=PINNED, stream=stream, headers=headers, **fields)
    assert reply.status == 200
    [seen] = cloud.chats
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers.get("openai-organization") == ("org-planted-too" if way == "body" else None)
    assert b"auth_override" not in seen.body
    [attempt] = gateway.decision(reply)["outcome"]["attempts"]
    assert attempt["caller_key"] is True
    assert gateway.chat("hi", model=PINNED).status == 200
    assert keys_seen(cloud)[-1] == f"Bearer {UPSTREAM_KEY}"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": "openai:gpt-3.5-turbo-instruct", "prompt": "hi"}),
        ("/v1/embeddings", {"model": "openai:text-embedding-3-small", "input": "hi"}),
        ("/v1/messages", {"model": PINNED, "max_tokens": 50, "messages": HI}),
        ("/api/v1/chat/completions", {"model": PINNED, "messages": HI}),
        ("/api/chat", {"model": PINNED, "messages": HI, "stream": False}),
        ("/api/generate", {"model": PINNED, "prompt": "hi", "stream": False}),
        ("/v1/responses", {"model": PINNED, "input": "hi"}),
    ],
)
def test_every_way_in_takes_both(gateway, cloud, path, body):
    vectors = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "m"}
    for fields, headers in ((body, HEADER), ({**body, **OVERRIDE}, {})):
        cloud.reset()
        if path == "/v1/embeddings":
            cloud.script(Page(json.dumps(vectors).encode(), "application/json"))
        reply = gateway.ask("POST", path, fields, headers=headers)
        assert reply.status == 200, reply.body
        assert cloud.chats[-1].headers["authorization"] == f"Bearer {KEY}"
        assert b"auth_override" not in cloud.chats[-1].body


def test_a_provider_without_a_key_of_ours(gateway, cloud):
    assert "bare:m" in {model["id"] for model in gateway.ask("GET", "/v1/models").json["data"]}
    refused = gateway.chat("hi", model="bare:m")
    assert refused.status == 400
    assert "auth_override" in refused.json["error"]["message"]
    assert not cloud.requests
    reply = gateway.chat("hi", model="bare:m", auth_override={"bare_api_key": KEY})
    assert reply.status == 200
    assert keys_seen(cloud) == [f"Bearer {KEY}"]
    assert gateway.chat("hi", model="bare:m", auth_override={"openai_api_key": KEY}).status == 400
    health = gateway.ask("GET", "/api/v1/health").json["providers"]
    assert health["bare"]["connected"]
    assert all(request.headers.get("authorization") != "Bearer None" for request in cloud.requests)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_the_callers_matter(gateway, cloud, lan, status):
    cloud.script(*[Status(status, json.dumps({"error": {"message": f"Incorrect key {KEY}"}}).encode())] * 9)
    reply = gateway.chat("hi", model=PINNED, **OVERRIDE)
    assert (reply.status, reply.json["error"]["code"]) == (401, "caller_key_refused")
    assert reply.json["error"]["type"] == "authentication_error"
    assert not lan.chats  # nobody steps in: the key is to be mended
    assert keys_seen(cloud) == [f"Bearer {KEY}"]  # and never ours
    native = gateway.ask("POST", "/api/v1/chat/completions", {"model": PINNED, "messages": HI, **OVERRIDE})
    assert (native.status, native.json["error"]["code"]) == (401, "auth_error")
    with openai.OpenAI(base_url=gateway.base_url, api_key="unused", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model=PINNED, messages=HI, extra_body=OVERRIDE)
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model=PINNED, messages=HI, stream=True, extra_headers=HEADER)
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key="unused", max_retries=0) as messages,
        pytest.raises(anthropic.AuthenticationError),
    ):
        messages.messages.create(model=PINNED, max_tokens=9, messages=HI, extra_headers=HEADER)
    assert set(keys_seen(cloud)) == {f"Bearer {KEY}"}


def test_who_steps_in_does_not_get_the_key(gateway, cloud, lan):
    cloud.script(Status(500))
    reply = gateway.chat("hi", model=PINNED, **OVERRIDE)
    assert reply.headers["x-pointsman-model"] == "lan:llama3.1:8b"
    assert keys_seen(lan) == [None]
    assert KEY.encode() not in lan.chats[0].body
    attempts = gateway.decision(reply)["outcome"]["attempts"]
    assert [attempt["caller_key"] for attempt in attempts] == [True, False]


def test_what_one_callers_key_must_wait_for_holds_up_nobody_else(gateway, cloud, lan):
    cloud.script(Status(429, retry_after=60))
    assert gateway.chat("hi", model=PINNED, **OVERRIDE).headers["x-pointsman-model"] == "lan:llama3.1:8b"
    assert gateway.chat("hi", model=PINNED).headers["x-pointsman-model"] == PINNED
    cloud.script(Status(429, retry_after=2))
    assert gateway.chat("hi", model=PINNED).headers["x-pointsman-model"] == "lan:llama3.1:8b"
    assert gateway.chat("hi", model=PINNED).headers["x-pointsman-model"] == "lan:llama3.1:8b"  # ours must wait
    assert gateway.chat("hi", model=PINNED, **OVERRIDE).headers["x-pointsman-model"] == PINNED


@pytest.mark.parametrize(
    ("override", "headers", "status"),
    [
        (KEY, {}, 400),
        ([KEY], {}, 400),
        ({"openai_api_key": 5}, {}, 400),
        ({"openai_api_key": [KEY]}, {}, 400),
        ({"openai_api_key": "short"}, {}, 400),
        ({"openai_api_key": "x" * 8193}, {}, 400),
        ({"openai_api_key": f"{KEY}\r\nhost: evil"}, {}, 400),
        ({"openai_api_key": f"{KEY}\u00e9"}, {}, 400),
        ({"openai_api_key": f" {KEY}"}, {}, 400),
        ({"openai_org_id": "org-planted-too"}, {}, 400),
        ({"openai_api_key": KEY, "openai_org_id": "a b"}, {}, 400),
        ({KEY: "x"}, {}, 400),
        ({f"{KEY}_api_key": KEY}, {}, 403),
        ({"lan_api_key": KEY}, {}, 403),
        ({"embedded_api_key": KEY}, {}, 403),
        (None, {"x-pointsman-credential": KEY}, 400),
        (None, {"x-pointsman-credential": f"OpenAI {KEY}"}, 400),
        (None, {"x-pointsman-credential": f"lan={KEY}"}, 403),
        (None, {"x-pointsman-credential": f"openai={KEY}, openai={KEY}2"}, 400),
        ({"openai_api_key": f"{KEY}2"}, HEADER, 400),
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(gateway, cloud, override, headers, status):
    fields = {"auth_override": override} if override is not None else {}
    reply = gateway.chat("hi", model=PINNED, headers=headers, **fields)
    assert reply.status == status, reply.body
    assert b"Pl4nted" not in reply.body
    if status == 403:
        assert b"caller_keys: true" in reply.body
    assert not cloud.chats


def test_nothing_is_taken_unless_the_settings_say_so(tmp_path, cloud):
    tree = {"providers": {"openai": {"base_url": cloud.base_url, "api_key": UPSTREAM_KEY, "models": ["gpt-4o-mini"]}}}
    with running(tmp_path, tree) as gateway:
        for headers, fields in ((HEADER, {}), ({}, OVERRIDE)):
            reply = gateway.chat("hi", model=PINNED, headers=headers, **fields)
            assert reply.status == 403
            assert "security.caller_credentials" in reply.json["error"]["message"]
        assert gateway.chat("hi", model=PINNED, auth_override=None).status == 200
        with_key = {"authorization": "Bearer sk-0123456789abcdef0123"}
        assert gateway.chat("hi", model=PINNED, headers=with_key).status == 200
    assert set(keys_seen(cloud)) == {f"Bearer {UPSTREAM_KEY}"}


def test_calls_on_a_callers_key_cost_the_installation_nothing(tmp_path, cloud, cloud_server, lan_server):
    tree = {
        "providers": {**providers(cloud_server, lan_server), "lan": {"enabled": False}},
        "budgets": {"monthly": 0.000001},
        "routing": {"fallbacks": {PINNED: ["openai:gpt-4o"]}},
    }
    tree["providers"]["openai"]["requests_per_minute"] = 1
    with running(tmp_path, tree) as gateway:
        assert gateway.chat("hi", model=PINNED).json["error"]["code"] == "budget_exceeded"
        for _ in range(3):  # nor do they use up what the provider allows the installation
            reply = gateway.chat("hi", model=PINNED, **OVERRIDE)
            assert reply.status == 200
        assert gateway.chat("hi", model="auto", **OVERRIDE).status == 200
        outcome = gateway.decision(reply)["outcome"]
        assert outcome["cost_micro_usd"] == 0
        assert outcome["attempts"][0]["cost_micro_usd"] > 0
        budgets = gateway.ask("GET", "/api/v1/budgets").json
        assert "Pl4nted" not in json.dumps(budgets)
        assert budgets["budgets"][0]["used_micro_usd"] == 0, budgets
        assert gateway.chat("hi", model=PINNED).json["error"]["code"] == "budget_exceeded"


def test_clients_own_keys_pass_on_where_the_settings_say_so(tmp_path, cloud, cloud_server, lan_server):
    sent = "sk-proj-0123456789abcdef0123456789"
    tree: dict[str, Any] = {
        "providers": {**providers(cloud_server, lan_server), "lan": {"enabled": False}},
        "security": {"caller_credentials": "pass"},
    }
    for provider in ("openai", "anthropic"):
        tree["providers"][provider].pop("caller_keys")
    tree["providers"]["anthropic"]["api_key"] = "sk-ant-ours-0123456789"
    with running(tmp_path / "open", tree) as gateway:
        for key, seen in ((sent, sent), ("unused", UPSTREAM_KEY), ("sk-1234", UPSTREAM_KEY),
                          ("sk-ant-0123456789abcdef", UPSTREAM_KEY), (f"pm_live_{sent}", UPSTREAM_KEY)):  # fmt: skip
            cloud.reset()
            with openai.OpenAI(base_url=gateway.base_url, api_key=key, max_retries=0) as client:
                client.chat.completions.create(model=PINNED, messages=HI)
            assert keys_seen(cloud) == [f"Bearer {seen}"]
        for key, seen in (("sk-ant-0123456789abcdef", "sk-ant-0123456789abcdef"), ("unused", "sk-ant-ours-0123456789")):
            cloud.reset()
            with anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=0) as client:
                client.messages.create(model="anthropic:claude-opus-5-5", max_tokens=50, messages=HI)
            assert cloud.chats[-1].headers["x-api-key"] == seen
    tree["server"] = {"api_keys": [sent]}
    with running(tmp_path / "keyed", tree) as gateway:
        cloud.reset()
        with openai.OpenAI(base_url=gateway.base_url, api_key=sent, max_retries=0) as client:
            client.chat.completions.create(model=PINNED, messages=HI)
        assert keys_seen(cloud) == [f"Bearer {UPSTREAM_KEY}"]  # it is a key of ours, and not OpenAI's
        with (
            openai.OpenAI(base_url=gateway.base_url, api_key=f"{sent}0", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.chat.completions.create(model=PINNED, messages=HI)
        assert len(cloud.chats) == 1


def test_clients_of_openai_and_anthropic_need_no_provider_in_the_settings(tmp_path):
    tree = {"security": {"caller_credentials": "pass"}}
    with running(tmp_path, tree) as gateway:
        models = {model["id"] for model in gateway.ask("GET", "/v1/models").json["data"]}
        assert {"openai:gpt-4o-mini", "anthropic:claude-opus-5-5"} <= models
        assert gateway.chat("hi", model="openai:gpt-4o-mini").status == 400


def test_a_page_of_an_allowed_origin_may_send_the_header(tmp_path):
    with running(tmp_path, {"server": {"allowed_origins": ["https://app.example"]}}) as gateway:
        reply = gateway.ask(
            "OPTIONS", "/v1/chat/completions",
            headers={"origin": "https://app.example", "access-control-request-method": "POST",
                     "access-control-request-headers": "x-pointsman-credential"},
        )  # fmt: skip
        assert "x-pointsman-credential" in reply.headers["access-control-allow-headers"]


FAULTS: dict[str, Any] = {
    "a good answer": Answer(),
    "401": Status(401, json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode()),
    "400": Status(400, json.dumps({"error": {"message": f"bad {KEY}", "param": KEY, "code": KEY}}).encode()),
    "429": Status(429, f"slow down, {KEY}".encode(), content_type="text/plain"),
    "500": Status(500, f'{{"error": "{KEY}"}}'.encode()),
    "a redirect": Page(b"{}", "application/json", 302, {"Location": f"http://127.0.0.1:1/{KEY}"}),
    "no JSON": Page(f"{KEY} is no JSON".encode(), "application/json"),
    "another type": Page(json.dumps({"choices": KEY, "usage": KEY}).encode(), "application/json"),
    "a web page": Page(f"<html>{KEY}</html>".encode()),
    "words for the log": Page(
        json.dumps({"id": KEY, "object": "chat.completion", "created": 1, "model": "m", "choices": [
            {"index": 0, "finish_reason": KEY, "message": {"role": "assistant", "content": "hi"}}]}).encode(),
        "application/json",
    ),
    "a stream with an error": Stream([f'data: {{"error": {{"message": "{KEY}", "code": "{KEY}"}}}}\n\n'.encode()]),
    "a stream of rubbish": Stream([f"data: {KEY}\n\n".encode()]),
    "a stream that breaks": HangUp(after_bytes=200),
    "silence": Stall(),
}  # fmt: skip


def told(gateway: Gateway, cloud, model: str) -> Iterator[tuple[str, Reply]]:
    """Every answer to requests with the key, and what can be asked about them afterwards."""
    chat, body = "/v1/chat/completions", {"model": model, "messages": HI}
    for name, step in FAULTS.items():
        for stream in (False, True):
            cloud.reset()
            cloud.script(step)
            way: dict[str, Any] = OVERRIDE if stream else {}
            reply = gateway.ask("POST", chat, {**body, "stream": stream, **way}, headers={} if stream else HEADER)
            yield name, reply
    for name in ("401", "400", "500", "no JSON", "a good answer"):
        cloud.reset()
        cloud.script(FAULTS[name])
        fields = {**body, "model": "box:qwen3:8b", "auth_override": {"box_api_key": KEY}}
        yield f"Ollama, {name}", gateway.ask("POST", chat, fields)
        assert cloud.chats[-1].headers["authorization"] == f"Bearer {KEY}"
    cloud.reset()
    cloud.script(FAULTS["401"], FAULTS["400"])
    for path in ("/v1/messages", "/api/v1/chat/completions", "/api/chat", "/v1/responses", "/v1/completions"):
        fields = {**body, "max_tokens": 50, "prompt": "hi", "input": "hi"}
        yield path, gateway.ask("POST", path, fields, headers=HEADER)
        yield path, gateway.ask("POST", path, {**fields, **OVERRIDE})
    for override in (KEY, [KEY], {"openai_api_key": [KEY]}, {"openai_api_key": f"{KEY}\n"}, {KEY: KEY},
                     {"lan_api_key": KEY}):  # fmt: skip
        yield "wrong field", gateway.ask("POST", chat, {**body, "auth_override": override})
    raw = json.dumps({**body, **OVERRIDE}).encode()
    yield "no JSON of ours", gateway.ask("POST", chat, raw[:-1])
    yield (
        "twice",
        gateway.ask("POST", chat, raw[:-1] + b', "auth_override": {"openai_api_key": "' + KEY.encode() + b'"}}'),
    )
    yield "other letters", gateway.ask("POST", chat, raw.replace(b"auth_override", b"Auth_Override"))
    yield "no model", gateway.ask("POST", chat, {**body, **OVERRIDE, "model": "nobody:has-it"})
    yield "no messages", gateway.ask("POST", chat, {"model": model, "messages": [{"role": 5}], **OVERRIDE})
    yield "a bad header", gateway.ask("POST", chat, body, headers={"x-pointsman-credential": KEY})
    yield "a preview", gateway.ask("POST", "/api/v1/route", {**body, **OVERRIDE})
    yield "a preview", gateway.ask("POST", "/api/v1/route", body, headers=HEADER)
    yield "no such path", gateway.ask("POST", "/v1/nothing", {**body, **OVERRIDE}, headers=HEADER)
    for path in ("/api/v1/decisions?limit=100", "/api/v1/health", "/metrics", "/v1/models", "/api/v1/usage"):
        yield path, gateway.ask("GET", path)


@pytest.mark.parametrize(("plane", "form"), [("native", "text"), ("asgi", "json")])
def test_the_key_is_found_nowhere(tmp_path, settings, cloud, lan, plane, form):
    tree = {
        **settings,
        "routing": {},
        "server": {"data_plane": plane},
        "log": {"level": "debug", "format": form},
        "privacy": {"store_prompts": "all"},
        "limits": {**settings["limits"], "first_byte_timeout": 0.5, "between_bytes_timeout": 0.5},
    }
    with running(tmp_path, tree) as gateway:
        for name, reply in told(gateway, cloud, "openai:gpt-4o"):
            if name == "words for the log" and reply.status == 200:
                continue  # an answer is the caller's own
            shown = reply.body.decode() + json.dumps(dict(reply.headers))
            assert "Pl4nted" not in shown, (name, reply.status, shown)
            assert "org-planted" not in shown, (name, reply.status)
        assert gateway.chat("hi", model="openai:gpt-4o", **OVERRIDE).status == 200
        assert cloud.chats[-1].headers["authorization"] == f"Bearer {KEY}"
        assert keys_seen(lan) == []
        in_the_folder(tmp_path)
    in_the_folder(tmp_path)


def in_the_folder(folder: Path) -> None:
    """The log, the database with its journal, the spool, and whatever else stands there."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {"gateway.log", "pointsman.sqlite3"} <= {file.name for file in files}
    for file in files:
        found = file.read_bytes()
        assert b"Pl4nted" not in found, (file, found[found.index(b"Pl4nted") - 200 :][:400])
        assert b"org-planted" not in found, file
