"""Events of Anthropic's Messages that say nothing: they begin a message or a text, keep a connection open, or end what
held no word."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pointsman.dialects.hollow import reader


class _Event(msgspec.Struct):
    type: str = ""
    content_block: dict[str, Any] = {}
    delta: dict[str, Any] = {}


_WORDS = re.compile(rb'"(?:text|thinking|partial_json)":\s?"[^"]')
"""Inside a JSON string the quotes would be escaped."""
_SILENT = frozenset({"message_start", "ping", "content_block_stop"})


def _says_something(event: _Event) -> bool:
    if event.type == "content_block_start":
        return event.content_block.get("type") != "text" or bool(event.content_block.get("text"))
    if event.type == "content_block_delta":
        return any(value for name, value in event.delta.items() if name != "type")
    if event.type == "message_delta":
        return any(event.delta.values())
    return event.type not in _SILENT


hollow = reader(_WORDS, msgspec.json.Decoder(_Event), _says_something)
"""Whether no event of whole frames holds a word, a call, a thought, an end or an error. That a model begins to think
tells a caller something, that it begins a text does not."""
