"""Responses before an upstream of other dialects, and other dialects before one of Responses alone."""

from __future__ import annotations

import base64
import json
from typing import Any

import openai
import pytest

from gateway.responding import CHAT, CLAUDE, CODEX, LOOK, MODEL, PATCH, SECRET, WHOLE, paths, sent, streamed
from pointsman.testing import Answer, ToolUse

pytestmark = pytest.mark.client


def test_what_only_chat_has_goes_in_chat(client, cloud):
    client.responses.create(model=MODEL, input="hi", extra_body={"seed": 7}, metadata={"a": "b"})
    assert paths(cloud) == ["/v1/chat/completions"]
    assert sent(cloud) == {"model": "gpt-5.5", "seed": 7, "messages": [{"role": "user", "content": "hi"}]}


def test_what_a_chat_cannot_be_told_is_told_to_the_caller(client, cloud):
    raw = client.responses.with_raw_response.create(
        model=CHAT, input="hi", reasoning={"summary": "auto"}, truncation="auto", metadata={"a": "b"},
        include=["reasoning.encrypted_content"], max_tool_calls=3, prompt_cache_key="k", service_tier="auto",
    )  # fmt: skip
    assert raw.headers["x-pointsman-dropped"] == "reasoning.summary, truncation"
    assert set(sent(cloud)) == {"model", "messages", "prompt_cache_key"}
    raw = client.responses.with_raw_response.create(model="anthropic:claude-opus-5-5", input="hi", truncation="auto")
    assert "truncation" in raw.headers["x-pointsman-dropped"]
    assert b"responses_only" not in cloud.chats[-1].body


def test_elsewhere_they_are_refused_or_left_out(client, cloud):
    for model in ("auto", CHAT):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model=model, input="x", tools=[{"type": "file_search", "vector_store_ids": ["v"]}])
        assert (caught.value.param, caught.value.code) == ("tools[0].type", "unsupported_tool")
    raw = client.responses.with_raw_response.create(model=CHAT, input="x", tools=[LOOK, {"type": "web_search"}])
    assert raw.headers["x-pointsman-dropped"] == "tools[1] web_search"


@pytest.mark.parametrize("model", [CHAT, "anthropic:claude-opus-5-5", "ollama:llama3:8b", MODEL])
def test_custom_tools_work_with_every_upstream(gateway, client, cloud, model):
    patch = ToolUse("apply_patch", {"input": '*** Begin "Patch"\nö'}, id="c1")
    said = Answer(text="", tool_calls=[patch, ToolUse("look", {"at": 1}, id="c2")])
    cloud.script(said, said, Answer(text="Done."))
    whole = client.responses.create(model=model, input="Patch.", tools=[PATCH, LOOK], store=False)
    _, events = streamed(gateway, model=model, input="Patch.", tools=[PATCH, LOOK], store=False)
    for first, second in (
        [item.model_dump() for item in whole.output[-2:]],
        events[-1]["response"]["output"][-2:],
    ):
        assert (first["type"], first["input"]) == ("custom_tool_call", '*** Begin "Patch"\nö')
        assert (second["type"], json.loads(second["arguments"])) == ("function_call", {"at": 1})
    deltas = [e["delta"] for e in events if e["type"] == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == '*** Begin "Patch"\nö'
    calls = events[-1]["response"]["output"]
    results = [
        {"type": f"{item['type']}_output", "call_id": item["call_id"], "output": "ok"}
        for item in calls if item["type"].endswith("_call")
    ]  # fmt: skip
    items: Any = [{"role": "user", "content": "Patch."}, *calls, *results]
    done = client.responses.create(model=model, input=items, tools=[PATCH, LOOK], store=False)
    assert done.output_text == "Done."
    if model != MODEL:
        assert b'"custom"' not in cloud.chats[-1].body
        assert b"start: /a/" in cloud.chats[-1].body


def test_a_model_that_is_served_in_responses_alone_answers_in_chat_too(client, gateway, cloud):
    said = Answer(text="Hallo Köln", reasoning="hm hm", tool_calls=[ToolUse("look", {"a": "b"}, "c9")], pieces=3)
    cloud.script(said, said, Answer(text="cut", finish="length"))
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "n", "content": [
            {"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "https://p.example/a.png"}},
        ]},
        {"role": "assistant", "content": "I look.", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": "a wall"},
    ]  # fmt: skip
    asked: Any = {"model": CODEX, "messages": messages, "tools": [tool], "reasoning_effort": "low", "max_tokens": 99}
    answer = client.chat.completions.create(**asked)
    assert paths(cloud) == ["/v1/responses"]
    assert sent(cloud) == {
        "model": "gpt-5-codex", "store": False, "instructions": "Be brief.", "max_output_tokens": 99,
        "reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"],
        "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}],
        "input": [
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "See"}, {"type": "input_image", "image_url": "https://p.example/a.png"},
            ]},
            {"type": "message", "role": "assistant", "content": "I look."},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "a wall"},
        ],
    }  # fmt: skip
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Hallo Köln", "tool_calls")
    assert choice.message.reasoning_content == "hm hm"
    assert choice.message.tool_calls[0].function.arguments == '{"a":"b"}'
    assert answer.usage.total_tokens == 15
    with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Hallo Köln"
    assert final.choices[0].message.tool_calls[0].id == "c9"
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"a":"b"}'
    assert (final.choices[0].finish_reason, final.usage.total_tokens) == ("tool_calls", 15)
    assert client.chat.completions.create(model=CODEX, messages=messages[:2]).choices[0].finish_reason == "length"


def test_and_in_its_own_words_and_in_anthropics(client, gateway, cloud):
    assert client.responses.create(model=CODEX, input="hi").output_text == "Hello from upstream."
    assert paths(cloud) == ["/v1/responses"]
    part = {"type": "text", "text": f"Use {SECRET}", "cache_control": {"type": "ephemeral"}}
    thinking = {"type": "enabled", "budget_tokens": 1024}
    asked = {
        "model": CODEX,
        "max_tokens": 5000,
        "messages": [{"role": "user", "content": [part]}],
        "thinking": thinking,
    }
    reply = gateway.ask("POST", "/v1/messages", asked)
    assert reply.json["content"][-1]["text"] == "Hello from upstream."
    assert cloud.chats[-1].path == "/v1/responses"
    assert SECRET.encode() not in cloud.chats[-1].body
    assert sent(cloud)["reasoning"] == {"effort": "low"}
    assert set(sent(cloud)) == {"model", "store", "input", "max_output_tokens", "reasoning", "include"}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=CODEX, messages=[{"role": "user", "content": "x"}], seed=7)
    assert caught.value.param == "seed"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_thinking_of_anthropics_comes_back_signed(client, gateway, cloud, stream, kept):
    cloud.script(
        Answer(text="I look.", reasoning="Let me think.", tool_calls=[ToolUse("look", {"at": 1}, "c1")]), Answer()
    )
    asked: Any = {"model": CLAUDE, "input": "Look.", "tools": [LOOK], "store": kept}
    first = (
        streamed(gateway, **asked)[1][-1]["response"] if stream else gateway.ask("POST", "/v1/responses", asked).json
    )
    WHOLE.validate_python(first)
    assert [item["type"] for item in first["output"]] == ["reasoning", "message", "function_call", "reasoning"]
    result: Any = {"type": "function_call_output", "call_id": "c1", "output": "a wall"}
    if kept:
        client.responses.create(model=CLAUDE, previous_response_id=first["id"], input=[result], tools=[LOOK])
    else:
        items: Any = [{"role": "user", "content": "Look."}, *first["output"], result]
        client.responses.create(model=CLAUDE, input=items, tools=[LOOK])
    _, assistant, _ = sent(cloud)["messages"]
    assert assistant["content"][0] == {"type": "thinking", "thinking": "Let me think.", "signature": "c2lnbmF0dXJl"}
    assert [block["type"] for block in assistant["content"]] == ["thinking", "text", "tool_use"]
    items = [{"role": "user", "content": "Look."}, *first["output"], result]
    for model in (MODEL, CHAT, CODEX):
        assert client.responses.create(model=model, input=items, tools=[LOOK]).output_text == "Hello from upstream."
        assert b"thinking" not in cloud.chats[-1].body


def test_thinking_that_was_tampered_with_is_refused_and_what_is_in_it_is_searched(client, cloud):
    def thought(value: Any) -> Any:
        content = "pointsman-thinking-1." + base64.b64encode(json.dumps(value).encode()).decode()
        return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": content}

    said: Any = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for value in ({}, [{"type": "text", "text": "x"}], [{"type": "thinking", "thinking": 3, "signature": "x"}]):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model=CLAUDE, input=[*said, thought(value), said[0]])
        assert caught.value.param == "input[2].encrypted_content"
    hidden = thought([{"type": "thinking", "thinking": f"use {SECRET}", "signature": "x"}])
    answer = client.responses.create(model="auto", input=[*said, hidden, said[0]])
    assert (answer.id[:13], answer.store) == ("resp_private_", False)
    assert all(SECRET.encode() not in chat.body for chat in cloud.chats)
