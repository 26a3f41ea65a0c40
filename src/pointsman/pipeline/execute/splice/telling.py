"""How an answer under way is read back and gone on with, in the dialect in which its caller is told it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from pointsman.core.events import Frames, encode_frame
from pointsman.core.request import ChatRequest, Dialect

from .held import Calls, ChatCalls
from .told import Told, told_in_chat

_encoder = msgspec.json.Encoder()


class Telling(Protocol):
    """One dialect. What other models say comes in chat, and is written as a part of what was told."""

    one_thought: bool
    """Whether all reasoning is one text, in which another model's stands behind an empty line."""

    def calls(self) -> Calls:
        """What finds tool calls in frames of this dialect."""

    def read(self, raw: bytes, before: Told) -> Told:
        """What these frames tell beside what was told before. Raises UpstreamProtocolError."""

    def resume(self) -> None:
        """Make ready to write what follows."""

    def written(self, event: Frames) -> Frames:
        """An event of chat in this dialect. Raises UpstreamProtocolError."""

    def end(self) -> Frames | None:
        """What stands behind the last event of another model's answer that ended well."""

    def close(self, told: Told, finish: str | None) -> Frames:
        """The end of an answer as it stands.

        Args:
            finish: in chat's words; None where it was told already.
        """


class InChat:
    """OpenAI's chat, the inner form."""

    one_thought = True

    def calls(self) -> Calls:
        return ChatCalls()

    def read(self, raw: bytes, before: Told) -> Told:
        return told_in_chat(raw, before)

    def resume(self) -> None:
        pass

    def written(self, event: Frames) -> Frames:
        return event

    def end(self) -> Frames | None:
        return None

    def close(self, told: Told, finish: str | None) -> Frames:
        if finish is None:
            return Frames(b"", finish_reason=told.finish)
        chunk = {**told.head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
        return Frames(encode_frame(_encoder.encode(chunk)), finish_reason=finish)


class Unjoined(InChat):
    """A dialect in which answers are not relayed now: one that would be is not gone on with."""

    def read(self, raw: bytes, before: Told) -> Told:
        return Told(begun=True, strange=True)


def telling_for(dialect: Dialect, request: ChatRequest) -> Telling:
    if dialect == "messages":
        from .messages import in_messages

        return in_messages(request)
    if dialect == "responses":
        from .responses import in_responses

        return in_responses()
    return InChat() if dialect == "chat" else Unjoined()
