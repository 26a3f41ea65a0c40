"""Answers of an upstream that speaks OpenAI's Responses, for a caller who speaks them too: looked at in passing.

Of most blocks only a few byte searches are made, and a check that they are JSON; a frame is decoded when a search hits.
The quotes make the searches safe: inside a JSON string they would be escaped.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pointsman.core.errors import UpstreamBroken, UpstreamError, UpstreamProtocolError
from pointsman.core.events import Body, CompletionDetails, Frames, PromptDetails, Usage, decode_answer, payloads
from pointsman.dialects.checks import check_utf8, finite, unreadable
from pointsman.dialects.openai.envelope import MAX_ID
from pointsman.dialects.openai.errors import stated_error
from pointsman.dialects.sse import FrameBuffer, hold, readable

from .hollow import hollow

BLANK = re.compile(rb"\n\r?\n")
_BEGINS = ("response.created", "response.queued", "response.in_progress")
_ENDS = ("response.completed", "response.incomplete", "response.failed")
_LOOKED_AT = re.compile(rb'"type"\s*:\s*"(?:error|response\.(?:completed|incomplete|failed))"')
CALLS = ("function_call", "custom_tool_call", "tool_search_call")
"""Types of items that the caller is to act on."""
_FINISH = {"max_output_tokens": "length", "content_filter": "content_filter"}


class _Counts(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int | None = None
    input_tokens_details: PromptDetails | None = None
    output_tokens_details: CompletionDetails | None = None

    def usage(self) -> Usage | None:
        usage = Usage(
            prompt_tokens=self.input_tokens,
            completion_tokens=self.output_tokens,
            total_tokens=self.total_tokens,
            prompt_tokens_details=self.input_tokens_details,
            completion_tokens_details=self.output_tokens_details,
        )
        return usage if usage.plausible else None


class _Item(msgspec.Struct):
    type: str = ""


class _Why(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: Any = None
    object: str | None = None
    status: str | None = None
    output: list[_Item] | None = None
    usage: _Counts | None = None
    error: Any = None
    incomplete_details: _Why | None = None

    @property
    def answer_id(self) -> str | None:
        return self.id if isinstance(self.id, str) and 0 < len(self.id) <= MAX_ID else None

    @property
    def finish(self) -> str:
        """In chat's words."""
        if self.status == "incomplete":
            why = self.incomplete_details.reason if self.incomplete_details is not None else None
            return _FINISH.get(why or "", "length")
        return "tool_calls" if any(item.type in CALLS for item in self.output or ()) else "stop"


class _Event(msgspec.Struct):
    type: str = ""
    response: _Response | None = None
    error: Any = None
    code: Any = None
    message: Any = None

    @property
    def failure(self) -> UpstreamError | None:
        if self.type == "error":
            return stated_error(self.error or {"code": self.code, "message": self.message})
        if self.type == "response.failed":
            return stated_error((self.response.error if self.response is not None else None) or {})
        return None


_event_decoder = msgspec.json.Decoder(_Event)
_response_decoder = msgspec.json.Decoder(_Response)


class ResponsesRelay:
    """Turns blocks of a streamed answer into events that hold the same bytes.

    Events that say nothing are kept back until one says something: an upstream that finds that it is overloaded says so
    right behind them, and until then another model may step in.
    """

    def __init__(self) -> None:
        self._frames = FrameBuffer()
        self._held = bytearray()
        self._answer_id: str | None = None
        self._begun = self._spoke = False
        self.done = False
        self.failure: UpstreamError | None = None
        """What the upstream reported behind the frames that `feed` gave back last: to be raised after them."""

    def says_nothing(self, block: bytes) -> bool:
        """Whether a block that is yet to be fed holds no word of an answer."""
        return self._frames.says_nothing(block, hollow)

    def feed(self, block: bytes) -> Frames | None:
        """The frames that are whole now, or None.

        Raises:
            UpstreamError: the upstream reported an error, and nothing of the answer is before it.
            UpstreamProtocolError: not UTF-8, no JSON, or a frame too large; the first does not begin a response.
        """
        frames = self._frames.feed(block)
        if not frames or self.done:
            return None
        frames, self.failure = readable(frames)
        usage: Usage | None = None
        finish: str | None = None
        if not self._begun or _LOOKED_AT.search(frames) is not None:
            frames, usage, finish = self._look(frames)
        if not self._spoke and not self.done and hollow(frames):
            hold(self._held, frames)
            frames = b""
        if not frames:
            if self.failure is not None:
                raise self.failure
            return None
        if self._held:
            frames = bytes(self._held) + frames
            self._held.clear()
        answer_id = None if self._spoke else self._answer_id
        self._spoke = True
        return Frames(frames, usage, answer_id, finish, dialect="responses")

    def end(self) -> None:
        """Say that the upstream has ended its stream.

        Raises:
            UpstreamBroken: it ended too early.
            UpstreamProtocolError: it held no answer.
        """
        if self.done:
            return
        if self._frames.partial:
            raise UpstreamBroken("The model's provider broke off in the middle of a frame.")
        if not self._begun:
            raise UpstreamProtocolError("The model's provider ended its stream without an answer.")
        raise UpstreamBroken("The model's provider ended its stream before the answer was finished.")

    def _look(self, frames: bytes) -> tuple[bytes, Usage | None, str | None]:
        """The frames up to an error, or to the end with it; and what they tell. What is wrong behind them is the
        failure."""
        start = 0
        for found in BLANK.finditer(frames):
            frame, begin, start = frames[start : found.end()], start, found.end()
            payload = next(payloads(frame), None)
            if payload is None or (self._begun and _LOOKED_AT.search(frame) is None):
                continue
            try:
                event = _read(payload)
                if event.failure is not None:
                    raise event.failure
                if not self._begun and (event.type not in _BEGINS or event.response is None):
                    raise UpstreamProtocolError("The model's provider sent an event before its response began.")
            except UpstreamError as error:
                self.failure = error
                return frames[:begin], None, None
            if event.response is None:
                continue
            if not self._begun:
                self._begun, self._answer_id = True, event.response.answer_id
            elif event.type in _ENDS:
                self.done, self.failure = True, None
                counts = event.response.usage
                return frames[:start], counts.usage() if counts is not None else None, event.response.finish
        return frames, None, None


def relay_response(raw: bytes) -> Body:
    """An unstreamed answer, as it came.

    Raises:
        UpstreamError: it states an error.
        UpstreamProtocolError: it is not what the API promises.
    """
    check_utf8(raw)
    try:
        response = _whole(raw)
    except UpstreamProtocolError:
        if (mended := finite(raw)) is None:
            raise
        return relay_response(mended)
    if response.error or response.status == "failed":
        raise stated_error(response.error or {})
    if response.object != "response" or response.output is None or response.status not in ("completed", "incomplete"):
        raise UpstreamProtocolError("The model's provider answered with JSON that is no finished response.")
    usage = response.usage.usage() if response.usage is not None else None
    return Body(raw, usage, response.answer_id, response.finish, dialect="responses")


def _whole(raw: bytes) -> _Response:
    try:
        return decode_answer(_response_decoder, raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise unreadable(error) from None


def _read(payload: bytes) -> _Event:
    try:
        return decode_answer(_event_decoder, payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise unreadable(error) from None
