"""Chunks of a chat answer, as far as Responses tell of them."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import Body, Event, Usage, decode_answer, payloads


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class Custom(msgspec.Struct):
    name: str | None = None
    input: str | None = None


class Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: Function | None = None
    custom: Custom | None = None

    @property
    def name(self) -> str | None:
        part = self.function or self.custom
        return part.name if part is not None else None

    @property
    def text(self) -> str:
        """Arguments or input, or a piece of them."""
        if self.function is not None:
            return self.function.arguments or ""
        return (self.custom.input or "") if self.custom is not None else ""


class Said(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Call] | None = None
    thinking_blocks: list[msgspec.Raw] | None = None
    annotations: list[dict[str, Any]] | None = None


class Logprobs(msgspec.Struct):
    content: list[dict[str, Any]] | None = None


class Choice(msgspec.Struct):
    index: int = 0
    delta: Said | None = None
    message: Said | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    choices: list[Choice] | None = None
    usage: Usage | None = None
    service_tier: str | None = None


_decoder = msgspec.json.Decoder(Chunk)


def chunks(event: Event) -> list[Chunk]:
    """Every chunk of an event; a whole answer is one.

    Raises:
        UpstreamProtocolError: one cannot be read.
    """
    found = [event.raw] if isinstance(event, Body) else [data for data in payloads(event.raw) if data != b"[DONE]"]
    try:
        return [decode_answer(_decoder, data) for data in found]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UpstreamProtocolError(f"The model's provider sent a chunk that cannot be read: {error}.") from None
