"""Answers that are relayed in OpenAI's Responses."""

from __future__ import annotations

from typing import Any

from pointsman.core.request import Dialect
from pointsman.dialects.responses.relay import CALLS
from pointsman.dialects.responses.resumed import BrokenResponse

from .relayed import Relayed
from .told import read

_ADDED, _DONE = "response.output_item.added", "response.output_item.done"


class ResponsesCalls:
    """Implements `held.Calls`. A call is an item of the output."""

    dialect: Dialect = "responses"
    alive = b": a tool call is on its way\n\n"
    sign = b'_call"'

    def __init__(self) -> None:
        self._open: set[Any] = set()
        """Indexes of the calls under way."""

    def begins(self, raw: bytes) -> bool:
        return b'"response.output_item.added"' in raw

    def note(self, payload: bytes) -> tuple[bool, bool]:
        event = read(payload)
        kind, item = event.get("type"), event.get("item")
        if kind == _ADDED and isinstance(item, dict) and item.get("type") in CALLS:
            self._open.add(event.get("output_index"))
        elif kind == _DONE:
            self._open.discard(event.get("output_index"))
        elif "response" in event:
            self._open.clear()
        return False, not self._open


def in_responses() -> Relayed:
    return Relayed("responses", BrokenResponse(), ResponsesCalls)
