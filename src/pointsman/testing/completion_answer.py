"""A scripted answer as OpenAI's older `/v1/completions` gives it: one text, without tool calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from .chat_answer import Answer

_encoder = msgspec.json.Encoder()


def whole(answer: Answer, asked: Mapping[str, Any], usage: Mapping[str, Any] | None, finish: str) -> dict[str, Any]:
    """An unstreamed completion."""
    choices = [
        {"index": index, "text": answer.text, "logprobs": None, "finish_reason": finish} for index in range(answer.n)
    ]
    told = {**_base(answer, asked), "choices": choices}
    return told if usage is None else {**told, "usage": usage}


def frames(answer: Answer, asked: Mapping[str, Any], usage: Mapping[str, Any] | None, finish: str) -> list[bytes]:
    """The events of a streamed completion, `[DONE]` with them."""
    base = _base(answer, asked)
    chunks: list[dict[str, Any]] = []
    for index in range(answer.n):
        said = [*((piece, None) for piece in answer.split(answer.text)), ("", finish)]
        chunks += [
            {**base, "choices": [{"index": index, "text": piece, "logprobs": None, "finish_reason": reason}]}
            for piece, reason in said
        ]
    if usage is not None:
        chunks.append({**base, "choices": [], "usage": usage})
    end = answer.line_end.encode() * 2
    return [*(b"data: " + _encoder.encode(chunk) + end for chunk in chunks), *[b"data: [DONE]" + end] * answer.done]


def _base(answer: Answer, asked: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": answer.id, "object": "text_completion", "created": 1, "model": asked.get("model")}
