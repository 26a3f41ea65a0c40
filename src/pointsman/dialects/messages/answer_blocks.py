"""Content blocks of a streamed answer, one after another.

Chat's deltas of several tool calls may come interleaved, and Anthropic's blocks follow each other. So one block is
open, and what belongs to others waits. A call makes room once its arguments are whole JSON; text and thinking do at
once, for what comes later of them is a block of its own.
"""

from __future__ import annotations

from collections import deque
from typing import Any
from uuid import uuid4

import msgspec

from .answer_chunks import Call, Thinking

_encoder = msgspec.json.Encoder()
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])

Delta = tuple[str, str]
"""A delta's type and its text."""
_FIELDS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}


def event(name: str, fields: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _encoder.encode({"type": name, **fields}))


def is_object(text: str) -> bool:
    try:
        _object_decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return False
    return True


def new_tool_id() -> str:
    return f"toolu_{uuid4().hex[:24]}"


class _Block:
    __slots__ = ("begun", "complete", "kind", "looked_at", "said", "signed", "start", "waiting")

    def __init__(self, kind: str, start: dict[str, Any]) -> None:
        self.kind = kind
        self.start = start
        self.waiting: list[Delta] = []
        self.begun = False
        self.said: list[str] = []
        """A call's arguments, or thinking."""
        self.signed = False
        self.looked_at = 0
        """Pieces of the arguments when it was last looked whether they are whole."""
        self.complete = False

    def may_close(self) -> bool:
        if self.kind != "tool_use":
            return True
        if not self.complete and len(self.said) != self.looked_at:
            self.looked_at = len(self.said)
            self.complete = is_object("".join(self.said))
        return self.begun and self.complete


class Blocks:
    """Takes what an answer says in the order in which it comes, and gives back the events to write."""

    def __init__(self) -> None:
        self._queue: deque[_Block] = deque()
        """The first is open."""
        self._calls: dict[int, _Block] = {}
        self._index = 0
        self._thought = ""
        """All thinking so far."""
        self.has_calls = False
        self.written = 0
        """UTF-8 bytes of all deltas."""

    @classmethod
    def resumed(cls, index: int, *, in_text: bool, has_calls: bool) -> Blocks:
        """The blocks of an answer of which some have been written.

        Args:
            index: of the next block; or of the last one, when that is a text which goes on.
        """
        blocks = cls()
        blocks._index = index
        blocks.has_calls = has_calls
        if in_text:
            text = _Block("text", {"type": "text", "text": ""})
            text.begun = True
            blocks._queue.append(text)
        return blocks

    def text(self, text: str) -> bytes:
        if not self._queue or self._queue[-1].kind != "text":
            self._queue.append(_Block("text", {"type": "text", "text": ""}))
        return self._give(self._queue[-1], ("text_delta", text))

    def thinking(self, piece: Thinking) -> bytes:
        if piece.type == "redacted_thinking":
            self._queue.append(_Block("redacted", {"type": "redacted_thinking", "data": piece.data or ""}))
            return self._advance()
        last = self._queue[-1] if self._queue else None
        # Some upstreams tell a signed block whole once its text has been told in pieces.
        repeated = None
        if piece.signature and last is not None and last.kind == "thinking" and not last.signed:
            repeated = "".join(last.said)
        if piece.signature and piece.thinking and piece.thinking in self._thought and piece.thinking != repeated:
            return b""  # its block is closed: a signature cannot follow it
        if last is None or last.kind != "thinking" or (last.signed and piece.thinking):
            last = _Block("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            self._queue.append(last)
        written = b""
        if piece.thinking and piece.thinking != repeated:
            last.said.append(piece.thinking)
            self._thought += piece.thinking
            written = self._give(last, ("thinking_delta", piece.thinking))
        if piece.signature:
            last.signed = True
            written += self._give(last, ("signature_delta", piece.signature))
        return written

    def call(self, call: Call) -> bytes:
        name = call.function.name if call.function is not None else None
        block = self._calls.get(call.index)
        if block is None or (call.id and name and block.start["id"] != call.id and block.start["name"]):
            # Some upstreams give every call the same index, and each an id of its own.
            block = _Block("tool_use", {"type": "tool_use", "id": call.id or "", "name": name or "", "input": {}})
            self._calls[call.index] = block
            self._queue.append(block)
            self.has_calls = True
        elif not block.begun:
            block.start["id"] = block.start["id"] or call.id or ""
            block.start["name"] = block.start["name"] or name or ""
        arguments = call.function.arguments if call.function is not None else None
        if not arguments:
            return self._advance()
        block.said.append(arguments)
        return self._give(block, ("input_json_delta", arguments))

    def end(self) -> bytes:
        """Everything that still waits, and the end of the last block."""
        written = self._advance()
        while self._queue:
            written += self._begin(self._queue[0]) + self._close()
        return written

    def _give(self, block: _Block, delta: Delta) -> bytes:
        block.waiting.append(delta)
        return self._advance()

    def _advance(self) -> bytes:
        written = b""
        while self._queue:
            first = self._queue[0]
            if first.kind != "tool_use" or first.start["name"]:
                written += self._begin(first)
            if len(self._queue) == 1 or not first.may_close():
                break
            written += self._close()
        return written

    def _begin(self, block: _Block) -> bytes:
        """Start it, if that is not done, and write what waits of it."""
        written = []
        if not block.begun:
            block.begun = True
            if block.kind == "tool_use":
                block.start["id"] = block.start["id"] or new_tool_id()
            written.append(event("content_block_start", {"index": self._index, "content_block": block.start}))
        for kind, text in block.waiting:
            delta = {"type": kind, _FIELDS[kind]: text}
            written.append(event("content_block_delta", {"index": self._index, "delta": delta}))
            self.written += len(text.encode("utf-8", "replace"))
        block.waiting.clear()
        return b"".join(written)

    def _close(self) -> bytes:
        self._queue.popleft()
        self._index += 1
        return event("content_block_stop", {"index": self._index - 1})
