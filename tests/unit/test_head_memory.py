"""A remembered head says what the same bytes would say if they were parsed."""

from __future__ import annotations

import pytest

from pointsman.transport.head import Refusal, RequestHead
from pointsman.transport.head_memory import LONGEST, HeadMemory
from pointsman.transport.limits import ServerLimits

LIMITS = ServerLimits()


def head(
    length: bytes, *lines: bytes, start: bytes = b"POST /a?b=1 HTTP/1.1", name: bytes = b"Content-Length"
) -> bytes:
    return b"\r\n".join([start, b"Host: here", *lines, name + b": " + length, b"X-Last: 1", b"", b""])


def told(found: RequestHead) -> tuple[object, ...]:
    names = [name for name in RequestHead.__slots__ if not name.startswith("_") and name != "same"]
    return tuple(getattr(found, name) for name in names)


SEQUENCES = {
    "lengths": [head(b"1"), head(b"1"), head(b"200"), head(b"0"), head(b"007"), head(b"9" * 18)],
    "other headers": [head(b"5", b"X-Key: a"), head(b"5", b"X-Key: b"), head(b"6", b"X-Key: b"), head(b"6")],
    "other case": [head(b"5"), head(b"5", name=b"content-length"), head(b"6", name=b"content-length"), head(b"6")],
    "other target": [head(b"5"), head(b"5", start=b"POST /b HTTP/1.1"), head(b"5", start=b"PUT /b HTTP/1.0")],
    "no length between": [head(b"5"), b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", head(b"6")],
    "chunked between": [head(b"5"), head(b"chunked", name=b"Transfer-Encoding"), head(b"6")],
    "closes": [head(b"5", b"Connection: close"), head(b"6", b"Connection: close"), head(b"7")],
    "a host of the target": [head(b"5", start=b"POST http://there/ HTTP/1.1")] * 2,
    "a length in another header": [head(b"5", b"X-Copy: content-length: 9"), head(b"6", b"X-Copy: content-length: 9")],
    "a header twice": [head(b"5", b"X-A: 1", b"X-A: 2"), head(b"6", b"X-A: 1", b"X-A: 2")],
    "long": [head(b"5", b"X-Long: " + b"x" * LONGEST), head(b"6", b"X-Long: " + b"x" * LONGEST)],
}


@pytest.mark.parametrize("heads", SEQUENCES.values(), ids=list(SEQUENCES))
def test_each_head_is_read_as_if_it_were_the_first(heads: list[bytes]) -> None:
    memory = HeadMemory(LIMITS)
    for raw in heads:
        assert told(memory.read(raw)) == told(RequestHead(raw, LIMITS))


@pytest.mark.parametrize("length", [b"", b"-1", b"+5", b"5 5", b"5,5", b"0x5", b"9" * 19, b"5\r\nContent-Length: 6"])
def test_what_is_refused_is_refused_behind_a_good_head(length: bytes) -> None:
    memory = HeadMemory(LIMITS)
    memory.read(head(b"5"))
    with pytest.raises(Refusal):
        memory.read(head(length))
    assert memory.read(head(b"6")).content_length == 6


def test_what_is_made_of_a_head_is_kept_for_those_that_say_the_same_alone() -> None:
    memory = HeadMemory(LIMITS)
    first = memory.read(head(b"5", b"Authorization: Bearer a")).same
    assert first is not None
    first.made = "of a"
    assert memory.read(head(b"66", b"Authorization: Bearer a")).same is first
    for other in (
        head(b"5", b"Authorization: Bearer b"),
        head(b"5", b"Authorization: Bearer a", b"X-More: 1"),
        head(b"5", b"Authorization: Bearer a", start=b"POST /c HTTP/1.1"),
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        head(b"5", b"X-Long: " + b"x" * LONGEST),
    ):
        same = memory.read(other).same
        assert same is None or (same is not first and same.made is None)
    assert HeadMemory(LIMITS).read(head(b"5", b"Authorization: Bearer a")).same is not first
