"""A right answer, caught before it is sent, so that faults can be put into it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pointsman.testing.answers import Answer, SeenRequest, Wire

Kind = Literal["chat", "completion", "responses", "messages", "ollama"]
"""The dialect of an upstream: which of its frames and errors a fault has to write."""


def kind_of(path: str) -> Kind:
    """The dialect that is asked by a path."""
    path = path.partition("?")[0]
    if path.startswith("/api/"):
        return "ollama"
    if path.endswith("/messages"):
        return "messages"
    if path.endswith("/responses"):
        return "responses"
    return "chat" if path.endswith("/chat/completions") else "completion"


@dataclass
class Good:
    """An answer as it would be sent: its head, and its body in the blocks of its frames.

    `blocks` is the whole body in one where the answer is not streamed.
    """

    kind: Kind
    path: str
    text: str
    pieces: list[str] = field(default_factory=list)
    """Of the text, one a frame."""
    status: int = 200
    """Another one where the upstream would not take the request."""
    streamed: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    blocks: list[bytes] = field(default_factory=list)
    pace: float = 0.0
    """Seconds before each block."""

    async def open(self, wire: Wire, *, content_type: str | None = None, longer: int = 0) -> None:
        """The head.

        Args:
            content_type: another than the answer's own.
            longer: bytes that the head promises beyond the body's; only where its length is told.
        """
        headers = self.headers if content_type is None else {**self.headers, "content-type": content_type}
        length = None if self.streamed else sum(map(len, self.blocks)) + longer
        await wire.head(self.status, headers, length=length)

    async def send(self, wire: Wire, blocks: list[bytes] | None = None) -> None:
        """The body, or other blocks in its place, each in a write of its own."""
        for block in self.blocks if blocks is None else blocks:
            if self.pace:
                await asyncio.sleep(self.pace)
            await wire.body(block)

    async def close(self, wire: Wire) -> None:
        """The end that the head announced."""
        await wire.end()

    def until_byte(self, share: float) -> list[bytes]:
        """The blocks up to somewhere inside one of them, at least a byte and never the last one: `share` in [0, 1)."""
        left = 1 + int(share * (sum(map(len, self.blocks)) - 2))
        cut: list[bytes] = []
        for block in self.blocks:
            cut.append(block[:left])
            left -= len(block)
            if left <= 0:
                break
        return cut

    def until_frame(self, share: float) -> list[bytes]:
        """Whole frames, at least the first and never one that finishes the answer."""
        most = self._last_open()
        return self.blocks[: 1 + int(share * most)]

    def until_first_words(self) -> list[bytes]:
        """Everything up to the first piece of the text, or half of the frames where no text is told, or of the body
        where it is not streamed."""
        if not self.streamed:
            return self.until_byte(0.5)
        start = self.text[:3].encode()
        at = next((index for index, block in enumerate(self.blocks) if start and start in block), None)
        return self.until_frame(0.5) if at is None else self.blocks[: at + 1]

    def frame(self, told: bytes, *, event: str = "message") -> bytes:
        """Bytes in the framing of the stream, or bare where there is none."""
        if not self.streamed:
            return told
        if self.kind == "ollama":
            return told + b"\n"
        named = b"event: " + event.encode() + b"\n" if self.kind in ("messages", "responses") else b""
        return named + b"data: " + told + b"\n\n"

    def _last_open(self) -> int:
        """How many frames stand before the one that says why the answer ends, but for the first."""
        marks = (b'"finish_reason":"', b'"message_delta"', b'"done":true', b'"response.completed"')
        ends = (index for index, block in enumerate(self.blocks) if any(mark in block for mark in marks))
        return max(next(ends, len(self.blocks) - 1) - 1, 0)


async def caught(answer: Answer, request: SeenRequest) -> Good:
    """What the answer would send to the request."""
    good = Good(kind_of(request.path), request.path, answer.text, answer.split(answer.text))
    await answer.play(request, _Catching(good))
    return good


class _Catching:
    """A wire that keeps what is written."""

    def __init__(self, good: Good) -> None:
        self._good = good

    async def write(self, data: bytes) -> None:
        raise NotImplementedError("answers write heads and bodies")

    async def head(self, status: int, headers: Mapping[str, str], *, length: int | None) -> None:
        self._good.status = status
        self._good.headers = headers
        self._good.streamed = length is None

    async def body(self, data: bytes) -> None:
        if data:
            self._good.blocks.append(data)

    async def end(self) -> None: ...

    async def until_closed(self) -> None: ...

    def reset(self) -> None: ...

    def hang_up(self) -> None: ...
