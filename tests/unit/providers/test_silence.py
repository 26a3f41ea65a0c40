"""An upstream that keeps its stream open without saying anything is given up as one that sends nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from pointsman.core.errors import UpstreamError, UpstreamTimeout
from pointsman.core.ports import Timeouts
from pointsman.dialects.messages.relay import MessagesRelay
from pointsman.dialects.messages.stream import MessagesStream
from pointsman.dialects.ollama.answer import OllamaStream
from pointsman.dialects.openai.chat import ChatStream
from pointsman.dialects.responses.relay import ResponsesRelay
from pointsman.providers import silence
from pointsman.providers.silence import Silence

TIMEOUTS = Timeouts(first_byte=30.0, between_bytes=10.0)
SAID = b'data: {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": null}]}\n\n'
EMPTY = b'data: {"choices":[{"index":0,"text":""}]}\n\n'


def frame(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def line(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "done": False, **fields}).encode() + b"\n"


COMMENTS = [b": keep-alive\n\n", b":\n\n", b"\n", b": OPENROUTER PROCESSING\r\n\r\n"]
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
TEXT = {"type": "text", "text": ""}
MESSAGE = {"type": "message", "id": "i", "role": "assistant", "content": []}
READERS: dict[str, Callable[[], Any]] = {
    "chat": lambda: ChatStream(wants_usage=False),
    "messages": MessagesRelay,
    "messages translated": lambda: MessagesStream(model="m", created=1, wants_usage=False),
    "responses": ResponsesRelay,
    "ollama": lambda: OllamaStream(model="m", answer_id="a", created=1, wants_usage=False),
}
SILENT = {
    "chat": [
        *COMMENTS,
        PING,
        b'data: {"choices": []}\n\n',
        b'data: {"choices":[],"usage":{"total_tokens":1}}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":null}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":null,"tool_calls":[]}}],"usage":null}\r\n\r\n',
        b'data: {"choices":[{"index":0,"delta":{"content":""},"logprobs":{"content":[],"refusal":null}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":""}]}\n\n' * 2,
        b': ping\n\ndata: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n',
        EMPTY,
    ],
    "messages": [
        *COMMENTS,
        PING,
        frame(type="message_start", message={"id": "m", "content": [], "usage": {"input_tokens": 5}}),
        frame(type="content_block_start", index=0, content_block=TEXT),
        frame(type="content_block_delta", index=0, delta={"type": "text_delta", "text": ""}),
        frame(type="content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": ""}) + PING,
        frame(type="content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": ""}),
        frame(type="message_delta", delta={"stop_reason": None}, usage={"output_tokens": 1}),
    ],
    "responses": [
        *COMMENTS,
        frame(type="keepalive", sequence_number=3),
        frame(type="response.in_progress", response={"id": "r", "status": "in_progress", "output": []}),
        frame(type="response.output_item.added", output_index=0, item=MESSAGE),
        frame(type="response.content_part.added", part={"type": "output_text", "text": "", "annotations": []}),
        frame(type="response.output_text.delta", delta=""),
        frame(type="response.reasoning_summary_text.delta", delta="", obfuscation="xx"),
    ],
    "ollama": [
        b"\n",
        line(message={"role": "assistant", "content": ""}),
        line(message={"role": "assistant", "content": "", "thinking": ""}) * 2,
        line(response=""),
    ],
}
SPOKEN = {
    "chat": [
        SAID,
        b": keep-alive\n\n" + SAID,
        b'data: {"choices":[{"index":0,"delta":{"content":"","reasoning_content":"hm"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":""}}]}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[{"index":0,"text":"x"}]}\n\n',
    ],
    "messages": [
        PING + frame(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "x"}),
        frame(type="content_block_start", index=0, content_block={"type": "text", "text": "x"}),
        frame(type="content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}),
        frame(type="content_block_start", index=0, content_block={"type": "tool_use", "id": "i", "name": "n"}),
        frame(type="message_delta", delta={"stop_reason": "end_turn"}),
    ],
    "responses": [
        frame(type="response.output_text.delta", delta="x"),
        frame(type="response.output_item.added", output_index=0, item={"type": "reasoning", "summary": []}),
        frame(type="response.output_item.added", output_index=0, item={"type": "function_call", "name": "n"}),
        frame(type="response.web_search_call.searching", output_index=0),
    ],
    "ollama": [
        line(message={"role": "assistant", "content": "x"}),
        line(message={"role": "assistant", "content": "", "thinking": "hm"}),
        line(message={"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}),
        line(response="x"),
    ],
}
SILENT["messages translated"], SPOKEN["messages translated"] = SILENT["messages"], SPOKEN["messages"]


def of_each(blocks: dict[str, list[bytes]]) -> Any:
    return pytest.mark.parametrize(("name", "block"), [(name, block) for name in READERS for block in blocks[name]])


def begun(name: str) -> tuple[Silence, Any]:
    """A stream, and its reader."""
    reader = READERS[name]()
    return Silence(TIMEOUTS, reader.says_nothing), reader


def feed(stream: Silence, reader: Any, block: bytes) -> None:
    """A block came. What the reader thinks of the answer is not looked at."""
    stream.heard(block)
    with contextlib.suppress(UpstreamError):
        reader.feed(block)


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(silence.time, "monotonic", lambda: now[0])
    return now


@of_each(SILENT)
@pytest.mark.parametrize(("said", "phase", "seconds"), [(False, "first_byte", 30.0), (True, "between_bytes", 10.0)])
def test_before_and_after_the_first_word_its_own_time_holds(clock, name, block, said, phase, seconds):
    stream, _ = begun(name)
    if said:
        stream.heard(SPOKEN[name][0])
    clock[0] += seconds - 1
    stream.heard(block)
    clock[0] += 2
    with pytest.raises(UpstreamTimeout) as caught:
        stream.heard(block)
    assert (caught.value.phase, caught.value.seconds) == (phase, seconds)


@of_each(SPOKEN)
def test_what_is_said_counts_from_anew(clock, name, block):
    stream, _ = begun(name)
    for _ in range(5):
        stream.heard(block)
        clock[0] += 9
        stream.heard(b"\n" if name == "ollama" else b": keep-alive\n\n")


@of_each(SILENT)
def test_where_blocks_end_what_says_nothing_says_nothing(clock, name, block):
    for at in range(1, len(block)):
        stream, reader = begun(name)
        for _ in range(3):
            clock[0] += 8
            feed(stream, reader, block[:at])
            clock[0] += 1
            feed(stream, reader, block[at:])
        clock[0] += 4
        with pytest.raises(UpstreamTimeout):
            stream.heard(block)


@of_each(SPOKEN)
def test_where_blocks_end_what_is_said_is_said(clock, name, block):
    for at in range(1, len(block), 7):
        stream, reader = begun(name)
        for _ in range(3):
            feed(stream, reader, block[:at])
            clock[0] += 8
            feed(stream, reader, block[at:])
            clock[0] += 8


@pytest.mark.parametrize("name", READERS)
def test_a_long_frame_on_its_way_is_no_silence(clock, name):
    stream, reader = begun(name)
    for block in (b'{"message": {"content": "' if name == "ollama" else b'data: {"x": "', *[b"x" * 3000] * 9):
        clock[0] += 7
        feed(stream, reader, block)


def test_words_between_what_says_nothing_count_whenever_they_come(clock):
    stream, _ = begun("chat")
    for gap in (0.1, 0.5, 0.9, 1.1, 5.0, 9.0):
        for _ in range(30):
            stream.heard(SAID)
            clock[0] += gap
            stream.heard(EMPTY)


def test_what_says_nothing_behind_words_counts_as_silence_after_a_second_at_most(clock):
    stream, _ = begun("chat")
    stream.heard(SAID)
    for _ in range(50):
        clock[0] += 0.2
        stream.heard(EMPTY)
    clock[0] += 1.2
    with pytest.raises(UpstreamTimeout):
        stream.heard(EMPTY)
