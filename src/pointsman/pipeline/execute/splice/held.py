"""Tool calls of a stream, told only when they are whole.

A call that was told in part could neither be taken back nor gone on with by another model. So its frames are held from
its beginning on, and let go when the next call begins, or the answer ends. While much is held, comments keep the
connection from passing for dead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from pointsman.core.events import Frames, payloads
from pointsman.core.request import Dialect

from .told import Body, read

EVERY = 40
"""Events held between two signs of life: a second or two of a model that writes."""
MOST = 8 * 1024 * 1024
"""Bytes that are held; a call that is longer is told as it comes."""

_BLANK = re.compile(rb"\n\r?\n")
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Calls(Protocol):
    """Finds the tool calls among the frames of a dialect."""

    dialect: Dialect
    alive: bytes
    """A frame that says nothing."""
    sign: bytes
    """What stands in every frame in which a call begins."""

    def begins(self, raw: bytes) -> bool:
        """Whether a call begins in these frames, in which `sign` stands."""

    def note(self, payload: bytes) -> tuple[bool, bool]:
        """Look at a frame while calls are held.

        Returns:
            Whether the calls before this frame are whole, so that they may go out; and whether those with it are.

        Raises:
            UpstreamProtocolError: it cannot be read.
        """


class HeldCalls:
    """The calls of one attempt."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._held: list[Frames] = []
        self._size = 0
        self._since = 0
        """Events since one went out."""
        self._through = False

    @property
    def sign(self) -> bytes:
        """Without this no call begins."""
        return self._calls.sign

    @property
    def holding(self) -> bool:
        return bool(self._held)

    @property
    def raw(self) -> bytes:
        """The frames that are held."""
        return b"".join(event.raw for event in self._held)

    def pass_on(self, event: Frames) -> Frames | None:
        """What may go out now. Raises UpstreamProtocolError."""
        if self._through or not (self._held or self._may_begin(event.raw)):
            return event
        told: list[Frames] = []
        for part in _split(event):
            told += self._take(part)
        if told:
            self._since = 0
            return merged(told)
        self._since += 1
        return Frames(self._calls.alive, dialect=self._calls.dialect) if self._since % EVERY == 0 else None

    def release(self) -> Frames | None:
        """Everything that is held, when the stream has ended well."""
        return merged(self._let_go()) if self._held else None

    def _take(self, part: Frames) -> list[Frames]:
        """A single frame: what goes out now."""
        payload = next(payloads(part.raw), None)
        if payload is None or not (self._held or self._may_begin(part.raw)):
            return [part]
        before, behind = self._calls.note(payload)
        told = self._let_go() if before else []
        self._held.append(part)
        self._size += len(part.raw)
        if self._size > MOST:
            self._through = True
        return told + self._let_go() if behind or self._through else told

    def _may_begin(self, raw: bytes) -> bool:
        return self._calls.sign in raw and self._calls.begins(raw)

    def _let_go(self) -> list[Frames]:
        held, self._held, self._size = self._held, [], 0
        return held


class ChatCalls:
    """Of `chat.completion.chunk` objects. The pieces of several calls may come in turn."""

    dialect: Dialect = "chat"
    alive = b": a tool call is on its way\n\n"
    sign = b'"tool_calls"'
    _begins = re.compile(rb'"tool_calls"\s*:\s*\[\s*\{')

    def __init__(self) -> None:
        self._arguments: dict[tuple[int, str], list[str]] = {}
        """Of the calls that are held."""
        self._ids: dict[int, str] = {}
        """Index → the id under which a call was told last: some upstreams count every call as the first."""

    def begins(self, raw: bytes) -> bool:
        return self._begins.search(raw) is not None

    def note(self, payload: bytes) -> tuple[bool, bool]:
        before = finished = False
        for choice in read(payload).get("choices") or ():
            if isinstance(choice, dict):
                finished = finished or bool(choice.get("finish_reason"))
                for call in _calls_of(choice):
                    before = self._add(*call) or before
        if finished:
            self._arguments.clear()
        return before, finished

    def _add(self, index: int, identifier: str, arguments: str) -> bool:
        """Whether another call begins, and those before it are whole."""
        if identifier:
            self._ids[index] = identifier
        key = (index, self._ids.get(index, ""))
        whole = key not in self._arguments and bool(self._arguments) and all(map(_whole, self._arguments.values()))
        if whole:
            self._arguments.clear()
        self._arguments.setdefault(key, []).append(arguments)
        return whole


def _calls_of(choice: Body) -> Iterator[tuple[int, str, str]]:
    """Index, id and arguments of the pieces of calls in a choice."""
    said = choice.get("delta") or choice.get("message") or {}
    for place, call in enumerate(said.get("tool_calls") or ()):
        if isinstance(call, dict):
            index, function = call.get("index"), call.get("function") or {}
            arguments = function.get("arguments") if "custom" not in call else "{}"  # free text is whole at any length
            yield index if isinstance(index, int) else place, str(call.get("id") or ""), str(arguments or "")


def _whole(arguments: Sequence[str]) -> bool:
    """Whether these pieces are an object; of a call of which nothing has come, more may follow."""
    try:
        _object_decoder.decode("".join(arguments))
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return False
    return True


def _split(event: Frames) -> list[Frames]:
    """An event as events of one frame each; what stands beside the bytes goes with the last."""
    ends = [found.end() for found in _BLANK.finditer(event.raw)]
    if len(ends) < 2:
        return [event]
    starts = [0, *ends[:-1]]
    *first, last = (event.raw[start:end] for start, end in zip(starts, ends, strict=True))
    return [*(Frames(raw, dialect=event.dialect) for raw in first), msgspec.structs.replace(event, raw=last)]


def merged(events: Sequence[Frames]) -> Frames:
    """Several events as one."""
    if len(events) == 1:
        return events[0]
    backwards = events[::-1]
    return Frames(
        b"".join(event.raw for event in events),
        next((event.usage for event in backwards if event.usage is not None), None),
        next((event.answer_id for event in backwards if event.answer_id is not None), None),
        next((event.finish_reason for event in backwards if event.finish_reason is not None), None),
        any(event.went_on for event in events),
        events[0].dialect,
        next((event.note for event in backwards if event.note is not None), None),
    )
