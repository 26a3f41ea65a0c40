"""Events of OpenAI's Responses that say nothing: they begin a response or a text, or keep a connection open."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pointsman.dialects.hollow import reader


class _Event(msgspec.Struct):
    type: str = ""
    delta: Any = None
    item: dict[str, Any] = {}
    part: dict[str, Any] = {}


_WORDS = re.compile(rb'"delta":\s?"[^"]')
"""Inside a JSON string the quotes would be escaped."""
_SILENT = frozenset({"response.created", "response.queued", "response.in_progress", "keepalive", "ping"})


def _says_something(event: _Event) -> bool:
    if event.type == "response.output_item.added":
        return event.item.get("type") != "message" or bool(event.item.get("content"))
    if event.type == "response.content_part.added":
        return bool(event.part.get("text") or event.part.get("refusal"))
    if event.type.endswith(".delta"):
        return bool(event.delta)
    return event.type not in _SILENT


hollow = reader(_WORDS, msgspec.json.Decoder(_Event), _says_something)
"""Whether no event of whole frames holds a word, a call, a thought, an end or an error. That a model begins to think
tells a caller something, that it begins a text does not."""
