"""A chat request as Messages, and the answers back: whatever is said, and however it is cut."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.errors import InvalidRequest, UpstreamBroken, UpstreamError, UpstreamLacks, UpstreamProtocolError
from pointsman.core.events import Frames, Reasoning, Text, ToolCallDelta, deltas
from pointsman.core.request import ChatRequest
from pointsman.dialects.messages.relay import MessagesRelay
from pointsman.dialects.messages.stream import MessagesStream, read_message
from pointsman.dialects.messages.upstream import Abilities, to_messages
from pointsman.providers.anthropic import abilities_of
from pointsman.testing import Answer, SeenRequest, Tokens, ToolUse
from pointsman.testing.messages_answer import refusal, whole

HEADERS = {"anthropic-version": "2023-06-01", "x-api-key": "k"}
OLD = Abilities(thinking="budget", efforts=frozenset(), system_turns=False)


def sent(fields: dict[str, Any], **how: Any) -> dict[str, Any]:
    """What the API would get; it must be something that it takes."""
    body = to_messages(ChatRequest.build(fields), model="claude", **how)
    refused = refusal(SeenRequest("POST", "/v1/messages", HEADERS, body))
    assert refused is None, (refused, body)
    return json.loads(body)


text = st.text(min_size=1, max_size=20)
part = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, text),
    st.just({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}),
    st.just({"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}),
    st.just({"type": "file", "file": {"file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"}}),
)
spoken = st.one_of(text, st.lists(part, min_size=1, max_size=3))


@st.composite
def turns(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A conversation in OpenAI's form, with system messages anywhere."""
    messages: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            messages.append({"role": draw(st.sampled_from(["system", "developer"])), "content": draw(text)})
        messages.append({"role": "user", "content": draw(spoken)})
        if draw(st.booleans()):
            ids = [f"call.{number}:{index}" for index in range(draw(st.integers(0, 2)))]
            arguments = st.sampled_from(["{}", "", '{"a": 1.50}', "no json", "[1]"])
            calls = [
                {"id": one, "type": "function", "function": {"name": "f", "arguments": draw(arguments)}} for one in ids
            ]
            said: dict[str, Any] = {"role": "assistant", "content": draw(st.one_of(st.none(), st.just(""), text))}
            messages.append({**said, "tool_calls": calls} if calls else said)
            if draw(st.booleans()):
                messages.append({"role": "system", "content": draw(text)})
            messages += [{"role": "tool", "tool_call_id": one, "content": draw(st.text(max_size=9))} for one in ids]
    return messages


@given(turns(), st.sampled_from([Abilities(), OLD]))
@settings(max_examples=150, deadline=None)
def test_any_conversation_is_one_that_the_api_takes(messages: list[dict[str, Any]], abilities: Abilities) -> None:
    body = sent({"messages": messages}, abilities=abilities)
    roles = [message["role"] for message in body["messages"]]
    assert all(one != two for one, two in itertools.pairwise(roles))
    assert abilities.system_turns or "system" not in roles
    everything = json.dumps(body, ensure_ascii=False)
    for message in messages:
        if isinstance(message["content"], str):
            assert json.dumps(message["content"], ensure_ascii=False)[1:-1] in everything


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "temperature",
                "reasoning_effort",
                "metadata",
                "stop",
                "tools",
                "tool_choice",
                "service_tier",
                "response_format",
                "output_config",
                "thinking",
                "parallel_tool_calls",
                "user",
            ]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["type", "function", "name", "a"]), inner, max_size=3)
            ),
            max_leaves=6,
        ),
        max_size=4,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_fields_give_a_body_or_a_typed_error(fields: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest, UpstreamLacks):
        request = ChatRequest.build({"messages": [{"role": "user", "content": "hi"}], **fields})
        assert json.loads(to_messages(request, model="m"))["model"] == "m"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "messages"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "messages[0].content[0]"),
        ({"role": "function", "name": "f", "content": "x"}, "messages"),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages"),
        ({"role": "user", "content": [{"type": "text", "text": 3}]}, "messages[0].content[0].text"),
    ],
)
def test_what_has_no_form_is_named(message: dict[str, Any], param: str) -> None:
    with pytest.raises((InvalidRequest, UpstreamLacks)) as caught:
        sent({"messages": [message]})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("model", "effort", "longest", "thinking", "word"),
    [
        ("claude-opus-5-5", "minimal", 9000, {"type": "adaptive"}, "low"),
        ("claude-opus-5-5", "none", 9000, {"type": "disabled"}, None),
        ("claude-opus-4-6", "xhigh", 9000, {"type": "adaptive"}, "max"),
        ("claude-opus-4-5", "high", 9000, {"type": "enabled", "budget_tokens": 8999}, "high"),
        ("claude-sonnet-4-5-20250929", "low", 9000, {"type": "enabled", "budget_tokens": 2048}, None),
        ("claude-sonnet-4-5", "low", 900, None, None),
        ("claude-3-5-haiku-latest", "low", 9000, None, None),
        ("qwen3", "low", 9000, None, None),
    ],
)
def test_effort(model: str, effort: str, longest: int, thinking: Any, word: str | None) -> None:
    fields = {"messages": [{"role": "user", "content": "hi"}], "reasoning_effort": effort, "max_tokens": longest}
    body = sent(fields, abilities=abilities_of(model))
    assert (body.get("thinking"), body.get("output_config", {}).get("effort")) == (thinking, word)


ANSWER = Answer(
    text="Grüße, Welt.",
    reasoning="Hm, ja.",
    tool_calls=[ToolUse("f", {"a": "ö"}), ToolUse("g", id="call_2")],
    usage=Tokens(prompt=20, completion=9, cached=4, written=3),
    id="msg_1",
)


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({0, len(stream), *(at % (len(stream) + 1) for at in cuts)})
    return [stream[begin:end] for begin, end in itertools.pairwise(ends)]


@given(st.lists(st.integers(0, 10_000), max_size=12), st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_split_of_a_stream_says_the_same(cuts: list[int], crlf: bool) -> None:
    answer = Answer(**{**{f: getattr(ANSWER, f) for f in ANSWER.__slots__}, "line_end": "\r\n" if crlf else "\n"})
    stream = b"".join(answer.messages_frames({"model": "m"}))
    reader, relay = MessagesStream(model="m", created=1, wants_usage=True), MessagesRelay()
    events = [event for block in cut(stream, cuts) if (event := reader.feed(block)) is not None]
    relayed = [event for block in cut(stream, cuts) if (event := relay.feed(block)) is not None]
    reader.end()
    relay.end()
    said = [delta for event in events for delta in deltas(event)]
    assert "".join(delta.text for delta in said if isinstance(delta, Text)) == ANSWER.text
    assert "".join(delta.text for delta in said if isinstance(delta, Reasoning)) == ANSWER.reasoning
    calls = [delta for delta in said if isinstance(delta, ToolCallDelta)]
    assert "".join(delta.arguments for delta in calls if delta.index == 0) == '{"a":"ö"}'
    assert "".join(delta.arguments for delta in calls if delta.index == 1) == "{}"
    assert b"".join(event.raw for event in relayed) == stream
    for told in (events, relayed):
        begun, *_, usage = (event.usage for event in (told[0], *told) if event.usage is not None)
        assert (begun.prompt_tokens, begun.cached_tokens, begun.cache_writes) == (20, 4, (3, 0))
        assert (usage.prompt_tokens, usage.cached_tokens, usage.cache_writes, usage.completion_tokens) == (
            20,
            4,
            (3, 0),
            9,
        )
        assert [event.finish_reason for event in told if event.finish_reason] == ["tool_calls"]
        assert [event.answer_id for event in told if event.answer_id] == ["msg_1"]


@given(
    st.integers(0, 10_000),
    st.sampled_from([MessagesRelay, lambda: MessagesStream(model="m", created=1, wants_usage=False)]),
)
@settings(max_examples=60, deadline=None)
def test_a_stream_that_ends_early_is_known_for_one(at: int, make: Any) -> None:
    stream = b"".join(ANSWER.messages_frames({"model": "m"})).rstrip()
    reader = make()
    reader.feed(stream[: at % len(stream)])
    with pytest.raises((UpstreamBroken, UpstreamProtocolError)):
        reader.end()


@given(
    st.binary(max_size=80)
    | st.builds(
        lambda rest: b'data: {"type":"message_start","message":{}}\n\ndata: ' + rest + b"\n\n", st.binary(max_size=60)
    )
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_frames_or_a_typed_error(noise: bytes) -> None:
    for reader in (MessagesRelay(), MessagesStream(model="m", created=1, wants_usage=True)):
        try:
            event = reader.feed(noise)
            assert event is None or isinstance(event, Frames)
            reader.end()
        except UpstreamError:
            pass
    with contextlib.suppress(UpstreamError):
        read_message(noise, created=1)


@pytest.mark.parametrize("make", [MessagesRelay, lambda: MessagesStream(model="m", created=1, wants_usage=True)])
def test_usage_at_the_beginning_is_not_that_of_what_stands_behind_it(make: Any) -> None:
    """However the network puts frames together; what was told at the end is."""
    frames = [frame.rstrip() + b"\n\n" for frame in ANSWER.messages_frames({"model": "m"})]
    last = next(at for at, frame in enumerate(frames) if b'"message_delta"' in frame)
    pieces = next(at for at, frame in enumerate(frames) if b'"content_block_delta"' in frame)
    for cut_at in range(pieces + 1, last):
        event = make().feed(b"".join(frames[:cut_at]))
        assert event is not None
        assert event.usage is not None
        assert (event.usage.prompt_tokens, event.went_on) == (20, True), cut_at
    event = make().feed(b"".join(frames))
    assert event is not None
    assert event.usage is not None
    assert (event.usage.completion_tokens, event.went_on) == (9, False)


def test_a_whole_answer_says_what_its_stream_says() -> None:
    body = read_message(json.dumps(whole(ANSWER, {"model": "m"}, "tool_calls")).encode(), created=1)
    message = json.loads(body.raw)["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == (ANSWER.text, ANSWER.reasoning)
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["f", "g"]
    assert message["thinking_blocks"][0]["signature"]
    assert body.usage is not None
    assert body.usage.billed == (20, 9)


def test_a_relayed_message_that_ends_at_once_is_told():
    begun = b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","usage":{"input_tokens":1}}}\n\n'
    ended = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    relay = MessagesRelay()
    assert relay.feed(begun) is None
    event = relay.feed(ended)
    relay.end()
    assert event is not None
    assert event.raw == begun + ended


def test_no_chat_names_a_conversation_that_is_kept_there():
    thread = {"type": "continue", "previous_message_id": "msg_1"}
    request = ChatRequest.build({"messages": [{"role": "user", "content": "hi"}], "thread": thread, "top_k": 3})
    sent = json.loads(to_messages(request, model="m"))
    assert "thread" not in sent
    assert sent["top_k"] == 3
