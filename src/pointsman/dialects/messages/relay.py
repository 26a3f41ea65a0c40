"""Answers of an Anthropic upstream for a caller who speaks Messages too: the bytes that came, looked at in passing.

Of most blocks only four byte searches are made, and a check that they are JSON; a frame is decoded when a search hits.
The quotes make the searches safe: inside a JSON string they would be escaped.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pointsman.core.errors import UpstreamError, UpstreamProtocolError
from pointsman.core.events import Body, Frames, Usage, payloads
from pointsman.dialects.checks import finite
from pointsman.dialects.sse import FrameBuffer, hold, readable

from .events import FINISH, Counts, failure_of, id_of, read_answer, read_event
from .hollow import hollow
from .stream import ended

_BLANK = re.compile(rb"\n\r?\n")
_LOOKED_AT = (b'"message_start"', b'"message_delta"', b'"message_stop"', b'"error"')


class MessagesRelay:
    """Turns blocks of a streamed answer into events that hold the same bytes.

    Events that say nothing are kept back until one says something: an upstream that finds that it is overloaded says so
    right behind them, and until then another model may step in.
    """

    def __init__(self) -> None:
        self._frames = FrameBuffer()
        self._held = bytearray()
        self._begun = False
        self._spoke = False
        self._counts: Counts | None = None
        self._answer_id: str | None = None
        self._uncounted = False
        """Whether the frames looked at last lack a usage that clients take for granted."""
        self.done = False
        self.failure: UpstreamError | None = None
        """What the upstream reported behind the frames that `feed` gave back last: to be raised after them."""

    @property
    def untold(self) -> Frames | None:
        """What the prompt took, of an answer that failed before a word of it; None where that was not told, or was
        passed on with the first words."""
        usage = self._counts.usage() if self._counts is not None and not self._spoke else None
        return Frames(b"", usage, dialect="messages") if usage is not None else None

    def says_nothing(self, block: bytes) -> bool:
        """Whether a block that is yet to be fed holds no word of an answer."""
        return self._frames.says_nothing(block, hollow)

    def feed(self, block: bytes) -> Frames | None:
        """The frames that are whole now, or None.

        Raises:
            UpstreamError: the upstream reported an error, and nothing of the answer is before it.
            UpstreamProtocolError: not UTF-8 or JSON; the first frame does not begin a message; a frame is too large.
        """
        frames = self._frames.feed(block)
        if not frames or self.done:
            return None
        frames, self.failure = readable(frames)
        usage: Usage | None = None
        finish: str | None = None
        if not self._begun or any(word in frames for word in _LOOKED_AT):
            frames, usage, finish = self._look(frames)
            if self._uncounted:
                frames, self._uncounted = _counted(frames), False
        if not self._spoke and not self.done and hollow(frames):
            hold(self._held, frames)
            frames = b""
        if not frames:
            if self.failure is not None:
                raise self.failure
            return None
        answer_id = None
        went_on = False
        if not self._spoke:
            frames = bytes(self._held) + frames
            self._held.clear()
            answer_id = self._answer_id
            if usage is None and self._counts is not None:
                usage = self._counts.usage()  # of the prompt: all that is known of an answer that is left half-way
                went_on = b'"content_block_delta"' in frames
        self._spoke = True
        return Frames(frames, usage, answer_id, finish, went_on, dialect="messages")

    def end(self) -> None:
        """As `MessagesStream.end`."""
        ended(self._frames, begun=self._begun, done=self.done)

    def _look(self, frames: bytes) -> tuple[bytes, Usage | None, str | None]:
        """The frames up to an error or the end, and what they tell. What is wrong behind them is the failure."""
        usage: Usage | None = None
        finish: str | None = None
        start = 0
        for found in _BLANK.finditer(frames):
            frame, begin, start = frames[start : found.end()], start, found.end()
            payload = next(payloads(frame), None)
            if payload is None or (self._begun and not any(word in frame for word in _LOOKED_AT)):
                continue
            try:
                event = read_event(payload)
                if event.type == "error":
                    raise failure_of(event.error)
                if not self._begun and event.type != "ping" and (event.type != "message_start" or not event.message):
                    raise UpstreamProtocolError("The model's provider sent an event before its message began.")
            except UpstreamError as error:
                self.failure = error
                return frames[:begin], usage, finish
            if event.type == "ping":
                continue
            if not self._begun and event.message is not None:
                self._begun = True
                self._answer_id, self._counts = id_of(event.message), event.message.usage
                self._uncounted = self._counts is None
            elif event.type == "message_delta":
                self._uncounted = self._uncounted or event.usage is None
                if event.usage is not None:
                    self._counts = event.usage if self._counts is None else self._counts.merged(event.usage)
                if event.delta is not None and event.delta.stop_reason is not None:
                    finish = FINISH.get(event.delta.stop_reason, "stop")
                    usage = self._counts.usage() if self._counts is not None else None
            elif event.type == "message_stop":
                self.done, self.failure = True, None
                return frames[:start], usage, finish
        return frames, usage, finish


def relay_message(raw: bytes) -> Body:
    """An unstreamed answer, as it came.

    Raises:
        UpstreamError: it states an error.
        UpstreamProtocolError: it is not what the API promises.
    """
    try:
        answer = read_answer(raw)
    except UpstreamProtocolError:
        if (mended := finite(raw)) is None:
            raise
        return relay_message(mended)
    usage = answer.usage.usage() if answer.usage is not None else None
    finish = FINISH.get(answer.stop_reason or "end_turn", "stop")
    return Body(raw, usage, id_of(answer), finish, dialect="messages")


def _tells(usage: Any) -> bool:
    try:
        return bool(usage) and msgspec.convert(usage, Counts) is not None
    except msgspec.ValidationError:
        return False


def _counted(frames: bytes) -> bytes:
    """The frames with a usage of nothing where one is due: Anthropic's own client stumbles over events without."""
    mended = []
    for payload in payloads(frames):
        event: dict[str, Any] = msgspec.json.decode(payload or b"{}")
        kind = event.get("type")
        holder = event.get("message") if kind == "message_start" else event
        if kind in ("message_start", "message_delta") and isinstance(holder, dict) and not _tells(holder.get("usage")):
            holder["usage"] = {**({"input_tokens": 0} if holder is not event else {}), "output_tokens": 0}
            payload = msgspec.json.encode(event)
        if payload:
            mended.append(b"event: " + str(kind).encode() + b"\ndata: " + payload + b"\n\n")
    return b"".join(mended)
