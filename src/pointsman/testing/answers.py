"""What a scripted upstream plays: good answers, and every way that answers go wrong.

Some faults wrap an answer (`Reset`, `HangUp`, `Truncated`, `Stall`, `Drip`), others replace it (`Status`, `Page`,
`Stream`, `Raw`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from .chat_answer import GEMINI, Answer, SeenRequest, Step, Tokens, ToolUse, Wire
from .messages_answer import error_body

__all__ = [
    "Answer",
    "Drip",
    "HangUp",
    "Page",
    "Raw",
    "Reset",
    "SeenRequest",
    "Stall",
    "Status",
    "Step",
    "Stream",
    "Tokens",
    "ToolUse",
    "Truncated",
    "Wire",
]

_encoder = msgspec.json.Encoder()
_USUAL = Answer()


@dataclass(frozen=True, slots=True)
class Status:
    """An error status, with an error body in the shape of the API that is asked unless one is given."""

    code: int
    body: bytes | None = None
    retry_after: float | str | None = None
    """Seconds, or an HTTP date."""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        body = self.body
        if body is None:
            body = _error(self.code, request.path.split("?")[0])
        headers = {"content-type": self.content_type, **self.headers}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        await wire.head(self.code, headers, length=len(body))
        await wire.body(body)


@dataclass(frozen=True, slots=True)
class Page:
    """A whole body of any content and type: HTML of a captive portal, JSON that is no answer, invalid UTF-8."""

    content: bytes
    content_type: str = "text/html; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await wire.head(self.status, {"content-type": self.content_type, **self.headers}, length=len(self.content))
        await wire.body(self.content)


@dataclass(frozen=True, slots=True)
class Stream:
    """A streamed body of the given blocks, each in a write of its own, ended properly."""

    blocks: Sequence[bytes]
    content_type: str = "text/event-stream"
    delay: float = 0.0

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await wire.head(200, {"content-type": self.content_type}, length=None)
        for block in self.blocks:
            await wire.body(block)
            await asyncio.sleep(self.delay)
        await wire.end()


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes in place of a whole HTTP answer, and then an orderly close: for what is not HTTP at all."""

    data: bytes

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await wire.write(self.data)
        wire.hang_up()


_MESSAGES_ERRORS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def _error(code: int, path: str) -> bytes:
    message = f"scripted {code}"
    if path.endswith("/messages"):
        return error_body(_MESSAGES_ERRORS.get(code, "invalid_request_error"), message)
    if GEMINI in path:
        return _encoder.encode([{"error": {"code": code, "message": message, "status": "SCRIPTED"}}])
    return _encoder.encode({"error": {"message": message, "type": "scripted", "code": None}})


class _Full(Exception):
    """The allowed number of body bytes has been written."""


class _Filter:
    """A wire that passes everything on to another one."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def write(self, data: bytes) -> None:
        await self._wire.write(data)

    async def head(self, status: int, headers: Mapping[str, str], *, length: int | None) -> None:
        await self._wire.head(status, headers, length=length)

    async def body(self, data: bytes) -> None:
        await self._wire.body(data)

    async def end(self) -> None:
        await self._wire.end()

    async def until_closed(self) -> None:
        await self._wire.until_closed()

    def reset(self) -> None:
        self._wire.reset()

    def hang_up(self) -> None:
        self._wire.hang_up()


class _Cut(_Filter):
    """Passes on a body up to so many bytes, then raises `_Full`."""

    def __init__(self, wire: Wire, after_bytes: int) -> None:
        super().__init__(wire)
        self._left = after_bytes

    async def body(self, data: bytes) -> None:
        if len(data) >= self._left:
            if self._left:
                await self._wire.body(data[: self._left])
            raise _Full
        self._left -= len(data)
        await self._wire.body(data)


class _Dripping(_Filter):
    def __init__(self, wire: Wire, size: int, delay: float) -> None:
        super().__init__(wire)
        self._size = size
        self._delay = delay

    async def body(self, data: bytes) -> None:
        for start in range(0, len(data), self._size):
            await self._wire.body(data[start : start + self._size])
            await asyncio.sleep(self._delay)


async def _play_cut(answer: Step, after_bytes: int | None, request: SeenRequest, wire: Wire) -> None:
    if after_bytes is None:
        return
    with contextlib.suppress(_Full):
        await answer.play(request, _Cut(wire, after_bytes))


@dataclass(frozen=True, slots=True)
class Reset:
    """A TCP reset: before any byte of the answer (`after_bytes=None`), or after so many bytes of its body."""

    after_bytes: int | None = None
    answer: Step = _USUAL

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await _play_cut(self.answer, self.after_bytes, request, wire)
        wire.reset()


@dataclass(frozen=True, slots=True)
class HangUp:
    """An orderly close in the middle: as `Reset`, with a FIN. The HTTP framing is left unfinished."""

    after_bytes: int | None = None
    answer: Step = _USUAL

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await _play_cut(self.answer, self.after_bytes, request, wire)
        wire.hang_up()


@dataclass(frozen=True, slots=True)
class Truncated:
    """A stream whose HTTP framing ends well after so many bytes of its body: half a frame, no finish, no `[DONE]`."""

    after_bytes: int
    answer: Answer = _USUAL

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await _play_cut(self.answer, self.after_bytes, request, wire)
        await wire.end()


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing (`after_bytes=None`), or so many bytes of the body, and then silence until the client leaves."""

    after_bytes: int | None = None
    answer: Step = _USUAL

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await _play_cut(self.answer, self.after_bytes, request, wire)
        await wire.until_closed()


@dataclass(frozen=True, slots=True)
class Drip:
    """An answer whose body comes `size` bytes at a time, `delay` seconds apart."""

    answer: Step = _USUAL
    size: int = 7
    delay: float = 0.001

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await self.answer.play(request, _Dripping(wire, self.size, self.delay))
