"""Where blocks end, a stream tells the same in every dialect, the good events before a bad one among it; and what says
nothing is told only with what says something."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from pointsman.core.errors import UpstreamError
from pointsman.core.events import Frames, payloads
from pointsman.dialects.messages.relay import MessagesRelay
from pointsman.dialects.messages.stream import MessagesStream
from pointsman.dialects.ollama.answer import OllamaStream
from pointsman.dialects.responses.relay import ResponsesRelay
from pointsman.dialects.responses.stream import ChatFromResponses
from pointsman.dialects.sse import MAX_HELD


class InChat:
    """Responses, translated."""

    def __init__(self) -> None:
        self._relay = ResponsesRelay()
        self._chat = ChatFromResponses(model="m", created=1, wants_usage=False)

    @property
    def failure(self) -> UpstreamError | None:
        return self._chat.failure or self._relay.failure

    def feed(self, block: bytes) -> Frames | None:
        event = self._relay.feed(block)
        return None if event is None else self._chat.feed(event)

    def end(self) -> None:
        self._relay.end()


MAKE: dict[str, Callable[[], Any]] = {
    "messages": MessagesRelay,
    "messages translated": lambda: MessagesStream(model="m", created=1, wants_usage=False),
    "responses": ResponsesRelay,
    "responses translated": InChat,
    "ollama": lambda: OllamaStream(model="m", answer_id="a", created=1, wants_usage=False),
}


def frame(**fields: Any) -> bytes:
    return b"event: " + fields["type"].encode() + b"\ndata: " + json.dumps(fields).encode() + b"\n\n"


def line(content: str = "", **fields: Any) -> bytes:
    return json.dumps({"message": {"role": "assistant", "content": content}, "done": False, **fields}).encode() + b"\n"


def response(kind: str, **fields: Any) -> bytes:
    return frame(type=f"response.{kind}", response={"id": "r", "status": "in_progress", "output": [], **fields})


PING = frame(type="ping")
USAGE = {"input_tokens": 7, "output_tokens": 3}
MESSAGE: dict[str, Any] = {"type": "message", "id": "i", "role": "assistant", "content": []}
BEGIN = {
    "messages": [
        frame(type="message_start", message={"id": "m", "content": [], "usage": {"input_tokens": 7}}),
        PING,
        frame(type="content_block_start", index=0, content_block={"type": "text", "text": ""}),
        frame(type="content_block_delta", index=0, delta={"type": "text_delta", "text": ""}),
    ],
    "responses": [
        response("created"),
        response("in_progress"),
        frame(type="response.output_item.added", output_index=0, item=MESSAGE),
        frame(type="response.content_part.added", output_index=0, part={"type": "output_text", "text": ""}),
        frame(type="response.output_text.delta", output_index=0, delta=""),
    ],
    "ollama": [line(), line(thinking="")],
}
WORD = {
    "messages": frame(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "word"}),
    "responses": frame(type="response.output_text.delta", output_index=0, delta="word"),
    "ollama": line("word"),
}
END = {
    "messages": [
        frame(type="content_block_stop", index=0),
        frame(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3}),
        frame(type="message_stop"),
    ],
    "responses": [response("completed", status="completed", usage=USAGE)],
    "ollama": [line(done=True, prompt_eval_count=7, eval_count=3)],
}
GARBLED = {name: word.replace(b"word", b"\xc3\x28") for name, word in WORD.items()}
BAD = {
    "messages": [
        frame(type="error", error={"type": "overloaded_error", "message": "no"}),
        b'event: content_block_delta\ndata: {"type": "content_block_del\n\n',
        b"data: null\n\n",
        frame(type="message_delta", delta={"stop_reason": 5}),
    ],
    "responses": [
        frame(type="error", code="server_error", message="no"),
        response("failed", status="failed", error={"code": "server_error", "message": "no"}),
        b'event: response.output_text.delta\ndata: {"type": "response.output_te\n\n',
        b"data: [1]\n\n",
        response("completed", usage=5),
    ],
    "ollama": [
        b'{"error": "no"}\n',
        b'{"message": {"content": "wo\n',
        b"null\n",
        b"{}\n",
        line("x", eval_count="many"),
    ],
}
BAD = {name: [*bad, GARBLED[name]] for name, bad in BAD.items()}
BAD["messages translated"] = [
    *BAD["messages"],
    frame(type="content_block_start", index=1, content_block={"type": "tool_use", "name": "n"}),
]
BAD["responses translated"] = [
    *BAD["responses"],
    frame(type="response.output_text.delta", output_index=0),
    frame(type="response.output_item.added", output_index=1, item={"type": "function_call"}),
]


def wire(name: str) -> str:
    return name.partition(" ")[0]


def of_each(cases: dict[str, list[bytes]]) -> Any:
    return pytest.mark.parametrize(
        ("name", "bad"), [(name, bad) for name in MAKE for bad in cases.get(name, cases[wire(name)])]
    )


def told(name: str, blocks: Iterable[bytes]) -> tuple[list[bytes], Any, str | None, str | None, str]:
    """What came of a stream: its events, the usage told last, id, finish, and how it failed."""
    reader, out, usage, answer_id, finish, failed = MAKE[name](), b"", None, None, None, ""
    try:
        for block in blocks:
            if (event := reader.feed(block)) is not None and event.raw:
                out, usage = out + event.raw, event.usage or usage
                answer_id, finish = answer_id or event.answer_id, event.finish_reason or finish
            if reader.failure is not None:
                raise reader.failure
        reader.end()
    except UpstreamError as error:
        failed = type(error).__name__
    return list(payloads(out)), usage and usage.billed, answer_id, finish, failed


def cuts(frames: Sequence[bytes]) -> Iterable[list[bytes]]:
    whole = b"".join(frames)
    yield list(frames)
    yield [whole[at : at + 1] for at in range(len(whole))]
    for at in range(1, len(whole)):
        yield [whole[:at], whole[at:]]


@of_each(BAD)
def test_a_bad_event_takes_none_before_it_along(name: str, bad: bytes) -> None:
    word = WORD[wire(name)]
    frames = [*BEGIN[wire(name)], word, word, bad, word, *END[wire(name)]]
    once = told(name, [b"".join(frames)])
    assert (b"".join(once[0]).count(b"word"), once[3], bool(once[4])) == (2, None, True)
    assert all(told(name, blocks) == once for blocks in cuts(frames))


@of_each(BAD)
def test_behind_nothing_but_silence_it_is_the_answer(name: str, bad: bytes) -> None:
    frames = [*BEGIN[wire(name)], bad, WORD[wire(name)]]
    once = told(name, [b"".join(frames)])
    assert (once[0], bool(once[4])) == ([], True)
    assert all(told(name, blocks) == once for blocks in cuts(frames))


@of_each(BAD)
def test_behind_the_end_it_is_nothing(name: str, bad: bytes) -> None:
    frames = [*BEGIN[wire(name)], WORD[wire(name)], *END[wire(name)], bad]
    once = told(name, [b"".join(frames)])
    assert once[1:] == ((7, 3), once[2], "stop", "")
    assert once[2]
    assert all(told(name, blocks[:-1] if blocks[-1] == bad else blocks) == once for blocks in cuts(frames))


@pytest.mark.parametrize("name", MAKE)
def test_an_answer_without_a_word_is_one(name: str) -> None:
    frames = [*BEGIN[wire(name)], *END[wire(name)]]
    once = told(name, [b"".join(frames)])
    assert once[0]
    assert once[3:] == ("stop", "")
    assert all(told(name, blocks) == once for blocks in cuts(frames))


@pytest.mark.parametrize("name", [name for name in MAKE if name in BEGIN and name != "ollama"])
def test_silence_is_not_kept_without_an_end(name: str) -> None:
    reader, silent = MAKE[name](), BEGIN[name][-1] * 100
    assert reader.feed(BEGIN[name][0]) is None
    assert all(reader.feed(silent) is None for _ in range(MAX_HELD // len(silent)))
    with pytest.raises(UpstreamError, match="said nothing"):
        reader.feed(silent)
