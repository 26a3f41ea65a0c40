"""Chunks that say nothing: some upstreams keep a connection open with them, and begin every answer with one."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pointsman.dialects.hollow import reader


class _Chunk(msgspec.Struct):
    choices: list[dict[str, Any]] | None = None
    error: Any = None


_WORDS = re.compile(rb'"(?:content|text|reasoning_content)": ?"[^"]')
"""Inside a JSON string the quotes would be escaped."""


def _tells(chunk: _Chunk) -> bool:
    return bool(chunk.error) or any(map(_says_something, chunk.choices or ()))


def _says_something(choice: dict[str, Any]) -> bool:
    delta = choice.pop("delta", None) or {}
    choice.pop("index", None)
    if not isinstance(delta, dict):
        return True
    delta.pop("role", None)
    return any(map(_holds_something, choice.values())) or any(map(_holds_something, delta.values()))


def _holds_something(value: Any) -> bool:
    """Log-probabilities of no token are an object of empty lists."""
    return any(value.values()) if isinstance(value, dict) else bool(value)


hollow = reader(_WORDS, msgspec.json.Decoder(_Chunk), _tells)
"""Whether a block is made of whole frames, and no chunk among them holds text, reasoning, a call, a finish or anything
else of an answer that is neither empty nor null, but for a role."""
