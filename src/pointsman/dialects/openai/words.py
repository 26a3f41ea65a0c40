"""Most blocks of a stream are one chunk that holds words and nothing that a relay must act on: told in one look."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

_Empty = Annotated[list[Any], Meta(max_length=0)]
_Unsaid = Literal[""] | None


class _Said(msgspec.Struct, gc=False):
    tool_calls: _Empty | None = None
    function_call: None = None
    finish_reason: _Unsaid = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: _Unsaid = None


class _Words(msgspec.Struct, gc=False):
    choices: list[_Choice]
    finish_reason: _Unsaid = None
    usage: None = None


_decoder = msgspec.json.Decoder(_Words)


def words_alone(block: bytes) -> bool:
    """Whether a block is one frame of one line, UTF-8, that holds a chunk with a list of choices and tells of no
    usage, finish, call or error. One decoding finds all of it; where it fails, a closer look says what it is."""
    if (
        not block.startswith(b"data: {")
        or not block.endswith(b"\n\n")
        or block.count(b"\n") != 2
        or b'"error"' in block
    ):
        return False
    try:
        _decoder.decode(block[6:])
        return block.isascii() or bool(block.decode())
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
