"""Server-sent events, framed but not parsed.

An upstream's stream arrives in blocks that end anywhere. `FrameBuffer` gives back whole frames as the bytes that came,
so that they can be relayed without looking inside.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import payloads

from .checks import check_utf8, finite

MAX_FRAME = 16 * 1024 * 1024
"""Bytes. A frame holds one chunk of an answer; the largest honest ones carry a tool call's whole arguments."""
MAX_HELD = 1024 * 1024
"""Bytes of frames that say nothing yet and are kept back."""
MAX_HOLLOW = 4096
"""Bytes; a frame that is longer already says something, even where its end has not come."""

_BOM = b"\xef\xbb\xbf"
_BEGINNINGS = (b"data:", b"event:", b":")
"""Of streams without a byte order mark."""
_DONE_LINE = re.compile(rb"(?:\A|(?<=\n))data: ?\[DONE\][ \t]*(?=\r?\n|\Z)")


class _Object(msgspec.Struct):
    """Any JSON object; nothing of it is kept."""


_object_decoder = msgspec.json.Decoder(_Object)
_BLANK = re.compile(rb"\n\r?\n")
_DATA = re.compile(rb"^data:[ \t]*[^\s]", re.MULTILINE)
_FIELD = re.compile(rb"^[^:\r\n]", re.MULTILINE)
"""A line that is no comment."""


def objects_only(frames: bytes, decoder: msgspec.json.Decoder[Any] = _object_decoder) -> bytes:
    """Whole frames, once it is sure that they hold JSON objects, as relayed clients would stumble over anything else: a
    frame of one line takes half a microsecond. Comments stay; frames that are no comment and have no data do not, as
    OpenAI's clients read them all the same.

    Args:
        decoder: of what the objects are to be, at least.

    Raises:
        UpstreamProtocolError: one holds something else.
    """
    bare = False
    try:
        if frames.startswith(b"data: {") and frames.find(b"\n", 7) == len(frames) - 2:  # most blocks are one frame
            decoder.decode(frames[6:])
            return frames
        if _one_line_at(frames) and _are_objects(frames, decoder):
            return frames
        for frame in frames.split(b"\n\n"):
            begin = _one_line_at(frame)
            if begin and frame.find(b"\n", begin) < 0:
                decoder.decode(frame[begin:])
                continue
            for payload in payloads(frame):
                decoder.decode(payload)
            bare = bare or any(map(_is_bare, _BLANK.split(frame)))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UpstreamProtocolError(f"The model's provider sent a frame that cannot be read: {error}.") from None
    return _with_data(frames) if bare else frames


def readable(frames: bytes) -> tuple[bytes, UpstreamProtocolError | None]:
    """The frames as `objects_only` gives them, up to the first that it refuses or that is not UTF-8; and what is wrong
    with that one."""
    try:
        check_utf8(frames)
        return objects_only(frames), None
    except UpstreamProtocolError:
        pass
    kept, start = [], 0
    for found in _BLANK.finditer(frames):
        frame, start = frames[start : found.end()], found.end()
        try:
            check_utf8(frame)
            kept.append(objects_only(finite(frame) or frame))
        except UpstreamProtocolError as error:
            return b"".join(kept), error
    return b"".join(kept), None


def hold(held: bytearray, frames: bytes) -> None:
    """Keep frames that say nothing behind those that were kept before.

    Raises:
        UpstreamProtocolError: that is too much.
    """
    held += frames
    if len(held) > MAX_HELD:
        raise UpstreamProtocolError(f"The model's provider sent more than {MAX_HELD} bytes and said nothing.")


def _is_bare(frame: bytes) -> bool:
    return _FIELD.search(frame) is not None and _DATA.search(frame) is None


def _with_data(frames: bytes) -> bytes:
    kept, start = [], 0
    for found in _BLANK.finditer(frames):
        frame, start = frames[start : found.end()], found.end()
        if not _is_bare(frame):
            kept.append(frame)
    return b"".join(kept)


def _are_objects(frames: bytes, decoder: msgspec.json.Decoder[Any]) -> bool:
    """Whether frames of one line each hold one JSON object each, read in one go; False where it takes a closer look."""
    if not (frames.startswith(b"data: {") and frames.endswith(b"\n\n")):
        return False
    lines = frames[6:-2].split(b"\n\ndata: ")
    if b"\n" in b"".join(lines):
        return False
    try:
        return len(decoder.decode_lines(b"\n".join(lines))) == len(lines)  # an object over two frames would count once
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False


def _one_line_at(frame: bytes) -> int:
    """Where the first line of data begins, behind the event's name where there is one; 0 where there is something else,
    or no object."""
    if frame.startswith(b"data: {"):
        return 6
    line = frame.find(b"\n") + 1 if frame.startswith(b"event:") else 0
    return line + 6 if line and frame.startswith(b"data: {", line) else 0


def first_data(frames: bytes) -> bytes | None:
    """The data of the first of some whole frames that has any."""
    begin = _one_line_at(frames)
    if begin and (end := frames.find(b"\n", begin)) == frames.find(b"\n\n", begin):
        return frames[begin:end]
    return next(payloads(frames), None)


def frame_end(data: bytes | bytearray, start: int = 0, stop: int | None = None) -> int:
    """The index just behind the last blank line between `start` and `stop`; 0 when there is none.

    Lines end in LF or CRLF, mixed as they like; a lone CR is not taken for a line's end.
    """
    plain = data.rfind(b"\n\n", start, stop)
    crlf = data.rfind(b"\n\r\n", max(plain, start), stop)
    return crlf + 3 if crlf >= 0 else plain + 2 if plain >= 0 else 0


class FrameBuffer:
    """Blocks of bytes in, blocks of whole frames out.

    A byte order mark at the start is dropped. `[DONE]` and whatever follows it is dropped, and `done` tells that it
    came. However the stream is split into blocks, the frames are the same, and so are their bytes (but for surplus
    blank lines between them).
    """

    __slots__ = ("_limit", "_started", "_tail", "done")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._tail = bytearray()
        self._started = False
        self.done = False

    def feed(self, block: bytes) -> bytes:
        """The frames that are whole now; empty when none is.

        Raises:
            UpstreamProtocolError: a frame is larger than the limit.
        """
        if self.done:
            return b""
        tail = self._tail
        if not tail and block.endswith(b"\n\n") and (self._started or block.startswith(_BEGINNINGS)):
            self._started = True  # most blocks are whole frames: nothing is copied
            at = block.find(b"[DONE]")
            return block if at < 0 else self._until_done(block, at)
        searched = len(tail)
        tail += block
        if not self._started:
            if len(tail) < len(_BOM) and _BOM.startswith(tail):
                return b""
            self._started = True
            if tail.startswith(_BOM):
                del tail[: len(_BOM)]
            searched = 0
        end = frame_end(tail, max(0, searched - 2))
        frames = bytes(tail[:end])
        del tail[:end]
        if len(tail) > self._limit:
            raise UpstreamProtocolError(f"The model's provider sent a frame of more than {self._limit} bytes.")
        return self._until_done(frames, frames.find(b"[DONE]")) if frames else b""

    def says_nothing(self, block: bytes, hollow: Callable[[bytes], bool]) -> bool:
        """Whether a block that is yet to be fed makes no frame whole but such as say nothing.

        Args:
            hollow: whether whole frames say nothing.
        """
        if not self._tail and block.endswith(b"\n\n"):  # most blocks
            return hollow(block)
        if len(self._tail) > MAX_HOLLOW:
            return False
        data = bytes(self._tail) + block
        end = frame_end(data)
        return len(data) - end <= MAX_HOLLOW and hollow(data[:end])

    @property
    def partial(self) -> bool:
        """Whether the stream, if it ended now, would end inside a frame.

        A last `[DONE]` without its blank line is whole enough.
        """
        if not self._tail:
            return False
        rest = bytes(self._tail).strip()
        if _DONE_LINE.match(rest):
            self.done = True
        return bool(rest) and not self.done

    def _until_done(self, frames: bytes, at: int) -> bytes:
        """The frames before the one that ends the stream; all of them when none does.

        Args:
            at: where `[DONE]` stands first; negative: nowhere.
        """
        while at >= 0:
            line = frames.rfind(b"\n", 0, at) + 1
            if _DONE_LINE.match(frames, line):
                self.done = True
                self._tail.clear()
                return frames[: frame_end(frames, 0, line)]
            at = frames.find(b"[DONE]", frames.find(b"\n", at))  # in a later line: frames end in a line feed
        return frames
