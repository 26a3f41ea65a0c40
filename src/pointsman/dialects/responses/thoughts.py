"""Anthropic's thinking blocks inside a reasoning item of OpenAI's Responses, and out of it again.

A block comes with a signature, without which Anthropic does not take it back. In Responses there is one place for what
a caller keeps and does not read: `encrypted_content`. What comes back in it is read like anything else that a caller
sends: checked for its shape, and searched for private content in the form that it has in the inner form.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Raw

PREFIX = "pointsman-thinking-1."


class Thinking(msgspec.Struct, tag="thinking", forbid_unknown_fields=True):
    thinking: str
    signature: str


class Redacted(msgspec.Struct, tag="redacted_thinking", forbid_unknown_fields=True):
    data: str


Block = Thinking | Redacted
_blocks_decoder = msgspec.json.Decoder(list[Block])
_encoder = msgspec.json.Encoder()


def sealed(blocks: Sequence[Raw], said: str) -> str | None:
    """The blocks as a text to keep; None where they are not whole.

    Args:
        said: the reasoning that was told so far. Some relays tell blocks in pieces, which nobody could give back.
    """
    try:
        read = _blocks_decoder.decode(_encoder.encode(list(blocks)))
    except msgspec.MsgspecError:
        return None
    if not read or "".join(block.thinking for block in read if isinstance(block, Thinking)) != said:
        return None
    return PREFIX + base64.b64encode(_encoder.encode(read)).decode()


def opened(kept: Any) -> list[dict[str, Any]] | Literal[False] | None:
    """The blocks in an `encrypted_content`; None where it is another's, False where it cannot be read."""
    if not isinstance(kept, str) or not kept.startswith(PREFIX):
        return None
    try:
        read = _blocks_decoder.decode(base64.b64decode(kept.removeprefix(PREFIX), validate=True))
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        return False
    blocks: list[dict[str, Any]] = msgspec.to_builtins(read)
    return blocks
