"""A streamed message that broke off: read back from the events that went out, and gone on with."""

from __future__ import annotations

from pointsman.core.events import Frames, Usage, payloads
from pointsman.dialects.broken import BrokenAnswer

from .answer import MessagesStream
from .answer_blocks import Blocks, event
from .events import FINISH, Event, read_block, read_event

_PLAIN = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})


class BrokenMessage(BrokenAnswer):
    """A message of Anthropic's.

    Args:
        stops: the caller's stop sequences.
    """

    def __init__(self, stops: list[str]) -> None:
        super().__init__()
        self._stops = stops
        self._input_tokens = 0
        self._next = 0
        self._open: tuple[int, str] | None = None
        """Index and type of the block under way."""
        self._stopped = False
        self._stream: MessagesStream | None = None
        self._closing = b""
        """The end of a block that nothing can be added to, before what follows."""

    def read(self, raw: bytes) -> None:
        for payload in payloads(raw):
            self._take(read_event(payload))

    def resume(self) -> None:
        self._stream = MessagesStream.resumed(self._blocks(), input_tokens=self._input_tokens, stops=self._stops)

    def written(self, frames: Frames) -> bytes:
        if not frames.raw or self._stream is None:
            return b""
        closing, self._closing = self._closing, b""
        return closing + self._stream.feed(frames)

    def end(self) -> bytes:
        closing, self._closing = self._closing, b""
        return closing + (self._stream.end() if self._stream is not None else b"")

    def close(self, finish: str | None, usage: Usage | None = None) -> bytes:
        if finish is None:
            return b"" if self._stopped else event("message_stop", {})
        stream = MessagesStream.resumed(
            self._blocks(),
            input_tokens=self._input_tokens,
            stops=self._stops,
            finish=finish,
            output_tokens=usage.billed[1] if usage is not None else 0,
        )
        return self._closing + stream.end()

    def _blocks(self) -> Blocks:
        self._closing = b""
        in_text = self._open is not None and self._open[1] == "text"
        if self._open is not None and not in_text:
            self._closing = event("content_block_stop", {"index": self._open[0]})
        index = self._open[0] if self._open is not None and in_text else self._next
        return Blocks.resumed(index, in_text=in_text, has_calls=self.calls > 0)

    def _take(self, told: Event) -> None:
        if told.type == "message_start" and told.message is not None:
            self.begun = True
            usage = told.message.usage.usage() if told.message.usage is not None else None
            self._input_tokens = usage.prompt_tokens if usage is not None else 0
        elif told.type == "content_block_start":
            block = read_block(told.content_block)
            self._open, self._next = (told.index, block.type), told.index + 1
            self.strange = self.strange or block.type not in _PLAIN
            if block.type == "text" and block.text:
                self.texts.append(block.text)
            self.thought = self.thought or "thinking" in block.type
        elif told.type == "content_block_delta" and told.delta is not None and told.delta.type == "text_delta":
            self.texts.append(told.delta.text or "")
        elif told.type == "content_block_stop":
            self.calls += self._open is not None and self._open[1] == "tool_use"
            self._open = None
        elif told.type == "message_delta" and told.delta is not None and told.delta.stop_reason is not None:
            self.finish = FINISH.get(told.delta.stop_reason, "stop")
        elif told.type == "message_stop":
            self._stopped = True
