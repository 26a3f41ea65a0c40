"""What a chunk of a chat answer, or a whole one, says that has a form in Anthropic's Messages."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import MOST_TOKENS, Usage, decode_answer


class Thinking(msgspec.Struct):
    """A piece of Anthropic's thinking, as its provider hands it on."""

    type: str = "thinking"
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    """Of redacted thinking: encrypted."""


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: Function | None = None


class Said(msgspec.Struct):
    """A delta, or the message of a whole answer."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking_blocks: list[Thinking] | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None

    def thoughts(self) -> list[Thinking]:
        """Anthropic's own pieces where there are any: the plain text beside them says the same."""
        if self.thinking_blocks:
            return self.thinking_blocks
        text = self.reasoning_content or self.reasoning
        return [Thinking(thinking=text)] if text else []


class Choice(msgspec.Struct):
    index: int = 0
    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None
    stop_reason: Any = None
    """vLLM names the stop sequence here that it met."""
    stop_sequence: Any = None


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class Tokens(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Tokens | None = None


_decoder = msgspec.json.Decoder(Chunk)
_usage_decoder = msgspec.json.Decoder(Usage)


def read_chunk(payload: bytes) -> Chunk:
    """
    Raises:
        UpstreamProtocolError: it is not a chunk.
    """
    try:
        return decode_answer(_decoder, payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UpstreamProtocolError(f"The model's provider sent a chunk that cannot be read: {error}.") from None


def usage_of(tokens: Tokens) -> dict[str, Any] | None:
    """Anthropic's `usage`: its `input_tokens` leaves out what was read from a cache or written to one. None when the
    figures can be no counts."""
    usage: Usage = msgspec.convert(msgspec.to_builtins(tokens), Usage) if _complete(tokens) else Usage()
    details = tokens.prompt_tokens_details or PromptDetails()
    written = details.cache_creation_tokens or details.cache_write_tokens or 0
    if not _complete(tokens) or not usage.plausible or not 0 <= written <= MOST_TOKENS:
        return None
    prompt, output = usage.billed
    found: dict[str, Any] = {
        "input_tokens": max(0, prompt - usage.cached_tokens - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": output,
    }
    completion = tokens.completion_tokens_details
    if completion is not None and completion.reasoning_tokens:
        found["output_tokens_details"] = {"thinking_tokens": min(output, max(0, completion.reasoning_tokens))}
    return found


def _complete(tokens: Tokens) -> bool:
    return tokens.prompt_tokens is not None and tokens.completion_tokens is not None


STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def stop_of(finish: str | None, *, calls: bool, refused: bool, met: str | None) -> dict[str, str | None]:
    """`stop_reason` and `stop_sequence`.

    Args:
        finish: chat's reason; None when the upstream gave none.
        calls: whether the answer calls a tool; some upstreams then say `stop` all the same.
        refused: whether it holds a refusal.
        met: the stop sequence that ended it, where the upstream names it.
    """
    reason = STOP_REASONS.get(finish or "stop", "end_turn")
    if reason in ("end_turn", "tool_use"):
        reason = "tool_use" if calls else "refusal" if refused else "stop_sequence" if met is not None else "end_turn"
    return {"stop_reason": reason, "stop_sequence": met if reason == "stop_sequence" else None}


def stop_met(choice: Choice, stops: list[str]) -> str | None:
    """The caller's stop sequence that the upstream says it has met."""
    return next((said for said in (choice.stop_sequence, choice.stop_reason) if said in stops), None)
