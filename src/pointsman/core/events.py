"""The answer as a stream of events.

A provider yields `Frames` (whole server-sent events of `chat.completion.chunk` objects, as the bytes that came) for a
streamed request, or one `Body` for an unstreamed one. A provider that speaks the caller's own dialect may relay that
dialect's frames or body instead, and says so in `dialect`; what stages need of them stands beside the bytes. Chunks
are parsed only when a stage asks (`chunks`, `deltas`). An iterator that ends has ended well: `[DONE]` is not an event;
whoever writes the wire adds it. An upstream that fails raises an `UpstreamError` out of the iterator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import msgspec

from .errors import UpstreamProtocolError
from .request import Dialect

DONE = b"data: [DONE]\n\n"
MOST_TOKENS = 1_000_000_000
"""In one answer."""


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    """Part of the prompt that was written to a cache, at a price of its own."""
    cache_write_long_tokens: int | None = None
    """Part of these: written for an hour, at a higher price still."""


class CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the upstream counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    total_tokens: int | None = None

    @property
    def plausible(self) -> bool:
        """Whether these can be counts at all; what upstreams say ends in sums and in the log."""
        counts: tuple[int, ...] = (self.prompt_tokens, self.completion_tokens, self.total_tokens or 0)
        if self.prompt_tokens_details is not None:
            counts += (self.cached_tokens, *self.cache_writes)
        if self.completion_tokens_details is not None:
            counts += (self.completion_tokens_details.reasoning_tokens or 0,)
        return min(counts) >= 0 and max(counts) <= MOST_TOKENS

    @property
    def billed(self) -> tuple[int, int]:
        """Tokens of the prompt and of the answer as they are paid for.

        xAI and Gemini leave hidden reasoning out of `completion_tokens` and tell it beside them or in the total alone;
        some relays leave cached tokens out of `prompt_tokens`.
        """
        prompt, output = self.prompt_tokens, self.completion_tokens
        beside = (self.total_tokens or 0) - prompt - output
        if beside > 0:
            cached = self.cached_tokens
            return (prompt + cached, output) if beside == cached > prompt else (prompt, output + beside)
        details = self.completion_tokens_details
        reasoning = (details.reasoning_tokens or 0) if details is not None else 0
        return prompt, output if reasoning <= output else output + reasoning

    @property
    def cached_tokens(self) -> int:
        details = self.prompt_tokens_details
        return (details.cached_tokens or 0) if details is not None else 0

    @property
    def cache_writes(self) -> tuple[int, int]:
        """Tokens written to a cache for a short time, and for long."""
        details = self.prompt_tokens_details
        if details is None or not details.cache_write_tokens:
            return 0, 0
        long = min(details.cache_write_long_tokens or 0, details.cache_write_tokens)
        return details.cache_write_tokens - long, long


class Frames(msgspec.Struct, frozen=True, gc=False):
    """Whole SSE frames, each ended by a blank line; empty when only what follows is to be told.

    What a provider notices in passing stands beside the bytes, so that the recorder need not parse them.
    """

    raw: bytes
    usage: Usage | None = None
    answer_id: str | None = None
    finish_reason: str | None = None
    went_on: bool = False
    """The answer goes on behind the usage in the same block."""
    dialect: Dialect = "chat"
    """What the bytes are written in: `chat`, or what the request's caller speaks."""
    note: str | None = None
    """What whoever reads the decision should know of this answer."""


class Body(msgspec.Struct, frozen=True, gc=False):
    """A whole unstreamed answer: one `chat.completion` object as JSON. Of a completion or of embeddings: OpenAI's
    object for those."""

    raw: bytes
    usage: Usage | None = None
    answer_id: str | None = None
    finish_reason: str | None = None
    dialect: Dialect = "chat"
    note: str | None = None
    went_on: ClassVar[bool] = False


Event = Frames | Body


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Reasoning:
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    index: int
    id: str | None
    name: str | None
    arguments: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    reason: str
    choice: int = 0


Delta = Text | Reasoning | ToolCallDelta | Usage | Finish


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    """A `chat.completion.chunk` or `chat.completion`, as far as stages look."""

    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Usage | None = None
    error: Any = None


T = TypeVar("T")

_USAGE = re.compile(rb'"usage":\s{0,7}[^\sn]')
"""Anything but null."""
_HOLDERS = ("message", "response")
"""What the usage stands in, where it does not stand beside the answer."""
_chunk_decoder = msgspec.json.Decoder(Chunk)
_usage_decoder = msgspec.json.Decoder(Usage | None)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.json.Encoder()


def payloads(raw: bytes) -> Iterator[bytes]:
    """The data of each SSE frame in a block of whole frames; other fields, comments and frames without data are passed
    over."""
    for frame in raw.replace(b"\r\n", b"\n").split(b"\n\n"):
        lines = [line[5:].removeprefix(b" ") for line in frame.split(b"\n") if line.startswith(b"data:")]
        data = b"\n".join(lines)
        if data and not data.isspace():
            yield data


def parse_chunk(payload: bytes) -> Chunk:
    """One chunk, typed.

    Raises:
        UpstreamProtocolError: it is not a chunk.
    """
    try:
        return decode_answer(_chunk_decoder, payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UpstreamProtocolError(f"The model's provider sent a chunk that cannot be read: {error}.") from None


def read_usage(raw: msgspec.Raw) -> Usage | None:
    """A usage, or None: an answer is not thrown away because its bill cannot be read."""
    try:
        usage: Usage | None = _usage_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return usage if usage is not None and usage.plausible else None


def decode_answer(decoder: msgspec.json.Decoder[T], payload: bytes) -> T:
    """An answer, or a piece of one; without its usage where it cannot be decoded with it.

    Raises:
        msgspec.MsgspecError, RecursionError, UnicodeDecodeError: nor without it.
    """
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        if (rest := _without_usage(payload)) is None:
            raise
        return decoder.decode(rest)


def _without_usage(payload: bytes) -> bytes | None:
    """An answer, or a piece of one, without its usage; None: it has none, or cannot be read. For a decoder that has
    refused it: nothing of an answer is thrown away because its bill cannot be read."""
    try:
        fields = _fields_decoder.decode(payload)
        told = "usage" in fields
        fields.pop("usage", None)
        for name in _HOLDERS:
            if bytes(fields.get(name, b""))[:1] == b"{" and "usage" in (held := _fields_decoder.decode(fields[name])):
                del held["usage"]
                fields[name], told = msgspec.Raw(_encoder.encode(held)), True
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return _encoder.encode(fields) if told else None


def chunks(event: Event) -> list[Chunk]:
    """Every chunk of an event (a `Body` is one)."""
    if isinstance(event, Body):
        return [parse_chunk(event.raw)]
    return [parse_chunk(payload) for payload in payloads(event.raw) if payload != b"[DONE]"]


def deltas(event: Event) -> Iterator[Delta]:
    """What an event says, in order."""
    for chunk in chunks(event):
        for choice in chunk.choices or ():
            body = choice.delta or choice.message
            if body is not None:
                if reasoning := body.reasoning_content or body.reasoning:
                    yield Reasoning(reasoning, choice.index)
                if body.content:
                    yield Text(body.content, choice.index)
                for call in body.tool_calls or ():
                    function = call.function or _Function()
                    yield ToolCallDelta(call.index, call.id, function.name, function.arguments or "", choice.index)
            if choice.finish_reason:
                yield Finish(choice.finish_reason, choice.index)
        if chunk.usage is not None and chunk.usage.plausible:
            yield chunk.usage


def find_usage(raw: bytes, start: int = 0) -> int:
    """Where a block of JSON may hold a usage that is not null, or -1: a cheap search that spares parsing every chunk.

    Inside a JSON string the quotes would be escaped, so text that speaks of usage does not match.
    """
    at = raw.find(b'"usage":', start)
    if at < 0:
        return -1
    found = _USAGE.search(raw, at)
    return found.start() if found is not None else -1


def encode_frame(payload: bytes) -> bytes:
    return b"data: " + payload + b"\n\n"
