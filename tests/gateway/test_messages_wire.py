"""`/v1/messages` as bytes: relays of an upstream that speaks it too, who may enter, and what comes of bad input."""

from __future__ import annotations

import json
from dataclasses import replace

import anthropic
import pytest

from pointsman.testing.answers import Answer, HangUp, Tokens, ToolUse

from .running import Gateway, Reply

PINNED = "anthropic:claude-sonnet-4-5"
HI = [{"role": "user", "content": "Say hello."}]
BODY = {"model": PINNED, "max_tokens": 100, "messages": HI}
KEYS = {name: f"pm-key-of-{name}-0123456789" for name in ("alice", "bob")}
UPSTREAM = "sk-ant-planted-key"
ALICE = {"x-api-key": KEYS["alice"]}
A_DAY = 60
"""More than all other tests here ask for."""


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def settings(cloud_server, lan_server):
    return {
        "providers": {
            "anthropic": {"base_url": cloud_server.root, "api_key": UPSTREAM, "models": ["claude-sonnet-4-5"]},
            "lan": {"base_url": lan_server.base_url, "local": True, "models": ["llama3.1:8b"]},
            "ollama": {"enabled": False},
        },
        "server": {"api_keys": [KEYS["bob"]], "admin_keys": [KEYS["alice"]]},
        "privacy": {"redaction": True},
        "limits": {
            "first_byte_timeout": 3.0,
            "between_bytes_timeout": 3.0,
            "tiers": {"small": {"per_day": A_DAY}, "large": {}},
            "default_tier": "small",
        },
    }  # fmt: skip


def ask(gateway: Gateway, body: object = BODY, **headers: str) -> Reply:
    path = "/v1/messages?beta=true"
    return gateway.ask("POST", path, body, headers={**ALICE, **{k.replace("_", "-"): v for k, v in headers.items()}})


def test_an_upstream_that_speaks_messages_is_relayed(gateway, cloud):
    answer = Answer(text="Hello.", id="msg_up", usage=Tokens(prompt=50, completion=3, cached=20))
    cloud.script(answer, answer)
    thinking = {"type": "enabled", "budget_tokens": 2000}
    marked = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    body = {**BODY, "max_tokens": 4000, "system": marked, "thinking": thinking, "top_k": 5}
    beta = "interleaved-thinking-2025-05-14, context-1m-2025-08-07"
    whole = ask(gateway, body, anthropic_beta=beta, anthropic_version="2023-06-01")
    assert whole.json["id"] == "msg_up"
    [seen] = cloud.chats
    assert seen.headers["anthropic-beta"].replace(" ", "") == beta.replace(" ", "")
    sent = seen.json
    assert (sent["system"], sent["thinking"], sent["top_k"]) == (marked, thinking, 5)
    assert seen.headers["x-api-key"] == UPSTREAM
    assert KEYS["alice"].encode() not in seen.body + str(seen.headers).encode()
    streamed = ask(gateway, {**body, "stream": True})
    assert streamed.body == b"".join(answer.messages_frames(cloud.chats[1].json))
    assert replace(gateway, headers=ALICE).decision(whole)["outcome"]["prompt_tokens"] == 50


def test_a_redacted_request_is_translated_and_restored(gateway, cloud):
    secret = "AKIAQ3EGRT5YUIO7PLKJ"  # a key, as AWS makes them
    body = {**BODY, "messages": [{"role": "user", "content": f"Repeat {secret} please"}]}
    cloud.script(Answer(text="No.", pieces=1), Answer(text="No.", pieces=1))
    for stream in (False, True):
        reply = ask(gateway, {**body, "stream": stream})
        assert reply.status == 200
        assert reply.headers["x-pointsman-redacted"] == "1"
        assert b"No." in reply.body
        assert secret.encode() not in cloud.chats[-1].body
        assert reply.json["type"] == "message" if not stream else b"event: message_stop" in reply.body


def test_a_relay_that_breaks_ends_in_an_error_event(gateway, cloud):
    cloud.script(*[HangUp(after_bytes=1500, answer=Answer(text="x" * 3000, pieces=10))] * 4)
    last = ask(gateway, {**BODY, "max_tokens": 5000, "stream": True}).body.rstrip().split(b"\n\n")[-1]
    name, data = last.split(b"\n")
    assert name == b"event: error"
    error = json.loads(data.removeprefix(b"data: "))
    assert (error["type"], error["error"]["type"]) == ("error", "api_error")
    assert error["request_id"].startswith("dec_")


def test_the_translated_stream_frame_by_frame(gateway, lan):
    lan.script(Answer(text="Hi", pieces=1, tool_calls=[ToolUse("f", {}, "call_1")]))
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    reply = ask(gateway, {**BODY, "model": "lan:llama3.1:8b", "stream": True, "tools": tools})
    assert reply.headers["content-type"].startswith("text/event-stream")
    names = [frame.split(b"\n")[0].removeprefix(b"event: ").decode() for frame in reply.body.split(b"\n\n")[:-1]]
    assert names[:3] == ["message_start", "ping", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert b"[DONE]" not in reply.body


def test_keys_in_either_header_and_errors_at_the_door(gateway, cloud):
    for headers in (ALICE, {"authorization": f"Bearer {KEYS['alice']}"}):
        assert gateway.ask("POST", "/v1/messages", BODY, headers=headers).status == 200
    for headers in ({}, {"x-api-key": "wrong"}, {**ALICE, "authorization": "Bearer another"}):
        refused = gateway.ask("POST", "/v1/messages", BODY, headers=headers)
        assert refused.status == 401
        assert (refused.json["type"], refused.json["error"]["type"]) == ("error", "authentication_error")
        assert refused.headers["request-id"] == refused.json["request_id"]
    with anthropic.Anthropic(base_url=gateway.url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError) as wrong:
            client.messages.create(**BODY)
        assert wrong.value.error_code == "invalid_api_key"
    with anthropic.Anthropic(base_url=gateway.url, api_key=None, auth_token=KEYS["alice"], max_retries=0) as client:
        assert client.messages.create(**BODY).content[0].text == "Hello from upstream."


def test_a_limit_at_the_door(gateway, cloud):
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEYS["bob"], max_retries=0) as client:
        for _ in range(A_DAY):
            client.messages.create(**BODY)
        with pytest.raises(anthropic.RateLimitError) as limited:
            client.messages.create(**BODY)
    assert limited.value.type == "rate_limit_error"
    assert int(limited.value.response.headers["retry-after"]) > 0


def test_other_methods_and_the_root(gateway):
    wrong = gateway.ask("GET", "/v1/messages", headers=ALICE)
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json["type"] == "error"
    missing = gateway.ask("POST", "/v1/messages/batches", {}, headers=ALICE)
    assert (missing.status, missing.json["error"]["type"]) == (404, "not_found_error")
    assert gateway.ask("HEAD", "/", headers=ALICE).status == 200


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("anthropic_version", "yesterday"),
        ("anthropic_beta", "AKIAQ3EGRT5YUIO7PLKJ"),
        ("anthropic_beta", "a-2025-01-01,x y"),
        ("anthropic_beta", ",".join(["a-2025-01-01"] * 65)),
    ],
)
def test_headers_that_are_none(gateway, cloud, header, value):
    reply = ask(gateway, **{header: value})
    assert reply.status == 400
    assert reply.json["error"]["details"]["param"] == header.replace("_", "-")
    assert value not in reply.body.decode()
    assert not cloud.chats


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"messages": 5, "max_tokens": 1}', b"[" * 200_000]
)
def test_bodies_that_are_none(gateway, path, body):
    reply = gateway.ask("POST", path, body, headers=ALICE)
    assert reply.status == 400
    assert reply.json["error"]["type"] == "invalid_request_error"


def test_a_prompt_that_is_too_long_is_said_in_the_words_that_claude_code_reads(gateway, cloud):
    text = "lorem ipsum " * 900_000
    reply = ask(gateway, {**BODY, "messages": [{"role": "user", "content": text}]})
    assert reply.status == 400
    assert reply.json["error"]["message"].startswith("prompt is too long")
    counted = gateway.ask(
        "POST", "/v1/messages/count_tokens", {"messages": [{"role": "user", "content": text}]}, headers=ALICE
    )
    assert counted.json["input_tokens"] > 1_000_000
    assert not cloud.chats
