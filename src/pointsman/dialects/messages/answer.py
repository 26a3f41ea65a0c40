"""A chat answer as Anthropic's Messages API writes it: the events of a stream, or one `message`."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core import tokens
from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import Body, Frames, payloads

from .answer_blocks import Blocks, event, is_object, new_tool_id
from .answer_chunks import (
    Call,
    Choice,
    Said,
    Thinking,
    read_chunk,
    stop_met,
    stop_of,
    usage_of,
)

PING = event("ping", {})
UNREADABLE = "INVALID_JSON"
"""The one key of a tool's input where the model wrote what is no JSON object: what it wrote is not lost, and the tool
can say what is wrong."""

_encoder = msgspec.json.Encoder()


class MessagesStream:
    """Events of one streamed answer.

    Args:
        message_id: `msg_…`.
        model: what the answer names as its model.
        input_tokens: the estimate that stands until the upstream counts.
        stops: the caller's stop sequences.
    """

    def __init__(self, message_id: str, model: str, *, input_tokens: int, stops: list[str]) -> None:
        self._id = message_id
        self._model = model
        self._input_tokens = input_tokens
        self._output_tokens = 0
        self._stops = stops
        self._blocks = Blocks()
        self._begun = False
        self._finish: str | None = None
        self._met: str | None = None
        self._refused = False
        self._usage: dict[str, Any] | None = None

    @classmethod
    def resumed(
        cls, blocks: Blocks, *, input_tokens: int, stops: list[str], finish: str | None = None, output_tokens: int = 0
    ) -> MessagesStream:
        """A stream whose message has begun: what follows goes on with it.

        Args:
            blocks: as they stand.
            finish: chat's reason for which it ended, where that is known.
            output_tokens: the estimate for what was told, that stands until the upstream counts.
        """
        stream = cls("", "", input_tokens=input_tokens, stops=stops)
        stream._begun = True
        stream._blocks = blocks
        stream._finish = finish
        stream._output_tokens = output_tokens
        return stream

    def feed(self, frames: Frames) -> bytes:
        """
        Raises:
            UpstreamProtocolError: a frame is no chunk.
        """
        written: list[bytes] = []
        said = False
        for payload in payloads(frames.raw):
            if payload != b"[DONE]":
                said = True
                chunk = read_chunk(payload)
                written += [self._take(choice) for choice in chunk.choices or () if choice.index == 0]
                if chunk.usage is not None:
                    self._usage = usage_of(chunk.usage) or self._usage
        if not said:  # a comment that keeps the connection open
            return PING
        return self._begin() + b"".join(written)

    def end(self) -> bytes:
        """What stands behind the last chunk."""
        closing = self._begin() + self._blocks.end()
        usage = self._usage or {
            "input_tokens": self._input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": self._output_tokens + tokens.estimate(self._blocks.written),
        }
        delta = stop_of(self._finish, calls=self._blocks.has_calls, refused=self._refused, met=self._met)
        return closing + event("message_delta", {"delta": delta, "usage": usage}) + event("message_stop", {})

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        usage = {
            "input_tokens": self._input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        }
        message = _message(self._id, self._model, [], {"stop_reason": None, "stop_sequence": None}, usage)
        return event("message_start", {"message": message}) + PING

    def _take(self, choice: Choice) -> bytes:
        written = []
        said = choice.delta or choice.message
        if said is not None:
            written += [self._blocks.thinking(thought) for thought in said.thoughts()]
            if said.content:
                written.append(self._blocks.text(said.content))
            if said.refusal:
                self._refused = True
                written.append(self._blocks.text(said.refusal))
            written += [self._blocks.call(call) for call in said.tool_calls or ()]
        if choice.finish_reason:
            self._finish = choice.finish_reason
            self._met = stop_met(choice, self._stops)
        return b"".join(written)


def write_message(body: Body, message_id: str, model: str, *, input_tokens: int, stops: list[str]) -> bytes:
    """The whole answer; see `MessagesStream` for the arguments.

    Raises:
        UpstreamProtocolError: it is no chat completion.
    """
    chunk = read_chunk(body.raw)
    choice = next((choice for choice in chunk.choices or () if choice.index == 0), None)
    if choice is None:
        raise UpstreamProtocolError("The model's provider sent an answer without a choice.")
    said = choice.message or choice.delta or Said()
    content = _content(said)
    usage = usage_of(chunk.usage) if chunk.usage is not None else None
    usage = usage or {
        "input_tokens": input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": tokens.estimate(len(_encoder.encode(content)) if content else 0),
    }
    stop = stop_of(
        choice.finish_reason,
        calls=bool(said.tool_calls),
        refused=bool(said.refusal),
        met=stop_met(choice, stops),
    )
    return _encoder.encode(_message(message_id, model, content, stop, usage))


def _message(
    message_id: str, model: str, content: list[dict[str, Any]], stop: dict[str, str | None], usage: dict[str, Any]
) -> dict[str, Any]:
    head = {"id": message_id, "type": "message", "role": "assistant", "model": model}
    return {**head, "content": content, **stop, "usage": usage}


def _content(said: Said) -> list[dict[str, Any]]:
    content = [_thinking(thought) for thought in said.thoughts()]
    content += [{"type": "text", "text": text} for text in (said.content, said.refusal) if text]
    return content + [_tool_use(call) for call in said.tool_calls or ()]


def _thinking(thought: Thinking) -> dict[str, Any]:
    if thought.type == "redacted_thinking":
        return {"type": "redacted_thinking", "data": thought.data or ""}
    return {"type": "thinking", "thinking": thought.thinking or "", "signature": thought.signature or ""}


def _tool_use(call: Call) -> dict[str, Any]:
    name = (call.function.name if call.function is not None else None) or ""
    arguments = (call.function.arguments if call.function is not None else None) or ""
    given: Any = {}
    if arguments.strip():
        given = Raw(arguments.encode()) if is_object(arguments) else {UNREADABLE: arguments}
    return {"type": "tool_use", "id": call.id or new_tool_id(), "name": name, "input": given}
