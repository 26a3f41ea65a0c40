"""A caller who speaks Anthropic's Messages, in front of upstreams that speak it, and of others."""

from __future__ import annotations

import json

import anthropic
import pytest

from pointsman.testing import Answer, Status, Stream, Tokens, ToolUse

pytestmark = pytest.mark.client

PINNED = "anthropic:claude-opus-5-5"
HI = [{"role": "user", "content": "Say hello."}]
MARK = {"type": "ephemeral"}
WHOLE = {
    "max_tokens": 5000,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See:"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                {
                    "type": "image",
                    "source": {"type": "url", "url": "https://pics.example/a.png"},
                    "cache_control": MARK,
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": 1.5}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": "none",
                    "is_error": True,
                    "cache_control": MARK,
                },
                {"type": "text", "text": "Go on."},
            ],
        },
    ],
    "tools": [
        {
            "name": "look",
            "description": "Look.",
            "input_schema": {"type": "object", "properties": {}},
            "cache_control": MARK,
        }
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "metadata": {"user_id": "u1"},
    "stop_sequences": ["END"],
    "extra_body": {"temperature": 1.0, "top_k": 5},
}


@pytest.fixture(scope="module")
def data_plane():
    return "native"


@pytest.fixture(scope="module")
def settings(cloud_server, lan_server):
    return {
        "providers": {
            "anthropic": {
                "base_url": cloud_server.root,
                "api_key": "sk-ant-planted-key",
                "models": ["claude-opus-5-5"],
            },
            "openai": {
                "base_url": cloud_server.base_url,
                "api_key": "sk-upstream-planted-key",
                "models": ["gpt-4o", "o3"],
            },
            "litellm": {"base_url": f"{cloud_server.root}/litellm", "models": ["claude"]},
            "lan": {"base_url": lan_server.base_url, "local": True, "models": ["llama3.1:8b"]},
            "ollama": {"enabled": False},
        },
        "privacy": {"redaction": True},
    }


@pytest.fixture
def client(gateway):
    with anthropic.Anthropic(base_url=gateway.url, api_key="unused", max_retries=0, timeout=20) as client:
        yield client


def test_a_stream_is_relayed_byte_for_byte(gateway, cloud):
    answer = Answer(text="Hallo Köln", reasoning="hm", tool_calls=[ToolUse("f", {"a": "b"})], id="msg_7", pieces=4)
    cloud.script(answer)
    body = {"model": PINNED, "max_tokens": 9, "messages": HI, "stream": True}
    reply = gateway.ask("POST", "/v1/messages", body, headers={"anthropic-beta": "a-thing-2026-01-01"})
    assert reply.status == 200
    assert reply.body == b"".join(answer.messages_frames({"model": "claude-opus-5-5"}))
    assert cloud.chats[0].headers["anthropic-beta"] == "a-thing-2026-01-01"
    outcome = gateway.decision(reply)["outcome"]
    assert (outcome["answer_id"], outcome["attempts"][0]["prompt_tokens"]) == ("msg_7", 10)


def test_an_answer_is_relayed_byte_for_byte(gateway, cloud):
    cloud.script(Answer(text="Hallo", usage=Tokens(prompt=9, completion=3, cached=2)))
    reply = gateway.ask("POST", "/v1/messages", {"model": PINNED, "max_tokens": 9, "messages": HI})
    whole = reply.json
    assert whole["content"] == [{"type": "text", "text": "Hallo", "citations": None}]
    assert whole["usage"]["cache_read_input_tokens"] == 2
    assert gateway.decision(reply)["outcome"]["attempts"][0]["cached_tokens"] == 2


def test_a_request_goes_through_as_it_came(client, cloud):
    client.messages.create(model=PINNED, **WHOLE)
    wanted = {"model": "claude-opus-5-5", **WHOLE}
    sampling = wanted.pop("extra_body")
    assert cloud.chats[0].json == {**wanted, **sampling}


def test_errors_and_breaks_reach_the_caller_in_its_own_shape(client, cloud):
    cloud.script(Status(429, retry_after=4), Stream([b"".join(Answer().messages_frames({})[:5])]))
    with pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.create(model=PINNED, max_tokens=9, messages=HI)
    assert caught.value.response.headers["retry-after"] == "4"
    with (
        pytest.raises(anthropic.APIStatusError),
        client.messages.stream(model=PINNED, max_tokens=9, messages=HI) as stream,
    ):
        stream.until_done()


def test_headers_that_could_hold_anything_are_refused(gateway, cloud):
    for name, value in (
        ("anthropic-beta", "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"),
        ("anthropic-version", "536-90-4399"),
    ):
        body = {"model": PINNED, "max_tokens": 9, "messages": HI}
        assert gateway.ask("POST", "/v1/messages", body, headers={name: value}).status == 400
    assert not cloud.chats


def test_a_redacted_request_is_translated_and_restored(client, cloud):
    secret = "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"
    messages = [{"role": "user", "content": [{"type": "text", "text": f"Use {secret} ok?", "cache_control": MARK}]}]
    message = client.messages.create(model=PINNED, max_tokens=9, messages=messages)
    assert message.content[0].text == "Hello from upstream."
    client.messages.create(model="openai:gpt-4o", max_tokens=9, messages=messages)
    assert secret.encode() not in cloud.chats[0].body + cloud.chats[1].body
    assert cloud.chats[0].json["messages"][0]["content"][0]["cache_control"] == MARK
    assert b"cache_control" not in cloud.chats[1].body


def test_an_upstream_of_openais_gets_nothing_foreign(client, cloud):
    client.messages.create(model="openai:gpt-4o", **WHOLE)
    sent = cloud.chats[0].json
    assert set(sent) <= {
        *("model", "messages", "max_completion_tokens", "tools", "tool_choice", "parallel_tool_calls", "stop"),
        *("temperature", "stream", "user"),
    }
    assert sent["max_completion_tokens"] == 5000
    text = json.dumps(sent)
    for foreign in ("cache_control", "thinking", "is_error", "signature"):
        assert foreign not in text
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "tool", "user"]
    client.messages.create(model="openai:o3", **WHOLE)
    assert cloud.chats[1].json["reasoning_effort"] == "low"
    client.messages.create(model="litellm:claude", **WHOLE)
    assert b"cache_control" in cloud.chats[2].body
    assert b"thinking_blocks" in cloud.chats[2].body


def test_a_picture_that_a_tool_gave_follows_as_the_users(client, cloud):
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "Here"}, picture]}
    messages = [*HI, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    client.messages.create(model="openai:gpt-4o", max_tokens=9, messages=messages)
    tool, user = cloud.chats[0].json["messages"][-2:]
    assert (tool["role"], tool["content"]) == ("tool", [{"type": "text", "text": "Here"}])
    assert (user["role"], user["content"][0]["type"]) == ("user", "image_url")


def test_a_tool_that_only_anthropic_runs_is_refused_elsewhere(client, cloud):
    tool = {"type": "web_search_20250305", "name": "web_search"}
    with pytest.raises(anthropic.BadRequestError, match="web_search_20250305"):
        client.messages.create(model="openai:gpt-4o", max_tokens=9, messages=HI, tools=[tool])
    assert not cloud.chats
    client.messages.create(model=PINNED, max_tokens=9, messages=HI, tools=[tool])
    assert cloud.chats[0].json["tools"] == [tool]
