"""Answers that are relayed in Anthropic's Messages."""

from __future__ import annotations

from pointsman.core.request import ChatRequest, Dialect
from pointsman.dialects.messages.answer import PING
from pointsman.dialects.messages.events import read_block, read_event
from pointsman.dialects.messages.resumed import BrokenMessage

from .relayed import Relayed


class MessagesCalls:
    """Implements `held.Calls`. A call is a block, and blocks follow one another."""

    dialect: Dialect = "messages"
    alive = PING
    sign = b'"tool_use"'

    def __init__(self) -> None:
        self._open = False

    def begins(self, raw: bytes) -> bool:
        return b'"content_block_start"' in raw

    def note(self, payload: bytes) -> tuple[bool, bool]:
        event = read_event(payload)
        if event.type == "content_block_start":
            self._open = read_block(event.content_block).type == "tool_use"
        elif event.type in ("content_block_stop", "message_delta", "message_stop"):
            self._open = False
        return False, not self._open


def in_messages(request: ChatRequest) -> Relayed:
    stop = request.params.stop
    return Relayed("messages", BrokenMessage([stop] if isinstance(stop, str) else stop or []), MessagesCalls)
