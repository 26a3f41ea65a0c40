"""Answers of a chat model as completions: the same text, in `text_completion` objects.

What the model thought before it answered has no place there and is left out.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.events import Body, Frames, encode_frame, payloads, read_usage
from pointsman.core.request import NOTHING
from pointsman.dialects.checks import unreadable

REASONS = {"stop": "stop", "length": "length", "content_filter": "content_filter", "tool_calls": "stop"}


class _Alternative(msgspec.Struct):
    token: str
    logprob: float


class _Token(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_Alternative] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None


class _Said(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    logprobs: Any = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    """Types are loose where an answer need not end for them."""

    id: Any = ""
    created: Any = 0
    model: Any = ""
    choices: list[_Choice] = msgspec.field(default_factory=list)
    usage: Raw = NOTHING
    system_fingerprint: Any = None


_decoder = msgspec.json.Decoder(_Chunk)
_encoder = msgspec.json.Encoder()


class TextAnswer:
    """One answer on its way from chat to completions."""

    def __init__(self) -> None:
        self._offsets: dict[int, int] = {}
        """Choice → letters so far, which log-probabilities tell of each token."""

    def frames(self, frames: Frames) -> bytes:
        """The frames of some chat frames; empty where these add nothing."""
        written = b""
        for payload in payloads(frames.raw):
            if payload != b"[DONE]":
                chunk = _read(payload)
                choices = [choice for choice in chunk.choices if _adds(choice)]
                if choices or (chunk.usage is not NOTHING and read_usage(chunk.usage) is not None):
                    written += encode_frame(self._written(chunk, choices))
        return written

    def body(self, body: Body) -> bytes:
        """The completion of a whole chat answer."""
        chunk = _read(body.raw)
        return self._written(chunk, chunk.choices)

    def _written(self, chunk: _Chunk, choices: list[_Choice]) -> bytes:
        made: dict[str, Any] = {
            "id": chunk.id if isinstance(chunk.id, str) else "",
            "object": "text_completion",
            "created": chunk.created if isinstance(chunk.created, int) else 0,
            "model": chunk.model if isinstance(chunk.model, str) else "",
            "choices": [self._choice(choice) for choice in choices],
        }
        if isinstance(chunk.system_fingerprint, str):
            made["system_fingerprint"] = chunk.system_fingerprint
        if chunk.usage is not NOTHING and read_usage(chunk.usage) is not None:
            made["usage"] = chunk.usage
        return _encoder.encode(made)

    def _choice(self, choice: _Choice) -> dict[str, Any]:
        said = choice.delta or choice.message or _Said()
        text = said.content or said.refusal or ""
        at = self._offsets.get(choice.index, 0)
        self._offsets[choice.index] = at + len(text)
        tokens = _tokens(choice.logprobs) if choice.logprobs is not None else None
        reason = choice.finish_reason or ("stop" if choice.message is not None else None)
        return {
            "index": choice.index,
            "text": text,
            "logprobs": legacy_logprobs(tokens, at) if tokens else None,
            "finish_reason": REASONS.get(reason, "stop") if reason else None,
        }


def legacy_logprobs(tokens: list[_Token], at: int) -> dict[str, Any]:
    """Log-probabilities as completions tell them.

    Args:
        at: letters of the answer before the first token.
    """
    offsets = []
    for token in tokens:
        offsets.append(at)
        at += len(token.token)
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [{one.token: one.logprob for one in token.top_logprobs or ()} for token in tokens],
        "text_offset": offsets,
    }


def streamed(body: Body, *, wants_usage: bool) -> Frames:
    """A whole completion as the frames of a streamed one, for callers that asked an upstream to stream that does not.

    Raises:
        UpstreamProtocolError: it is no object.
    """
    try:
        fields = msgspec.json.decode(body.raw, type=dict[str, Raw])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise unreadable(error) from None
    usage = fields.pop("usage", None)
    raw = encode_frame(_encoder.encode(fields))
    if wants_usage and usage is not None:
        raw += encode_frame(_encoder.encode({**fields, "choices": [], "usage": usage}))
    return Frames(raw, body.usage, body.answer_id, body.finish_reason)


def _tokens(logprobs: Any) -> list[_Token] | None:
    try:
        return msgspec.convert(logprobs, _Logprobs).content
    except msgspec.ValidationError:
        return None


def _adds(choice: _Choice) -> bool:
    said = choice.delta or choice.message
    return bool(choice.finish_reason or (said is not None and (said.content or said.refusal)))


def _read(payload: bytes) -> _Chunk:
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise unreadable(error) from None
