"""Anthropic's answers in OpenAI's words.

Text, thinking (`reasoning_content`) and tool calls come as they are told. The thinking blocks with their signatures
follow whole, as `thinking_blocks` before the finish: who sends them back with the tools' results keeps the model's
train of thought. Blocks of tools that Anthropic ran itself have no form in a chat and are left out; the text that the
model made of them is not.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.errors import UpstreamBroken, UpstreamError, UpstreamProtocolError
from pointsman.core.events import Body, Frames, Usage, encode_frame, payloads
from pointsman.dialects.checks import finite
from pointsman.dialects.sse import FrameBuffer, readable

from .events import (
    FINISH,
    Block,
    Counts,
    Delta,
    Event,
    failure_of,
    id_of,
    read_answer,
    read_block,
    read_event,
    usage_fields,
)
from .hollow import hollow
from .tools import text_of_call

THINKING = ("thinking", "redacted_thinking")
_encoder = msgspec.json.Encoder()
_dict_decoder = msgspec.json.Decoder(dict[str, Any])


class MessagesStream:
    """Turns blocks of a streamed answer into events.

    Args:
        model: the name to put into the chunks.
        created: seconds since the epoch.
        wants_usage: whether the caller asked for a usage chunk.
        customs: names of tools that OpenAI calls custom; their text comes whole.
    """

    def __init__(self, *, model: str, created: int, wants_usage: bool, customs: frozenset[str] = frozenset()) -> None:
        self._customs = customs
        self._frames = FrameBuffer()
        self._base: dict[str, Any] = {"object": "chat.completion.chunk", "created": created, "model": model}
        self._wants_usage = wants_usage
        self._counts: Counts | None = None
        self._answer_id: str | None = None
        self._begun = False
        self._spoke = False
        """Whether a chunk was given: the first tells the role."""
        self._calls = 0
        self._open: dict[int, _Call | dict[str, Any]] = {}
        """Index → the tool call or the thinking block that is being told."""
        self._thoughts: list[dict[str, Any]] = []
        self._finish: str | None = None
        self.done = False
        self.failure: UpstreamError | None = None
        """What the upstream reported behind the frames that `feed` gave back last: to be raised after them."""

    @property
    def untold(self) -> Frames | None:
        """What the prompt took, of an answer that failed before a word of it; None where that was not told, or was
        passed on with the first words."""
        usage = self._counts.usage() if self._counts is not None and not self._spoke else None
        return Frames(b"", usage) if usage is not None else None

    def says_nothing(self, block: bytes) -> bool:
        """Whether a block that is yet to be fed holds no word of an answer."""
        return self._frames.says_nothing(block, hollow)

    def feed(self, block: bytes) -> Frames | None:
        """The chunks of the frames that are whole now, or None.

        Raises:
            UpstreamError: the upstream reported an error, and nothing of the answer is before it in this block.
            UpstreamProtocolError: a frame is not what the API promises, or is too large.
        """
        frames = self._frames.feed(block)
        if not frames or self.done:
            return None
        failure: UpstreamError | None
        frames, failure = readable(frames)
        first = not self._spoke
        chunks: list[bytes] = []
        usage: Usage | None = None
        finish = self._finish
        try:
            for payload in payloads(frames):
                event = read_event(payload)
                if event.type == "message_stop" and self._begun:
                    self.done, failure = True, None
                    break
                usage = self._take(event, chunks) or usage
        except UpstreamError as error:
            failure = error
        self.failure = failure
        if not chunks:
            if failure is not None:
                raise failure
            return None
        went_on = first and usage is None and self._counts is not None
        if went_on and self._counts is not None:
            usage = self._counts.usage()  # of the prompt: all that is known of an answer that is left half-way
        return Frames(
            b"".join(chunks),
            usage,
            self._answer_id if first else None,
            self._finish if self._finish != finish else None,
            went_on,
        )

    def end(self) -> None:
        """Say that the upstream has ended its stream.

        Raises:
            UpstreamBroken: it ended too early.
            UpstreamProtocolError: it held no answer.
        """
        ended(self._frames, begun=self._begun, done=self.done)

    def _take(self, event: Event, chunks: list[bytes]) -> Usage | None:
        """Add what an event says; returns the usage that it tells.

        Raises:
            UpstreamError: it says that the upstream failed.
            UpstreamProtocolError: it is out of place, or not what the API promises.
        """
        if event.type == "error":
            raise failure_of(event.error)
        if not self._begun and event.type not in ("message_start", "ping"):
            raise UpstreamProtocolError("The model's provider sent an event before its message began.")
        if event.type == "message_delta":
            return self._ended(event, chunks)
        self._told(event, chunks)
        return None

    def _told(self, event: Event, chunks: list[bytes]) -> None:
        if event.type == "message_start" and event.message is not None:
            self._begun = True
            self._answer_id = id_of(event.message)
            self._base = {"id": self._answer_id, **self._base}
            self._counts = event.message.usage
        elif event.type == "content_block_start":
            self._start(event.index, event.content_block, chunks)
        elif event.type == "content_block_delta" and event.delta is not None:
            self._delta(event.index, event.delta, chunks)
        elif event.type == "content_block_stop":
            self._stop(event.index, chunks)

    def _start(self, index: int, raw: Raw, chunks: list[bytes]) -> None:
        block = read_block(raw)
        if block.type == "text" and block.text:
            self._say(chunks, content=block.text)
        elif block.type in THINKING:
            self._open[index] = _dict_decoder.decode(raw)
        elif block.type == "tool_use":
            call = self._open[index] = _Call(self._calls, block.input, custom=block.name in self._customs)
            self._calls += 1
            told: dict[str, Any] = {"type": "function", "function": {"name": block.name, "arguments": ""}}
            if call.custom is not None:
                told = {"type": "custom", "custom": {"name": block.name, "input": ""}}
            self._say(chunks, tool_calls=[{"index": call.at, "id": block.id, **told}])

    def _delta(self, index: int, delta: Delta, chunks: list[bytes]) -> None:
        opened = self._open.get(index)
        if delta.type == "text_delta" and delta.text:
            self._say(chunks, content=delta.text)
        elif delta.type == "thinking_delta" and delta.thinking:
            if isinstance(opened, dict):
                opened["thinking"] = opened.get("thinking", "") + delta.thinking
            self._say(chunks, reasoning_content=delta.thinking)
        elif delta.type == "signature_delta" and isinstance(opened, dict):
            opened["signature"] = opened.get("signature", "") + (delta.signature or "")
        elif delta.type == "input_json_delta" and delta.partial_json and isinstance(opened, _Call):
            if opened.custom is not None:
                opened.custom += delta.partial_json
                return
            opened.told = True
            self._say(chunks, tool_calls=[{"index": opened.at, "function": {"arguments": delta.partial_json}}])

    def _stop(self, index: int, chunks: list[bytes]) -> None:
        opened = self._open.pop(index, None)
        if isinstance(opened, dict):
            self._thoughts.append(opened)
        elif isinstance(opened, _Call) and opened.custom is not None:
            text = text_of_call(opened.custom or opened.begun)
            self._say(chunks, tool_calls=[{"index": opened.at, "custom": {"input": text}}])
        elif isinstance(opened, _Call) and not opened.told:  # a call without arguments is told without a word of them
            self._say(chunks, tool_calls=[{"index": opened.at, "function": {"arguments": opened.begun}}])

    def _ended(self, event: Event, chunks: list[bytes]) -> Usage | None:
        if event.usage is not None:
            self._counts = event.usage if self._counts is None else self._counts.merged(event.usage)
        reason = event.delta.stop_reason if event.delta is not None else None
        if reason is None:
            return None
        if self._thoughts:
            self._say(chunks, thinking_blocks=self._thoughts)
            self._thoughts = []
        details = event.delta.stop_details if event.delta is not None else None
        if details is not None and details.explanation:
            self._say(chunks, refusal=details.explanation)
        self._finish = FINISH.get(reason, "stop")
        self._say(chunks, finish=self._finish)
        usage = self._counts.usage() if self._counts is not None else None
        if usage is not None and self._wants_usage:
            chunks.append(self._chunk([], usage=usage_fields(usage)))
        return usage

    def _say(self, chunks: list[bytes], *, finish: str | None = None, **delta: Any) -> None:
        if not self._spoke:
            self._spoke = True
            delta = {"role": "assistant", "content": "", **delta}
        chunks.append(self._chunk([{"index": 0, "delta": delta, "finish_reason": finish}]))

    def _chunk(self, choices: list[dict[str, Any]], **extra: Any) -> bytes:
        return encode_frame(_encoder.encode({**self._base, "choices": choices, **extra}))


class _Call:
    """A tool call while it is told."""

    __slots__ = ("at", "begun", "custom", "told")

    def __init__(self, at: int, begun: Raw, *, custom: bool) -> None:
        self.at = at
        self.custom = "" if custom else None
        """What was told so far of a custom tool's arguments; None of a function's."""
        self.begun = bytes(begun).decode() if bytes(begun) != b"null" else "{}"
        self.told = False


def read_message(raw: bytes, *, created: int, customs: frozenset[str] = frozenset()) -> Body:
    """An unstreamed answer.

    Raises:
        UpstreamError: it states an error.
        UpstreamProtocolError: it is not what the API promises.
    """
    try:
        answer = read_answer(raw)
    except UpstreamProtocolError:
        if (mended := finite(raw)) is None:
            raise
        return read_message(mended, created=created, customs=customs)
    texts: list[str] = []
    thoughts: list[Raw] = []
    thought: list[str] = []
    calls: list[dict[str, Any]] = []
    for part in answer.content or ():
        block = read_block(part)
        if block.type == "text":
            texts.append(block.text or "")
        elif block.type in THINKING:
            thoughts.append(part)
            thought.append(_dict_decoder.decode(part).get("thinking") or "")
        elif block.type == "tool_use":
            calls.append(_whole_call(block, customs))
    fields: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or (None if calls else "")}
    if any(thought):
        fields["reasoning_content"] = "".join(thought)
    if thoughts:
        fields["thinking_blocks"] = thoughts
    if calls:
        fields["tool_calls"] = calls
    if answer.stop_details is not None and answer.stop_details.explanation:
        fields["refusal"] = answer.stop_details.explanation
    finish = FINISH.get(answer.stop_reason or "end_turn", "stop")
    whole: dict[str, Any] = {
        "id": id_of(answer),
        "object": "chat.completion",
        "created": created,
        "model": answer.model,
        "choices": [{"index": 0, "message": fields, "finish_reason": finish}],
    }
    usage = answer.usage.usage() if answer.usage is not None else None
    if usage is not None:
        whole["usage"] = usage_fields(usage)
    return Body(_encoder.encode(whole), usage, id_of(answer), finish)


def ended(frames: FrameBuffer, *, begun: bool, done: bool) -> None:
    """What the end of a stream means.

    Raises:
        UpstreamBroken: it came too early.
        UpstreamProtocolError: there was no answer.
    """
    if done:
        return
    if frames.partial:
        raise UpstreamBroken("The model's provider broke off in the middle of a frame.")
    if not begun:
        raise UpstreamProtocolError("The model's provider ended its stream without an answer.")
    raise UpstreamBroken("The model's provider ended its stream before the answer was finished.")


def _whole_call(block: Block, customs: frozenset[str]) -> dict[str, Any]:
    arguments = bytes(block.input).decode() if bytes(block.input) != b"null" else "{}"
    if block.name in customs:
        return {"id": block.id, "type": "custom", "custom": {"name": block.name, "input": text_of_call(arguments)}}
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}
