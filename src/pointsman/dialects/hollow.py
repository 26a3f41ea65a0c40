"""Whether events of a stream say nothing, of which each dialect knows its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from pointsman.core.events import payloads

T = TypeVar("T")


def reader(
    words: re.Pattern[bytes], decoder: msgspec.json.Decoder[T], says_something: Callable[[T], bool]
) -> Callable[[bytes], bool]:
    """What tells whether no event of whole frames says anything. Frames that cannot be read do.

    Args:
        words: what stands in most frames that hold a word, and in no other: these are not decoded.
        says_something: of an event, as it is decoded.
    """
    found, decode = words.search, decoder.decode

    def hollow(frames: bytes) -> bool:
        if found(frames) is not None:
            return False
        try:
            return not any(map(says_something, map(decode, payloads(frames))))
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return False

    return hollow
