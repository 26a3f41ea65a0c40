"""Chat answers in Anthropic's words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import Body, Frames
from pointsman.dialects.messages.answer import PING, MessagesStream, write_message


def delta(finish: str | None = None, **said: Any) -> bytes:
    chunk = {"id": "c", "choices": [{"index": 0, "delta": said, "finish_reason": finish}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def call(index: int, arguments: str = "", **fields: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": fields.pop("name")} if "name" in fields else {})}
    return {"index": index, "function": function, **fields}


def events(*frames: bytes, stops: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    stream = MessagesStream("msg_1", "openai:m", input_tokens=7, stops=list(stops))
    raw = b"".join(stream.feed(Frames(frame)) for frame in frames) + stream.end()
    found = []
    for frame in raw.split(b"\n\n")[:-1]:
        name, _, data = frame.partition(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        found.append(event)
    return found


def message(*frames: bytes, stops: tuple[str, ...] = ()) -> dict[str, Any]:
    """Put together as clients do; blocks must follow each other."""
    found = events(*frames, stops=stops)
    assert [event["type"] for event in found[:2]] == ["message_start", "ping"]
    assert [event["type"] for event in found[-2:]] == ["message_delta", "message_stop"]
    whole = found[0]["message"]
    assert whole["content"] == []
    assert whole["stop_reason"] is None
    opened: int | None = None
    for event in found[2:-2]:
        if event["type"] == "content_block_start":
            assert opened is None
            opened = event["index"]
            assert opened == len(whole["content"])
            whole["content"].append({**event["content_block"], "json": ""})
        elif event["type"] == "content_block_delta":
            assert event["index"] == opened
            block, said = whole["content"][-1], event["delta"]
            kind, text = next((name, said[name]) for name in said if name != "type")
            block["json" if kind == "partial_json" else kind] += text
        elif event["type"] == "content_block_stop":
            assert event["index"] == opened
            opened = None
    assert opened is None
    for block in whole["content"]:
        arguments = block.pop("json")
        if block["type"] == "tool_use":
            block["input"] = json.loads(arguments or "{}")
    return {**whole, **found[-2]["delta"], "usage": found[-2]["usage"]}


def test_text():
    whole = message(delta(role="assistant", content=""), delta(content="Hel"), delta(content="lo"), delta("stop"))
    assert whole["content"] == [{"type": "text", "text": "Hello"}]
    assert (whole["stop_reason"], whole["stop_sequence"]) == ("end_turn", None)
    assert (whole["id"], whole["model"], whole["role"]) == ("msg_1", "openai:m", "assistant")
    assert whole["usage"]["input_tokens"] == 7
    assert whole["usage"]["output_tokens"] == 1


def test_thinking_text_and_tools():
    whole = message(
        delta(reasoning_content="Let me "),
        delta(reasoning_content="see."),
        delta(content="I look."),
        delta(tool_calls=[call(0, id="call_1", name="f")]),
        delta(tool_calls=[call(0, '{"a"')]),
        delta(tool_calls=[call(0, ": 1}")]),
        delta("tool_calls"),
    )
    assert whole["content"] == [
        {"type": "thinking", "thinking": "Let me see.", "signature": ""},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
    ]
    assert whole["stop_reason"] == "tool_use"


def test_interleaved_calls_come_one_after_another():
    whole = message(
        delta(tool_calls=[call(0, id="a", name="f"), call(1, id="b", name="g")]),
        delta(tool_calls=[call(1, '{"b": ')]),
        delta(tool_calls=[call(0, '{"a": ')]),
        delta(tool_calls=[call(1, "2}"), call(0, "1}")]),
        delta("tool_calls"),
    )
    assert [(block["id"], block["input"]) for block in whole["content"]] == [("a", {"a": 1}), ("b", {"b": 2})]


def test_a_call_that_is_whole_makes_room_at_once():
    stream = MessagesStream("msg_1", "m", input_tokens=1, stops=[])
    stream.feed(Frames(delta(tool_calls=[call(0, "{}", id="a", name="f")])))
    assert b'"content_block_stop"' in stream.feed(Frames(delta(tool_calls=[call(1, "{", id="b", name="g")])))


def test_calls_that_share_an_index_are_told_apart_by_their_ids():
    frames = [delta(tool_calls=[call(0, "{}", id=name, name="f")]) for name in ("a", "b")]
    assert [block["id"] for block in message(*frames, delta("stop"))["content"]] == ["a", "b"]
    assert message(*frames, delta("stop"))["stop_reason"] == "tool_use"


def test_calls_without_ids_or_arguments():
    whole = message(delta(tool_calls=[call(0, name="f")]), delta(tool_calls=[call(1, name="g")]), delta("tool_calls"))
    assert [block["input"] for block in whole["content"]] == [{}, {}]
    ids = {block["id"] for block in whole["content"]}
    assert len(ids) == 2
    assert all(name.startswith("toolu_") for name in ids)


def test_signed_thinking():
    piece = {"type": "thinking", "thinking": "", "signature": "c2ln"}
    told = message(delta(reasoning_content="Hm"), delta(thinking_blocks=[piece]), delta(content="So"), delta("stop"))
    assert told["content"][0] == {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
    whole = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
    repeated = message(delta(reasoning_content="Hm"), delta(thinking_blocks=[whole]), delta(content="So"))
    assert repeated["content"][0] == whole
    late = message(delta(reasoning_content="Hm"), delta(content="So"), delta(thinking_blocks=[whole]))
    assert [block["type"] for block in late["content"]] == ["thinking", "text"]
    hidden = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
    assert message(delta(thinking_blocks=[hidden]), delta(content="So"))["content"][0] == hidden


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        (None, "end_turn"),
        ("x", "end_turn"),
    ],
)
def test_why_it_stopped(finish, reason):
    assert message(delta(content="a"), delta(finish))["stop_reason"] == reason


def test_the_stop_sequence_that_an_upstream_names():
    chunk = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"}]}
    frame = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    whole = message(delta(content="a"), frame, stops=("END",))
    assert (whole["stop_reason"], whole["stop_sequence"]) == ("stop_sequence", "END")
    assert message(delta(content="a"), frame)["stop_reason"] == "end_turn"


def test_refusals():
    whole = message(delta(refusal="I will not."), delta("stop"))
    assert whole["content"] == [{"type": "text", "text": "I will not."}]
    assert whole["stop_reason"] == "refusal"


def usage(**fields: Any) -> dict[str, Any]:
    frame = b"data: " + json.dumps({"choices": [], "usage": fields}).encode() + b"\n\n"
    return message(delta(content="a"), delta("stop"), frame)["usage"]


def test_cached_tokens_are_no_input_tokens():
    told = usage(
        prompt_tokens=100,
        completion_tokens=9,
        prompt_tokens_details={"cached_tokens": 60, "cache_write_tokens": 30},
        completion_tokens_details={"reasoning_tokens": 4},
    )
    assert told == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 60,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
    }


@pytest.mark.parametrize(
    "told", [{"prompt_tokens": -5, "completion_tokens": 1}, {"prompt_tokens": 10**12, "completion_tokens": 1}, {}]
)
def test_what_can_be_no_count_gives_way_to_the_estimate(told):
    assert usage(**told)["input_tokens"] == 7


def test_comments_keep_the_connection_open():
    stream = MessagesStream("msg_1", "m", input_tokens=1, stops=[])
    assert stream.feed(Frames(b": still there\n\n")) == PING
    assert b"message_start" in stream.feed(Frames(delta(content="a")))


def test_an_empty_answer_is_a_message():
    assert message()["content"] == []


def test_what_is_no_chunk():
    stream = MessagesStream("msg_1", "m", input_tokens=1, stops=[])
    with pytest.raises(UpstreamProtocolError):
        stream.feed(Frames(b'data: {"choices": 3}\n\n'))


def whole(said: dict[str, Any], finish: str | None = "stop", **fields: Any) -> dict[str, Any]:
    body = {"choices": [{"index": 0, "message": said, "finish_reason": finish}], **fields}
    return json.loads(write_message(Body(json.dumps(body).encode()), "msg_1", "m", input_tokens=7, stops=[]))


def test_a_whole_answer():
    signed = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1.50}'}}]
    said = {"content": "So", "reasoning_content": "Hm", "thinking_blocks": [signed], "tool_calls": calls}
    found = whole(said, "tool_calls", usage={"prompt_tokens": 5, "completion_tokens": 2})
    assert found["content"] == [
        signed,
        {"type": "text", "text": "So"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1.5}},
    ]
    assert found["stop_reason"] == "tool_use"
    assert found["usage"]["input_tokens"] == 5
    assert whole({"content": "abcdefgh"})["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", '"x"', "nonsense"])
def test_arguments_that_are_no_object_are_not_lost(arguments):
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}]
    assert whole({"tool_calls": calls})["content"][0]["input"] == {"INVALID_JSON": arguments}


@pytest.mark.parametrize("raw", [b"{}", b'{"choices": []}', b"nonsense", b'{"choices": [{"message": 4}]}'])
def test_a_body_that_is_no_answer(raw):
    with pytest.raises(UpstreamProtocolError):
        write_message(Body(raw), "msg_1", "m", input_tokens=1, stops=[])


OBJECTS = st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=6) | st.booleans(), max_size=3)


@st.composite
def interleavings(draw: st.DrawFn) -> tuple[list[bytes], str, list[tuple[str, dict[str, Any]]]]:
    """Frames in which text, and the pieces of several calls, come in any order that keeps each of them in order."""
    arguments = draw(st.lists(OBJECTS, max_size=4))
    lanes: list[list[dict[str, Any]]] = []
    for index, given_ in enumerate(arguments):
        text = json.dumps(given_)
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        head = call(index, pieces[0], id=f"id{index}", name="f")
        lanes.append([{"tool_calls": [each]} for each in (head, *(call(index, piece) for piece in pieces[1:]))])
    texts = draw(st.lists(st.text(min_size=1, max_size=5), max_size=4))
    lanes.append([{"content": text} for text in texts])
    order = draw(st.permutations([number for number, lane in enumerate(lanes) for _ in lane]))
    waiting = [iter(lane) for lane in lanes]
    frames, seen = [], []
    for number in order:
        said = next(waiting[number])
        frames.append(delta(**said))
        if number < len(arguments) and number not in seen:
            seen.append(number)
    return frames, "".join(texts), [(f"id{number}", arguments[number]) for number in seen]


@given(interleavings())
@rules(deadline=None)
def test_whatever_the_order_nothing_is_lost(drawn):
    frames, text, calls = drawn
    found = message(*frames, delta("stop"))
    assert "".join(block["text"] for block in found["content"] if block["type"] == "text") == text
    assert [(b["id"], b["input"]) for b in found["content"] if b["type"] == "tool_use"] == calls
