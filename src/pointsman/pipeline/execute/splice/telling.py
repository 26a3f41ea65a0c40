"""How an answer under way is read back and gone on with, in the dialect in which its caller is told it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from pointsman.core.events import Frames, Usage, encode_frame
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

    def close(self, told: Told, finish: str | None, usage: Usage | None) -> Frames:
        """The end of an answer as it stands.

        Args:
            finish: in chat's words; None where it was told already.
            usage: what it took, where the caller wants to be told in a chunk of its own.
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

    def close(self, told: Told, finish: str | None, usage: Usage | None) -> Frames:
        chunks = []
        if finish is not None:
            chunks.append({**told.head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if usage is not None and not told.usage:
            prompt, output = usage.billed
            tokens = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
            chunks.append({**told.head, "choices": [], "usage": tokens})
        raw = b"".join(encode_frame(_encoder.encode(chunk)) for chunk in chunks)
        return Frames(raw, finish_reason=finish or told.finish)


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
