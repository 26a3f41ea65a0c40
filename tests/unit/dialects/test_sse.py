"""Frames come out whole and unchanged, however the bytes were split."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import payloads
from pointsman.dialects.sse import FrameBuffer, objects_only

END = st.sampled_from([b"\n", b"\r\n"])
TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=30).map(str.encode)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """One frame: lines of several kinds, ends of both kinds, a blank line."""
    lines = draw(st.lists(st.tuples(st.sampled_from([b"data: ", b"data:", b": ", b"event: "]), TEXT), min_size=1))
    lines = [(kind, text) for kind, text in lines if text.strip() != b"[DONE]"] or [(b": ", b"ping")]
    return b"".join(kind + text + draw(END) for kind, text in lines) + draw(END)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


CUTS = st.lists(st.integers(min_value=0, max_value=10_000), max_size=40)


@given(st.lists(frames(), max_size=6).map(b"".join), CUTS, st.booleans())
def test_any_split_gives_the_same_bytes(stream: bytes, cuts: list[int], bom: bool) -> None:
    buffer = FrameBuffer()
    blocks = split((b"\xef\xbb\xbf" if bom else b"") + stream, cuts)
    assert b"".join(buffer.feed(block) for block in blocks) == stream
    assert not buffer.partial
    assert not buffer.done


@given(st.lists(frames(), max_size=4).map(b"".join), st.binary(max_size=40), CUTS, END, END)
def test_done_ends_the_stream_and_what_follows_is_dropped(
    stream: bytes, after: bytes, cuts: list[int], end: bytes, blank: bytes
) -> None:
    buffer = FrameBuffer()
    given = stream + b"data: [DONE]" + end + blank + after
    assert b"".join(buffer.feed(block) for block in split(given, cuts)) == stream
    assert buffer.done
    assert not buffer.partial


PIECES = st.sampled_from([b"\n", b"\r", b"\r\n", b"data:", b"data: [DONE]", b"x", b": c", b"\xff", b"\xef\xbb\xbf"])


@given(st.lists(PIECES, max_size=30).map(b"".join), CUTS)
def test_any_bytes_at_all_give_the_same_frames(data: bytes, cuts: list[int]) -> None:
    whole, pieces = FrameBuffer(), FrameBuffer()
    together = whole.feed(data)
    parts = b"".join(pieces.feed(block) for block in split(data, cuts))
    assert list(payloads(parts)) == list(payloads(together))
    assert (whole.partial, whole.done) == (pieces.partial, pieces.done)


@given(st.lists(frames(), min_size=1, max_size=4).map(b"".join), CUTS)
def test_a_cut_frame_is_partial_and_withheld(stream: bytes, cuts: list[int]) -> None:
    buffer = FrameBuffer()
    out = b"".join(buffer.feed(block) for block in split(stream + b'data: {"cho', cuts))
    assert out == stream
    assert buffer.partial


def test_every_block_comes_out_as_soon_as_it_is_whole() -> None:
    buffer = FrameBuffer()
    assert buffer.feed(b"data: 1\n\ndata: 2") == b"data: 1\n\n"
    assert buffer.feed(b"\n") == b""
    assert buffer.feed(b"\ndata: 3\r\n\r") == b"data: 2\n\n"
    assert buffer.feed(b"\n") == b"data: 3\r\n\r\n"


def test_done_inside_text_is_text() -> None:
    buffer = FrameBuffer()
    frame = b'data: {"content":"data: [DONE]\\n"}\n\n'
    assert buffer.feed(frame) == frame
    assert not buffer.done


def test_done_with_fields_before_it_goes_whole() -> None:
    buffer = FrameBuffer()
    assert buffer.feed(b"data: 1\n\nevent: end\ndata: [DONE]\n\n") == b"data: 1\n\n"
    assert buffer.done


def test_a_last_done_without_its_blank_line_counts() -> None:
    buffer = FrameBuffer()
    assert buffer.feed(b"data: 1\n\ndata: [DONE]\n") == b"data: 1\n\n"
    assert not buffer.partial
    assert buffer.done


def test_a_frame_beyond_the_limit_is_refused() -> None:
    buffer = FrameBuffer(limit=100)
    buffer.feed(b"data: " + b"x" * 90)
    with pytest.raises(UpstreamProtocolError, match="more than 100 bytes"):
        buffer.feed(b"x" * 10)


def test_a_large_frame_in_small_blocks_is_not_quadratic() -> None:
    buffer = FrameBuffer()
    block = b"x" * 4096
    out = buffer.feed(b"data: ") + b"".join(buffer.feed(block) for _ in range(3000)) + buffer.feed(b"\n\n")
    assert len(out) == 6 + 3000 * 4096 + 2


def holds_objects(stream: bytes) -> bool:
    """The rule itself, without short cuts."""
    try:
        return all(isinstance(msgspec.json.decode(payload), dict) for payload in payloads(stream) if payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False


LINES = st.sampled_from([b'data: {"a":1}', b'data:{"a":1}', b"data: {", b'data: {"a":[1,', b"data: }", b"data: 1",
                         b"data: ", b"data:", b"event: x", b": c", b"retry: 1", b""])  # fmt: skip


@given(st.lists(st.tuples(LINES, END), max_size=9).map(lambda lines: b"".join(line + end for line, end in lines)), END)
def test_frames_are_checked_alike_however_they_lie_together(stream: bytes, end: bytes) -> None:
    stream += end + end
    try:
        objects_only(stream)
    except UpstreamProtocolError:
        assert not holds_objects(stream)
    else:
        assert holds_objects(stream)


@pytest.mark.parametrize(
    "frames",
    [
        b'data: {"a":1}\n\ndata: {"b":2}\n\n',
        b'data: {"a":1}\n\n: a comment\n\ndata: {"b":2}\n\n',
        b'data: {"a":1}\n\nevent: x\ndata: {"b":2}\n\n',
        b'data: {"a":\ndata: 1}\n\ndata: {"b":2}\n\n',
        b'data: {"a":"\\n\\ndata: {"}\r\n\r\ndata: {"b":2}\n\n',
    ],
)
def test_several_frames_of_objects_pass(frames: bytes):
    assert objects_only(frames) == frames


@pytest.mark.parametrize("bare", [b"data:\n\n", b"data:  \r\n\r\n", b"event: x\n\n", b"retry: 1\n\n", b"id: 1\n\n"])
def test_frames_without_data_are_left_out_and_comments_stay(bare: bytes):
    kept = b': a comment with data: in it\n\ndata: {"a":1}\n\n'
    crlf = kept.replace(b"\n", b"\r\n")
    assert objects_only(bare) == b""
    assert objects_only(kept + bare + kept) == kept + kept
    assert objects_only(bare + crlf + bare) == crlf


@pytest.mark.parametrize(
    "frames",
    [
        b'data: {"a":1}\n\ndata: {"b":\n\n',
        b'data: {"a":[1,\n\ndata: {"b":2}]}\n\n',  # one object over two frames
        b'data: {"a":1},{"b":[1,\n\ndata: {"c":2}]}\n\n',  # two objects, but not one each
        b'data: {"a":1}\n\ndata: [1]\n\n',
        b'data: {"a":1}\n\ndata: {"b":2} x\n\n',
    ],
)
def test_a_frame_among_several_that_is_no_object_is_found(frames: bytes):
    with pytest.raises(UpstreamProtocolError):
        objects_only(frames)
