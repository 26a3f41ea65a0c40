"""Chat answers as events of Responses: every event as the SDK's types promise, and nothing said is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import Body, Frames, encode_frame
from pointsman.dialects.responses.answer import Output
from pointsman.dialects.responses.names import Known
from pointsman.dialects.responses.output import Events

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
MARK = "a" * 32
KNOWN = {
    "agents__look": Known("function", "look", "agents"),
    "patch": Known("custom", "patch"),
    "tool_search": Known("tool_search", "tool_search"),
}


def frames(*deltas: dict[str, Any], finish: str | None = "stop", **chunk: Any) -> Frames:
    """A chunk a delta, and one that finishes."""
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    if finish is not None:
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}], **chunk})
    return Frames(b"".join(encode_frame(json.dumps(each).encode()) for each in chunks) + b"data: [DONE]\n\n")


def told(raw: bytes) -> list[dict[str, Any]]:
    """The events, each checked against the SDK's types, numbered without a gap."""
    events = []
    for frame in raw.decode().split("\n\n")[:-1]:
        name, _, data = frame.partition("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        EVENT.validate_python(event)
        events.append(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def answer(*events: Frames | Body) -> tuple[Output, list[dict[str, Any]], list[dict[str, Any]]]:
    """The output, its events and its items."""
    sink = Events()
    output = Output(sink, MARK, KNOWN)
    for event in events:
        output.feed(event)
    items = output.end()
    return output, told(sink.take()), items


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_text():
    _, events, items = answer(frames({"role": "assistant", "content": ""}, {"content": "He"}, {"content": "y"}))
    assert kinds(events) == [
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done",
    ]  # fmt: skip
    part = {"type": "output_text", "text": "Hey", "annotations": [], "logprobs": []}
    message = {"id": f"msg_{MARK}_0", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    assert items == [message]
    assert events[-1]["item"] == message
    assert events[0]["item"] == {**message, "status": "in_progress", "content": []}
    assert events[1]["part"]["text"] == ""
    assert events[-2]["part"] == part


def test_reasoning_text_refusal_and_calls_in_turn():
    pieces = [
        {"reasoning_content": "hm"},
        {"content": "I will"},
        {"refusal": "not"},
        {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "agents__look", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "id": "c2", "custom": {"name": "patch", "input": "***"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {"tool_calls": [{"index": 1, "custom": {"input": " End"}}]},
        {"tool_calls": [{"index": 2, "id": "c3", "function": {"name": "tool_search", "arguments": '{"query": "x"}'}}]},
        {"tool_calls": [{"index": 3, "function": {"name": "unheard", "arguments": ""}}]},
    ]
    output, events, items = answer(frames(*pieces, finish="tool_calls"))
    assert output.status == "completed"
    assert [item["type"] for item in items] == [
        "reasoning", "message", "function_call", "custom_tool_call", "tool_search_call", "function_call",
    ]  # fmt: skip
    assert items[0]["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert [part["type"] for part in items[1]["content"]] == ["output_text", "refusal"]
    assert {**items[2], "id": ""} == {
        "id": "", "type": "function_call", "call_id": "c1", "name": "look", "namespace": "agents",
        "status": "completed", "arguments": "{}",
    }  # fmt: skip
    assert (items[3]["name"], items[3]["input"]) == ("patch", "*** End")
    assert items[4]["arguments"] == {"query": "x"}
    assert items[4]["execution"] == "client"
    assert items[5]["call_id"] == f"call_{MARK}_5"
    for index, item in enumerate(items):
        own = [event for event in events if event["output_index"] == index]
        assert (own[0]["type"], own[-1]["type"]) == ("response.output_item.added", "response.output_item.done")
        assert own[-1]["item"] == item
    assert "custom_tool_call_input.done" in kinds(events)


def test_calls_that_are_all_counted_as_the_first():
    calls = [
        {"tool_calls": [{"index": 0, "id": f"c{n}", "function": {"name": "f", "arguments": "{}"}}]} for n in (1, 2)
    ]
    _, _, items = answer(frames(*calls))
    assert [(item["call_id"], item["arguments"]) for item in items] == [("c1", "{}"), ("c2", "{}")]


@pytest.mark.parametrize(
    ("finish", "status", "item"),
    [
        ("stop", "completed", "completed"),
        ("tool_calls", "completed", "completed"),
        ("length", "incomplete", "incomplete"),
        ("content_filter", "incomplete", "completed"),
    ],
)
def test_how_it_ended(finish, status, item):
    output, _, items = answer(frames({"content": "a"}, finish=finish))
    assert (output.status, items[0]["status"]) == (status, item)


def test_usage_tier_logprobs_and_citations():
    top = [{"token": "b", "logprob": -2.0, "bytes": [98]}]
    logprob = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": top}
    cited = {"start_index": 0, "end_index": 1, "title": "A", "url": "https://a.io"}
    chunk = {"choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [logprob]}}]}
    noted = {"choices": [{"index": 0, "delta": {"annotations": [{"type": "url_citation", "url_citation": cited}]}}]}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    last = {"choices": [], "usage": usage, "service_tier": "flex"}
    raw = b"".join(encode_frame(json.dumps(each).encode()) for each in (chunk, noted, last))
    output, events, items = answer(Frames(raw))
    part = items[0]["content"][0]
    assert part["logprobs"] == [logprob]
    assert part["annotations"] == [{"type": "url_citation", **cited}]
    delta = next(event for event in events if event["type"] == "response.output_text.delta")
    assert delta["logprobs"][0]["top_logprobs"] == [{"token": "b", "logprob": -2.0}]
    assert output.service_tier == "flex"
    assert output.usage is not None
    assert output.usage.prompt_tokens == 3


def test_a_second_choice_is_not_told():
    chunk = {"choices": [{"index": 1, "delta": {"content": "other"}}, {"index": 0, "delta": {"content": "mine"}}]}
    _, _, items = answer(Frames(encode_frame(json.dumps(chunk).encode())))
    assert [part["text"] for item in items for part in item["content"]] == ["mine"]


def test_a_chunk_that_cannot_be_read():
    with pytest.raises(UpstreamProtocolError):
        answer(Frames(b'data: {"choices": 3}\n\n'))


pieces = st.one_of(
    st.builds(lambda text: {"content": text}, st.text(max_size=8)),
    st.builds(lambda text: {"reasoning_content": text}, st.text(max_size=8)),
    st.builds(lambda text: {"refusal": text}, st.text(max_size=8)),
    st.builds(
        lambda index, text: {"tool_calls": [{"index": index, "function": {"name": f"f{index}", "arguments": text}}]},
        st.integers(0, 3),
        st.text(max_size=8),
    ),
)


@given(st.lists(pieces), st.integers(1, 4))
def test_texts_and_calls_of_the_events_are_those_of_the_chat(deltas, together):
    groups = [deltas[start : start + together] for start in range(0, len(deltas), together)]
    _, events, items = answer(*(frames(*group, finish=None) for group in groups), frames())
    wanted = {
        kind: "".join(delta.get(kind, "") for delta in deltas) for kind in ("content", "reasoning_content", "refusal")
    }
    arguments: dict[str, str] = {}
    for delta in deltas:
        for call in delta.get("tool_calls", ()):
            name = call["function"]["name"]
            arguments[name] = arguments.get(name, "") + call["function"]["arguments"]
    deltas_of = {
        kind: "".join(event["delta"] for event in events if event["type"] == f"response.{told_as}.delta")
        for kind, told_as in (
            ("content", "output_text"),
            ("reasoning_content", "reasoning_text"),
            ("refusal", "refusal"),
        )
    }
    assert deltas_of == wanted
    parts = [part for item in items for part in item.get("content", ())]
    assert "".join(part["text"] for part in parts if part["type"] == "output_text") == wanted["content"]
    assert "".join(part["text"] for part in parts if part["type"] == "reasoning_text") == wanted["reasoning_content"]
    assert {item["name"]: item["arguments"] for item in items if item["type"] == "function_call"} == arguments
    assert [
        event["item"]
        for event in sorted(
            (event for event in events if event["type"] == "response.output_item.done"), key=lambda e: e["output_index"]
        )
    ] == items

    # An answer that came at once tells the same items, text by text.
    if not any("refusal" in delta for delta in deltas):
        calls = [{"id": None, "function": {"name": name, "arguments": text}} for name, text in arguments.items()]
        message = {**{kind: wanted[kind] for kind in ("content", "reasoning_content")}, "tool_calls": calls}
        whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        _, _, at_once = answer(Body(json.dumps(whole).encode()))
        assert {item["name"]: item["arguments"] for item in at_once if item["type"] == "function_call"} == arguments
        said = [part["text"] for item in at_once if item["type"] == "message" for part in item["content"]]
        assert "".join(said) == wanted["content"]
