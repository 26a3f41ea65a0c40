"""What a caller has been told of an answer, read from the frames that went out."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import payloads

Body = dict[str, Any]
_decoder = msgspec.json.Decoder(dict[str, Any])

HEAD = ("id", "object", "created", "model", "system_fingerprint", "provider")
"""What every chunk of one answer says alike."""
_SAYING = frozenset({"role", "content", "reasoning_content", "reasoning", "reasoning_details", "thinking_blocks",
                     "tool_calls"})  # fmt: skip
"""Fields of a delta that another model can go on with, or that its own take the place of."""


class Told(msgspec.Struct):
    """An answer so far."""

    begun: bool = False
    head: Body = {}
    """What the chunks say alike; empty where the answer is in another dialect."""
    text: str = ""
    thought: bool = False
    """Whether reasoning was told."""
    calls: int = 0
    """Tool calls, each whole."""
    finish: str | None = None
    usage: bool = False
    """Whether its tokens were told."""
    strange: bool = False
    """Whether something was told that nobody else can go on with."""


def told_in_chat(raw: bytes, before: Told) -> Told:
    """
    Args:
        before: what was told before these frames.

    Raises:
        UpstreamProtocolError: a frame cannot be read.
    """
    told = msgspec.structs.replace(before)
    texts = [before.text]
    for payload in payloads(raw):
        chunk = read(payload)
        if not told.begun:
            told.head = {name: chunk[name] for name in HEAD if name in chunk}
        told.begun = True
        told.usage = told.usage or bool(chunk.get("usage"))
        for choice in chunk.get("choices") or ():
            if not isinstance(choice, dict) or choice.get("index", 0) != 0:
                told.strange = True
                continue
            said = choice.get("delta") or choice.get("message") or {}
            if isinstance(said, dict):
                _take(said, told, texts)
            told.finish = choice.get("finish_reason") or told.finish
    told.text = "".join(texts)
    return told


def _take(said: Body, told: Told, texts: list[str]) -> None:
    for name, value in said.items():
        if not value:
            continue
        if name not in _SAYING:
            told.strange = told.strange or name in ("refusal", "function_call", "audio", "annotations")
        elif name == "content":
            if isinstance(value, str):
                texts.append(value)
            else:
                told.strange = True
        elif name == "tool_calls":
            told.calls = max(told.calls, 1)
        elif name != "role":
            told.thought = True


def read(payload: bytes) -> Body:
    """One chunk.

    Raises:
        UpstreamProtocolError: it is no object.
    """
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UpstreamProtocolError(f"The model's provider sent a chunk that cannot be read: {error}.") from None
