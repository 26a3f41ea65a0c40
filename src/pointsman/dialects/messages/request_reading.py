"""Reading pieces of a Messages body: each is checked, and an error names its path as the caller wrote it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import invalid

Block = dict[str, Raw]
"""An object of the body, its values still as they came."""

T = TypeVar("T")

as_block = msgspec.json.Decoder(Block)
as_blocks = msgspec.json.Decoder(list[Block])
as_text = msgspec.json.Decoder(str)
as_texts = msgspec.json.Decoder(list[str])
as_flag = msgspec.json.Decoder(bool)
as_content = msgspec.json.Decoder(str | list[Block])

CHAT_NAMES = frozenset(
    {
        "role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio", "function_call", "is_error",
        "thinking_blocks", "reasoning_content", "reasoning_items", "block_order",
    }
)  # fmt: skip
"""What messages of the inner form may say by themselves: no field of a caller's may pass for it."""


def read(decoder: msgspec.json.Decoder[T], raw: bytes | Raw, where: str) -> T:
    """A value of the type that the decoder has.

    Raises:
        InvalidRequest: it is of another; names the path.
    """
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        mapped = invalid(error, f"{where}.")
        if mapped.param != f"{where}.":
            raise mapped from None
        raise InvalidRequest(mapped.message.replace(f"`{where}.`", f"`{where}`", 1), param=where) from None


def needed(block: Mapping[str, Raw], name: str, where: str) -> Raw:
    """
    Raises:
        InvalidRequest: the field is absent or null.
    """
    raw = block.get(name)
    if raw is None or is_null(raw):
        param = f"{where}.{name}" if where else name
        raise InvalidRequest(f"Invalid `{param}`: this field is required.", param=param)
    return raw


def text_field(block: Mapping[str, Raw], name: str, where: str) -> Raw:
    """A field that must be a string, as it came: most are long, and none needs to be decoded."""
    raw = needed(block, name, where)
    if first_byte(raw) != b'"':
        read(as_text, raw, f"{where}.{name}")
    return raw


def object_field(block: Mapping[str, Raw], name: str, where: str) -> Raw:
    raw = needed(block, name, where)
    if first_byte(raw) != b"{":
        read(as_block, raw, f"{where}.{name}")
    return raw


def extras(block: Mapping[str, Raw], known: Collection[str], where: str, taken: Collection[str] = ()) -> dict[str, Any]:
    """The fields beside the known ones, to be kept as extension fields; null says nothing and is left out.

    Args:
        taken: names that mean something else in the inner form.

    Raises:
        InvalidRequest: one of these is there.
    """
    found: dict[str, Any] = {}
    for name, raw in block.items():
        if name in known or is_null(raw):
            continue
        if name in taken:
            raise InvalidRequest(f"Invalid `{where}.{name}`: there is no such field here.", param=f"{where}.{name}")
        found[name] = raw
    return found


def first_byte(raw: Raw) -> bytes:
    return bytes(memoryview(raw)[:1])


def is_null(raw: Raw) -> bool:
    return first_byte(raw) == b"n"
