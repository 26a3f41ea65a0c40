"""What Anthropic's Messages API says in its answers, as far as it is read, and what it means in OpenAI's words."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.errors import UpstreamError, UpstreamProtocolError
from pointsman.core.events import CompletionDetails, PromptDetails, Usage, decode_answer
from pointsman.core.request import NOTHING
from pointsman.dialects.checks import check_utf8, unreadable
from pointsman.dialects.openai.errors import stated_error

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
"""`stop_reason` → `finish_reason`; one that is not here ends an answer all the same."""

MAX_ID = 200


class Written(msgspec.Struct):
    ephemeral_1h_input_tokens: int | None = None


class Thought(msgspec.Struct):
    thinking_tokens: int | None = None


class Counts(msgspec.Struct):
    """Of the prompt, three kinds of tokens that add up: new, read from a cache, written to it."""

    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation: Written | None = None
    output_tokens_details: Thought | None = None

    def merged(self, later: Counts) -> Counts:
        """These with what a later report says; it leaves out what has not changed."""
        names = self.__struct_fields__
        return Counts(**{name: getattr(self, name) if (new := getattr(later, name)) is None else new for name in names})

    def usage(self) -> Usage | None:
        """In OpenAI's words: cached tokens are part of the prompt. None when these are no counts."""
        if self.input_tokens is None and self.output_tokens is None:
            return None
        cached, written = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        prompt, output = (self.input_tokens or 0) + cached + written, self.output_tokens or 0
        thought = self.output_tokens_details.thinking_tokens if self.output_tokens_details is not None else None
        hour = self.cache_creation.ephemeral_1h_input_tokens if self.cache_creation is not None else None
        usage = Usage(
            prompt_tokens=prompt,
            completion_tokens=output,
            total_tokens=prompt + output,
            prompt_tokens_details=PromptDetails(cached, written, hour or 0),
            completion_tokens_details=CompletionDetails(thought) if thought is not None else None,
        )
        return usage if usage.plausible else None


class Block(msgspec.Struct):
    """A content block, whole or as it begins."""

    type: str = ""
    id: str | None = None
    name: str | None = None
    text: str | None = None
    input: Raw = NOTHING


class Details(msgspec.Struct):
    explanation: str | None = None


class Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_details: Details | None = None


class Answer(msgspec.Struct):
    """A message, whole or as it begins."""

    id: Any = None
    type: str = ""
    model: str | None = None
    content: list[Raw] | None = None
    stop_reason: str | None = None
    stop_details: Details | None = None
    usage: Counts | None = None
    error: Any = None


class Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: Answer | None = None
    content_block: Raw = NOTHING
    delta: Delta | None = None
    usage: Counts | None = None
    error: Any = None


_event_decoder = msgspec.json.Decoder(Event)
_answer_decoder = msgspec.json.Decoder(Answer)
_block_decoder = msgspec.json.Decoder(Block)
_encoder = msgspec.json.Encoder()


def read_event(payload: bytes) -> Event:
    """
    Raises:
        UpstreamProtocolError: it is no event.
    """
    try:
        return decode_answer(_event_decoder, payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise unreadable(error) from None


def read_answer(raw: bytes) -> Answer:
    """A whole unstreamed answer.

    Raises:
        UpstreamError: it states an error.
        UpstreamProtocolError: it is no message.
    """
    check_utf8(raw)
    try:
        answer = decode_answer(_answer_decoder, raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise unreadable(error) from None
    if answer.error:
        raise failure_of(answer.error)
    if answer.type != "message" or answer.content is None:
        raise UpstreamProtocolError("The model's provider answered with JSON that is no message.")
    return answer


def read_block(raw: Raw) -> Block:
    """
    Raises:
        UpstreamProtocolError: it is no content block.
    """
    try:
        block = _block_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise unreadable(error) from None
    if block.type == "tool_use" and not (block.id and block.name and bytes(block.input)[:1] in b"{n"):
        raise UpstreamProtocolError("The model's provider sent a tool call without an id, a name or an object.")
    return block


def failure_of(error: Any) -> UpstreamError:
    return stated_error(error or {})


def id_of(answer: Answer) -> str | None:
    return answer.id if isinstance(answer.id, str) and 0 < len(answer.id) <= MAX_ID else None


def usage_fields(usage: Usage) -> dict[str, Any]:
    """A usage as OpenAI writes it; what was written to a cache under OpenRouter's name for it."""
    details = usage.prompt_tokens_details or PromptDetails()
    fields: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {
            "cached_tokens": details.cached_tokens or 0,
            "cache_write_tokens": details.cache_write_tokens or 0,
        },
    }
    if usage.completion_tokens_details is not None:
        fields["completion_tokens_details"] = {"reasoning_tokens": usage.completion_tokens_details.reasoning_tokens}
    return fields
