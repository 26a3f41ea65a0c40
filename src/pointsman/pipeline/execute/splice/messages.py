"""Answers that are relayed in Anthropic's Messages."""

from __future__ import annotations

import msgspec

from pointsman.core.events import Frames
from pointsman.core.request import ChatRequest, Dialect
from pointsman.dialects.messages.answer import PING
from pointsman.dialects.messages.events import read_block, read_event
from pointsman.dialects.messages.resumed import BrokenMessage

from .held import Calls
from .told import Told


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


class InMessages:
    """Implements `telling.Telling`."""

    one_thought = False

    def __init__(self, request: ChatRequest) -> None:
        stop = request.params.stop
        self._message = BrokenMessage([stop] if isinstance(stop, str) else stop or [])

    def calls(self) -> Calls:
        return MessagesCalls()

    def read(self, raw: bytes, before: Told) -> Told:
        message = self._message
        message.read(raw)
        return Told(
            begun=message.begun,
            text="".join(message.texts),
            thought=message.thought,
            calls=message.calls,
            finish=message.finish,
            strange=message.strange,
        )

    def resume(self) -> None:
        self._message.resume()

    def written(self, event: Frames) -> Frames:
        return msgspec.structs.replace(event, raw=self._message.written(event), dialect="messages")

    def end(self) -> Frames | None:
        return Frames(self._message.end(), dialect="messages")

    def close(self, told: Told, finish: str | None) -> Frames:
        raw = self._message.close(finish)
        return Frames(raw, finish_reason=finish or told.finish, dialect="messages")
