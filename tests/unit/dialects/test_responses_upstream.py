"""Responses on their way through: out again as they came in, relayed frame by frame, and custom tools as functions."""

from __future__ import annotations

import contextlib
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import InvalidRequest, UpstreamBroken, UpstreamError, UpstreamLacks, UpstreamProtocolError
from pointsman.core.events import Body, Frames, deltas
from pointsman.core.request import ChatRequest
from pointsman.dialects.openai.custom_tools import CustomCalls, as_functions
from pointsman.dialects.responses.answer import Output
from pointsman.dialects.responses.fields import read_fields
from pointsman.dialects.responses.output import Events
from pointsman.dialects.responses.relay import ResponsesRelay, relay_response
from pointsman.dialects.responses.request import to_chat
from pointsman.dialects.responses.stream import ChatFromResponses, chat_body
from pointsman.dialects.responses.upstream import to_responses
from pointsman.testing import Answer, ToolUse

USER = {"type": "message", "role": "user", "content": "hi"}


def through(body: dict[str, Any], *, hosts: bool = False, **more: Any) -> dict[str, Any]:
    asked, rest = read_fields(json.dumps(body).encode())
    request = to_chat(asked, rest, before=[], kept={}, owner="", hosts=hosts)
    return json.loads(to_responses(request, model="m", **{"reasons": False, **more}))


texts = st.text(min_size=1, max_size=12)
spoken = st.builds(
    lambda role, text: {"type": "message", "role": role, "content": text},
    st.sampled_from(["user", "assistant", "developer"]), texts,
)  # fmt: skip
thought = st.builds(
    lambda text, summary: {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": text},
    texts, st.just([]) | st.just([{"type": "summary_text", "text": "s"}]),
)  # fmt: skip
searched = st.just({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}})


@st.composite
def turns(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Speech, and turns of thoughts and calls with the results behind them."""
    items: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            items.append(draw(spoken))
            continue
        kinds = draw(st.lists(st.sampled_from(["thought", "search", "function", "custom"]), min_size=1, max_size=5))
        results = []
        for place, kind in enumerate(kinds):
            call_id = f"c{number}_{place}"
            if kind == "thought":
                items.append(draw(thought))
            elif kind == "search":
                items.append(draw(searched))
            elif kind == "function":
                items.append({"type": "function_call", "call_id": call_id, "name": "look", "arguments": draw(texts)})
                results.append({"type": "function_call_output", "call_id": call_id, "output": draw(texts)})
            else:
                items.append({"type": "custom_tool_call", "call_id": call_id, "name": "patch", "input": draw(texts)})
                results.append({"type": "custom_tool_call_output", "call_id": call_id, "output": draw(texts)})
        items += results
        items.append({"type": "message", "role": "user", "content": "go on"})
    return items


@given(turns())
def test_a_conversation_goes_out_as_it_came_in(items):
    assert through({"input": items})["input"] == items


def test_what_was_encrypted_elsewhere_can_be_left_out():
    told = [{"type": "reasoning_text", "text": "y"}]
    thoughts = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x", "status": "completed"},
        {"type": "reasoning", "id": "rs_2", "summary": [], "content": told},
    ]
    items = [USER, *thoughts, {"type": "message", "role": "assistant", "content": "b"}, USER]
    kept = through({"input": items})["input"]
    assert [item.get("id") for item in kept] == [None, "rs_1", None, None]
    assert "status" not in kept[1]
    assert [item["type"] for item in through({"input": items}, encrypted=False)["input"]] == ["message"] * 3


@pytest.mark.parametrize("more", [{"stop": "x"}, {"seed": 1}, {"logit_bias": {"50256": -100}}, {"presence_penalty": 1}])
def test_what_only_chat_has_is_no_response(more):
    with pytest.raises(UpstreamLacks):
        through({"input": "hi", **more})


def test_sound_is_no_response():
    part = {"type": "input_audio", "input_audio": {"data": "aa", "format": "wav"}}
    with pytest.raises(UpstreamLacks):
        through({"input": [{"role": "user", "content": [part]}]})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | texts,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "role", "content", "name", "text", "id", "custom", "tool_calls"]), inner
            )
        ),
    ),
    st.sampled_from(["input", "tools", "tool_choice", "text", "reasoning", "metadata", "responses_only", "x"]),
    st.sampled_from(["reasoning_items", "item_order", "tool_calls", "custom", "function", "summary", "phase", "role"]),
)
def test_no_value_makes_it_stumble(value, field, beside):
    items = [
        {"type": "message", "role": "assistant", "content": "a", beside: value},
        {"type": "reasoning", "encrypted_content": "x", beside: value},
        {"type": "custom_tool_call", "call_id": "c1", "name": "n", "input": "i", beside: value},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "o", beside: value},
    ]
    for item in items:
        with contextlib.suppress(InvalidRequest, UpstreamLacks):
            through({"input": [USER, item, USER], field: value} if field != "input" else {"input": [item]}, hosts=True)


ANSWER = Answer(text="Hallo Köln, " * 3, reasoning="hm", tool_calls=[ToolUse("look", {"a": "b"})], pieces=3)
RAW = b"".join(ANSWER.responses_frames({"input": "x", "model": "m"}))


@given(st.lists(st.integers(0, len(RAW)), max_size=6))
def test_however_a_stream_is_split_the_same_bytes_come_out(cuts):
    places = [0, *sorted(cuts), len(RAW)]
    relay = ResponsesRelay()
    told = [event for a, b in pairwise(places) if (event := relay.feed(RAW[a:b])) is not None]
    relay.end()
    assert b"".join(event.raw for event in told) == RAW
    assert told[0].answer_id == "resp_upstream_chatcmpl-scripted"
    assert (told[-1].usage.prompt_tokens, told[-1].finish_reason) == (10, "tool_calls")
    assert {event.dialect for event in told} == {"responses"}


@given(
    st.text(max_size=30), st.text(max_size=10), st.integers(1, 5), st.sampled_from(["stop", "length"]),
    st.lists(st.dictionaries(texts, texts, max_size=2), max_size=3), st.booleans(),
)  # fmt: skip
def test_an_answer_says_the_same_in_chat_and_in_responses_again(text, thought, pieces, finish, calls, stream):
    uses = [ToolUse("look", arguments, f"c{index}") for index, arguments in enumerate(calls)]
    cut = "length" if finish == "length" else None
    answer = Answer(text=text, reasoning=thought, pieces=pieces, tool_calls=uses, finish=cut)
    output = Output(Events(), "0" * 32, {})
    if stream:
        relay, chat = ResponsesRelay(), ChatFromResponses(model="m", created=1, wants_usage=True)
        for frame in answer.responses_frames({"input": "x"}):
            if (event := relay.feed(frame)) is not None:
                output.feed(chat.feed(event))
    else:
        whole = json.loads(answer.responses_frames({"input": "x"})[-1].partition(b"data: ")[2])["response"]
        output.feed(chat_body(json.dumps(whole).encode(), created=1))
    items = output.end()
    assert "".join(p["text"] for item in items if item["type"] == "message" for p in item["content"]) == text
    assert "".join(p["text"] for item in items if item["type"] == "reasoning" for p in item["content"]) == thought
    told = [(item["call_id"], json.loads(item["arguments"])) for item in items if item["type"] == "function_call"]
    assert told == [(use.id, use.arguments) for use in uses]
    assert output.finish == ("length" if finish == "length" else "tool_calls" if uses else "stop")
    assert output.usage.total_tokens == 15


def test_streams_that_are_none():
    for raw in (
        b'data: {"choices": []}\n\n',
        b"data: nothing\n\n",
        b'data: {"type": "response.output_text.delta"}\n\n',
    ):
        with pytest.raises(UpstreamProtocolError):
            ResponsesRelay().feed(raw)
    relay = ResponsesRelay()
    with pytest.raises(UpstreamProtocolError):
        relay.end()
    relay.feed(RAW[: RAW.index(b"output_item.done")])
    with pytest.raises(UpstreamBroken):
        relay.end()


@pytest.mark.parametrize(
    "raw", [b"{}", b"[]", b"no", b'{"object": "response", "status": "queued", "output": []}', b"\xff",
            b'{"object": "response", "status": "failed", "output": [], "error": {"code": "server_error"}}'],
)  # fmt: skip
def test_bodies_that_are_no_answer(raw):
    with pytest.raises(UpstreamError):
        relay_response(raw)


PATCH = {"type": "custom", "custom": {"name": "patch", "description": "Edits.", "format": {"type": "text"}}}
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def test_custom_tools_as_functions():
    call = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": 'a "b"'}}
    request = ChatRequest.build(
        {
            "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [call]},
                         {"role": "tool", "tool_call_id": "c1", "content": "ok"}],
            "tools": [PATCH, LOOK],
            "tool_choice": {"type": "custom", "custom": {"name": "patch"}},
        },
        dialect="responses",
    )  # fmt: skip
    plain, names = as_functions(request)
    body = json.loads(plain.render({}))
    assert names == {"patch"}
    assert [tool["function"]["name"] for tool in body["tools"]] == ["patch", "look"]
    assert body["tools"][0]["function"]["parameters"]["required"] == ["input"]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "patch"}}
    (told,) = body["messages"][1]["tool_calls"]
    assert (told["type"], json.loads(told["function"]["arguments"])) == ("function", {"input": 'a "b"'})
    assert plain.dialect == "responses"


@given(st.text(max_size=40), st.integers(1, 9), st.booleans())
def test_what_a_model_gives_to_a_custom_tool_arrives(text, pieces, stream):
    answer = Answer(
        text="", pieces=pieces, tool_calls=[ToolUse("patch", {"input": text}, "c1"), ToolUse("look", {"at": 1}, "c2")]
    )
    calls = CustomCalls(frozenset({"patch"}))
    output = Output(Events(), "0" * 32, {})
    for raw in answer.openai_frames({}) if stream else ():
        if b"[DONE]" not in raw:
            event = calls.mend(Frames(raw))
            list(deltas(event))
            output.feed(event)
    if not stream:
        message = {"tool_calls": [
            {"id": call.id, "type": "function",
             "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments))}}
            for call in answer.tool_calls
        ]}  # fmt: skip
        output.feed(calls.mend(Body(json.dumps({"choices": [{"message": message}]}).encode())))
    first, second = output.end()
    assert (first["type"], first["name"], first["input"], first["call_id"]) == ("custom_tool_call", "patch", text, "c1")
    assert (second["type"], json.loads(second["arguments"])) == ("function_call", {"at": 1})


def test_calls_of_a_shape_that_nobody_knows():
    calls = CustomCalls(frozenset({"patch"}))
    for raw in (b'data: {"choices": [{"delta": {"tool_calls": [3]}}]}\n\n', b'data: {"tool_calls"\n\n'):
        with pytest.raises(UpstreamProtocolError):
            calls.mend(Frames(raw))
