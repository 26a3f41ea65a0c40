"""Where blocks end, a stream tells the same in every dialect, the good events before a bad one among it; and what says
nothing is told only with what says something."""

from __future__ import annotations

import re
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
from stream_frames import BAD, BEGIN, END, WORD, frame


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


TRANSLATED = {
    "messages translated": [
        frame(type="content_block_start", index=1, content_block={"type": "tool_use", "name": "n"}),
    ],
    "responses translated": [
        frame(type="response.output_text.delta", output_index=0),
        frame(type="response.output_item.added", output_index=1, item={"type": "function_call"}),
    ],
}
"""What only a translator stumbles over."""


def wire(name: str) -> str:
    return name.partition(" ")[0]


each_bad = pytest.mark.parametrize(
    ("name", "bad"), [(name, bad) for name in MAKE for bad in (*BAD[wire(name)], *TRANSLATED.get(name, ()))]
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
    for at in range(1, len(whole), 3):
        yield [whole[:at], whole[at:]]


@each_bad
def test_a_bad_event_takes_none_before_it_along(name: str, bad: bytes) -> None:
    word = WORD[wire(name)]
    frames = [*BEGIN[wire(name)], word, word, bad, word, *END[wire(name)]]
    once = told(name, [b"".join(frames)])
    assert (b"".join(once[0]).count(b"word"), once[3], bool(once[4])) == (2, None, True)
    assert all(told(name, blocks) == once for blocks in cuts(frames))


@each_bad
def test_behind_nothing_but_silence_it_is_the_answer(name: str, bad: bytes) -> None:
    frames = [*BEGIN[wire(name)], bad, WORD[wire(name)]]
    once = told(name, [b"".join(frames)])
    assert (once[0], bool(once[4])) == ([], True)
    assert all(told(name, blocks) == once for blocks in cuts(frames))


@each_bad
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


@pytest.mark.parametrize("name", ["messages", "responses"])
def test_silence_is_not_kept_without_an_end(name: str) -> None:
    reader, silent = MAKE[name](), BEGIN[name][-1] * 100
    assert reader.feed(BEGIN[name][0]) is None
    assert all(reader.feed(silent) is None for _ in range(MAX_HELD // len(silent)))
    with pytest.raises(UpstreamError, match="said nothing"):
        reader.feed(silent)


@pytest.mark.parametrize(
    "usage", ['"many"', "[5]", "true", '{"input_tokens": "x"}', '{"input_tokens": NaN}', "-Infinity"]
)
@pytest.mark.parametrize("name", [name for name in MAKE if wire(name) != "ollama"])
def test_accounts_that_cannot_be_read_end_no_answer(name: str, usage: str) -> None:
    absurd = re.compile(rb'"usage": \{[^}]*\}')
    frames = [*BEGIN[wire(name)], WORD[wire(name)], *END[wire(name)]]
    odd = [absurd.sub(b'"usage": ' + usage.encode(), frame) for frame in frames]
    assert odd != frames
    out, counted, answer_id, finish, failed = told(name, odd)
    assert (b"".join(out).count(b"word "), counted, finish, failed) == (1, None, "stop", "")
    assert answer_id == told(name, frames)[2]
