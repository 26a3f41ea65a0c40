"""Answers of an OpenAI-compatible upstream, relayed as the bytes that came.

What is looked at, and what it costs: the first frames of a stream are decoded, up to one that says something, because
an answer must be known for one before anything is promised to the caller. A later block that is a chunk of words is
told by one decoding (`words`). Of others only four byte searches are made (`[DONE]`, `"error"`, `"usage":`,
`"finish_reason":"`) and a check that they are UTF-8 and JSON with a list of choices, as clients stumble
over what is not; a frame is decoded when one of the searches hits. The quotes make the searches safe: inside a JSON
string they would be escaped. What the fields hold is passed on as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

import msgspec

from pointsman.core.errors import UpstreamBroken, UpstreamError, UpstreamProtocolError
from pointsman.core.events import Frames, Usage, encode_frame, find_usage, payloads
from pointsman.dialects.checks import check_utf8, finite
from pointsman.dialects.sse import FrameBuffer, first_data, frame_end, hold, objects_only

from .ending import Choices, ending
from .envelope import checked, failure_in, id_in, loosely, usage_in
from .errors import stated_error
from .hollow import hollow
from .strict import strict_decoder
from .words import words_alone

LATEST_ID = 4
"""The last chunk in which an answer's id is looked for: some upstreams begin with one that has none."""
_CALLED = re.compile(rb'"(?:tool_calls|function_call)"\s*:\s*(?:\[\s*)?\{')
"""Not an empty list, and no null: some upstreams tell these in every chunk."""
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"([^"\\]{1,64})"')
_BLANK = re.compile(rb"\n\r?\n")
_ERROR_EVENT = re.compile(rb"^event: ?error\b", re.MULTILINE)
_FAILING = frozenset({"detail", "errors", "message"})
"""What tells of a failure where there are no choices; beside `error`."""


class _Member(msgspec.Struct, gc=False):
    """Any object."""


class _Chunk(msgspec.Struct, gc=False):
    """What every chunk is at least: clients walk through the choices without looking what they are."""

    choices: list[_Member]


_chunk_decoder = msgspec.json.Decoder(_Chunk)
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.json.Encoder()


class ChatStream:
    """Turns blocks of a streamed answer into events.

    Chunks that say nothing are kept back until one says something: until then another model may step in.

    Args:
        wants_usage: whether the caller asked for the usage chunk; else it is withheld, and its figures are told beside
            the bytes all the same.
        several: whether the caller asked for more than one choice.
        translated: whether the chunks are read on their way to the caller, so that one of another shape is an error.
    """

    done = False
    """Whether the upstream has said that its stream is over."""
    failure: UpstreamError | None = None
    """What the upstream reported behind the frames that `feed` gave back last: to be raised after them."""
    _begun = False
    """Whether a chunk has come."""
    _finished = False
    _hollow = True
    """Whether nothing has been said yet."""
    _answer_id: str | None = None
    _looks_for_id = LATEST_ID
    _opens = True
    """Whether words or the id are still looked for, or every chunk is looked at."""
    _words = False
    """Whether the next block may be a frame of words, of which nothing more is looked for."""
    _called = False
    """Whether a tool was called."""
    _left_out = False
    """Whether something came that is no chunk."""
    _first = b""
    """The data of the first chunk."""
    _decoder: msgspec.json.Decoder[Any] = _chunk_decoder
    """Of what every chunk must be."""

    def __init__(self, *, wants_usage: bool, several: bool = False, translated: bool = False) -> None:
        if translated:
            self._decoder = strict_decoder
        self._frames = FrameBuffer()
        self._wants_usage = wants_usage
        self._choices = Choices() if several else None
        self._held = bytearray()
        """What came before anything was said."""

    def says_nothing(self, block: bytes) -> bool:
        """Whether a block that is yet to be fed holds no word of an answer."""
        return self._frames.says_nothing(block, hollow)

    def feed(self, block: bytes) -> Frames | None:
        """The frames that are whole now, or None. They are empty where only usage came.

        Raises:
            UpstreamError: the upstream reported an error, and nothing of the answer is before it in this block.
            UpstreamProtocolError: so is a frame that is not UTF-8 or no chunk; a frame is too large.
        """
        if self._words:
            if words_alone(block):
                return Frames(block)
            self._words = False
        frames = self._frames.feed(block)
        self.done = self._frames.done
        if not frames:
            return None
        apart = frames is block
        if not self._begun:
            payload = first_data(frames)
            if payload is None:  # comments that keep the connection open
                return None
            self._begin(payload)
        try:
            if not frames.isascii():
                check_utf8(frames)
            frames = objects_only(frames, self._decoder)
        except UpstreamProtocolError:
            frames = self._chunks_only(frames)
        usage = finish = answer_id = None
        went_on = False
        if b'"error"' in frames:
            frames = self._before_error(frames)
        at = frames.rfind(b'"finish_reason":"')
        if at < 0:
            at = frames.rfind(b'"finish_reason": "')
        if at >= 0 and (reasons := _FINISH.findall(frames, at) or _FINISH.findall(frames)):
            finish, self._finished = reasons[-1].decode(), True
        opens = self._opens
        if opens:
            self._look(frames)
        if (at := find_usage(frames)) >= 0:
            frames, usage, went_on = self._take_usage(frames, at)
        if opens:
            if self._hollow:
                hold(self._held, frames)
                if self.failure is not None and usage is None:
                    raise self.failure
                return None if usage is None else Frames(b"", usage)
            if self._held:
                frames = bytes(self._held) + frames
                self._held.clear()
            answer_id, self._answer_id = self._answer_id, None
        if not self._called and b"_call" in frames:
            self._called = _CALLED.search(frames) is not None
        if not frames and usage is None:
            if self.failure is not None:
                raise self.failure
            if answer_id is not None:  # to be told with what is told next
                self._answer_id, self._opens = answer_id, True
            return None
        if apart and usage is None and finish is None and not self._opens and not self._called:
            self._words = self._decoder is _chunk_decoder
        return Frames(frames, usage, answer_id, finish, went_on)

    def end(self) -> Frames | None:
        """Say that the upstream has ended its stream; returns the end that is due to the caller where the upstream told
        none.

        Raises:
            UpstreamBroken: it ended too early, or said that it is done and nothing else.
            UpstreamProtocolError: it held no answer.
        """
        partial = self._frames.partial
        self.done = self._frames.done
        if partial:
            raise UpstreamBroken("The model's provider broke off in the middle of a frame.")
        if not self._begun:
            raise UpstreamProtocolError("The model's provider ended its stream without an answer.")
        unended = self._unended()
        if not unended:
            return None
        if not self.done or self._hollow or self._left_out:
            raise UpstreamBroken("The model's provider ended its stream before the answer was finished.")
        return ending(self._first, unended)

    def _unended(self) -> Mapping[int, str]:
        """The choices whose end was not told, each with how it would end."""
        if self._choices is not None and (unended := self._choices.open):
            return unended
        return {} if self._finished else {0: "tool_calls" if self._called else "stop"}

    def _begin(self, payload: bytes) -> None:
        """Take the first data of a stream, which must be a chunk.

        Raises:
            UpstreamError: it states an error.
            UpstreamProtocolError: it is no chunk.
        """
        try:
            envelope = checked(payload)
        except UpstreamProtocolError:
            if (mended := finite(payload)) is None:
                raise
            self._begin(mended)
            return
        if envelope.choices is None and envelope.id is None:
            raise UpstreamProtocolError("The model's provider sent a frame that is not a chunk of an answer.")
        self._begun, self._first = True, payload
        if (answer_id := id_in(envelope)) is not None:
            self._answer_id, self._looks_for_id = answer_id, 0

    def _look(self, frames: bytes) -> None:
        """Look closely at frames of the beginning."""
        if self._hollow:
            self._hollow = hollow(frames)
        if self._looks_for_id:
            for payload in islice(payloads(frames), self._looks_for_id):
                self._looks_for_id -= 1
                envelope = loosely(payload)
                if envelope is not None and (answer_id := id_in(envelope)) is not None:
                    self._answer_id, self._looks_for_id = answer_id, 0
                    break
        if self._choices is not None:
            self._choices.take(frames)
        self._opens = self._hollow or self._looks_for_id > 0 or self._choices is not None

    def _chunks_only(self, frames: bytes) -> bytes:
        """The frames that are chunks, as clients stumble over others; up to one that tells of a failure."""
        kept, start = [], 0
        for end in _ends(frames):
            frame, start = frames[start:end], end
            try:
                check_utf8(frame)
                frame = finite(frame) or frame
                try:
                    kept.append(objects_only(frame, self._decoder))
                except UpstreamProtocolError:
                    kept.append(self._made_chunk(frame))
            except UpstreamError as error:
                self.failure = error
                break
        return b"".join(kept)

    def _made_chunk(self, frame: bytes) -> bytes:
        """A frame without a list of choices as one with an empty list, if it tells the usage; else nothing.

        Raises:
            UpstreamError: it tells of a failure, or cannot be read.
        """
        payload = next(payloads(frame))
        envelope = checked(payload)
        if envelope.choices is not None:
            raise UpstreamProtocolError("The model's provider sent a chunk of an unknown shape.")
        fields = _object_decoder.decode(payload)
        if _ERROR_EVENT.search(frame) or not _FAILING.isdisjoint(fields):
            raise stated_error(msgspec.json.decode(payload))
        if usage_in(envelope) is None:
            self._left_out = True
            return b""
        return encode_frame(_encoder.encode({**fields, "choices": []}))

    def _before_error(self, frames: bytes) -> bytes:
        """The frames before one that states an error; all of them when none does."""
        start = 0
        for end in _ends(frames):
            frame = frames[start:end]
            if b'"error"' in frame:
                for payload in payloads(frame):
                    envelope = loosely(payload)
                    if envelope is not None and (failure := failure_in(envelope, payload)) is not None:
                        self.failure = failure
                        return frames[:start]
            start = end
        return frames

    def _take_usage(self, frames: bytes, at: int) -> tuple[bytes, Usage | None, bool]:
        """The frames to pass on, the last usage in them, and whether more of the answer follows it.

        Args:
            at: where the first usage may be.
        """
        usage: Usage | None = None
        kept = []
        start = 0
        while at >= 0:
            begin = frame_end(frames, start, at) or start
            blank = _BLANK.search(frames, at)
            end = blank.end() if blank is not None else len(frames)
            kept.append(frames[start:begin])
            frame = frames[begin:end]
            envelope = loosely(first_data(frame) or b"")
            if envelope is not None and bytes(envelope.usage) != b"null":
                usage = usage_in(envelope) or usage
                if not envelope.choices and not self._wants_usage:
                    frame = b""
            kept.append(frame)
            start, at = end, find_usage(frames, end)
        kept.append(frames[start:])
        return b"".join(kept), usage, b'"delta"' in kept[-1]


def _ends(frames: bytes) -> list[int]:
    return [found.end() for found in _BLANK.finditer(frames)]
