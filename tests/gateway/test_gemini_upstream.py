"""Gemini's OpenAI-compatible endpoint, with its own ways, asked by OpenAI's client through the gateway."""

from __future__ import annotations

import json

import openai
import pytest

from pointsman.testing import Answer, Status, Tokens, ToolUse

pytestmark = pytest.mark.client

PINNED = "gemini:gemini-3.8-flash"
HI = [{"role": "user", "content": "Say hello."}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def data_plane():
    return "native"


@pytest.fixture(scope="module")
def settings(cloud_server):
    return {
        "providers": {
            "gemini": {
                "base_url": cloud_server.gemini_url + "/",
                "api_key": "AIza-planted-key",
                "models": ["gemini-3.8-flash"],
            },
            "azure": {
                "base_url": f"{cloud_server.root}/openai/deployments/any?api-version=2024-10-21",
                "api_key": "azure-planted-key",
                "models": ["gpt-4o", "gpt-4o-mini"],
                "deployments": {"gpt-4o": "my dep", "gpt-4o-mini": "small"},
            },
            "azure-v1": {
                "base_url": f"{cloud_server.root}/openai/v1?api-version=preview",
                "models": ["gpt-4o"],
                "deployments": {"gpt-4o": "mine"},
                "headers": {"x-team": "blue"},
                "unsupported": ["seed"],
            },
            "ollama": {"enabled": False},
        }
    }


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key="unused", max_retries=0, timeout=20) as client:
        yield client


def test_a_stream_with_calls_and_the_way_back(client, cloud, gateway):
    calls = [ToolUse("f", {"a": 1}, "call_1"), ToolUse("f", {"b": 2}, "call_2")]
    cloud.script(
        Answer(text="One moment.", tool_calls=calls, usage=Tokens(prompt=20, completion=6)), Answer(text="Done.")
    )
    with client.chat.completions.stream(model=PINNED, messages=HI, tools=[TOOL]) as stream:
        answer = stream.get_final_completion()
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert [call.function.arguments for call in message.tool_calls] == ['{"a":1}', '{"b":2}']
    assert message.tool_calls[1].extra_content == {"google": {"thought_signature": "signed-call_2"}}
    said = message.model_dump(exclude_none=True)
    said.pop("parsed", None)
    for call in said["tool_calls"]:
        call["function"].pop("parsed_arguments", None)
    results = [{"role": "tool", "tool_call_id": call.id, "content": "ok"} for call in message.tool_calls]
    client.chat.completions.create(model=PINNED, messages=[*HI, said, *results], tools=[TOOL], reasoning_effort="low")
    sent = cloud.chats[1].json
    assert sent["reasoning_effort"] == "low"
    signatures = [call["extra_content"]["google"]["thought_signature"] for call in sent["messages"][1]["tool_calls"]]
    assert signatures == ["signed-call_1", "signed-call_2"]


def test_calls_of_another_model_are_told_as_such(client, cloud):
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [
        *HI,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    ]
    client.chat.completions.create(model=PINNED, messages=history)
    signed = cloud.chats[0].json["messages"][1]["tool_calls"][0]["extra_content"]
    assert signed == {"google": {"thought_signature": "skip_thought_signature_validator"}}


def test_usage_of_every_chunk_counts_once(gateway, cloud):
    cloud.script(Answer(text="a b c d", pieces=4, usage=Tokens(prompt=20, completion=6)))
    reply = gateway.chat(model=PINNED, stream=True)
    attempt = gateway.decision(reply)["outcome"]["attempts"][0]
    assert (attempt["prompt_tokens"], attempt["completion_tokens"]) == (20, 6)


def test_errors_come_as_a_list(client, cloud):
    cloud.script(Status(400), Status(429, retry_after=2))
    with pytest.raises(openai.BadRequestError, match="scripted 400"):
        client.chat.completions.create(model=PINNED, messages=HI)
    with pytest.raises(openai.RateLimitError, match="scripted 429"):
        client.chat.completions.create(model=PINNED, messages=HI)
    with pytest.raises(openai.BadRequestError, match="logit_bias"):
        client.chat.completions.create(model=PINNED, messages=HI, logit_bias={"1": 1})
    assert cloud.chats[0].path == "/v1beta/openai/chat/completions"


def test_azures_deployments(client, cloud):
    client.chat.completions.create(model="azure:gpt-4o", messages=HI)
    client.chat.completions.create(model="azure:gpt-4o-mini", messages=HI)
    client.chat.completions.create(model="azure-v1:gpt-4o", messages=HI)
    first, second, third = cloud.chats
    assert first.path == "/openai/deployments/my%20dep/chat/completions?api-version=2024-10-21"
    assert second.path == "/openai/deployments/small/chat/completions?api-version=2024-10-21"
    assert first.headers["api-key"] == "azure-planted-key"
    assert third.path == "/openai/v1/chat/completions?api-version=preview"
    assert (third.json["model"], third.headers["x-team"]) == ("mine", "blue")


def test_what_the_settings_say_is_not_taken(client, cloud):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="azure-v1:gpt-4o", messages=HI, seed=1)
    assert caught.value.param == "seed"
    assert json.loads(caught.value.response.content)["error"]["code"] == "unsupported_parameter"
