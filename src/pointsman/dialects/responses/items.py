"""A conversation as OpenAI's Responses tell it, item by item, as chat messages.

In chat a turn of the model is one message: reasoning, text and calls that follow one another are gathered until a
result or another speaker comes. Chat wants a call's results right behind it, so text between the two joins the message
of the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec

from pointsman.core.errors import InvalidRequest

from .names import TOOL_SEARCH, flat_name
from .parts import content, extras, plain_name, wrong
from .thoughts import opened
from .tools import Tools

Body = dict[str, Any]
_encoder = msgspec.json.Encoder()

HOSTED = frozenset(
    {
        *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
        *("mcp_list_tools", "mcp_call", "mcp_approval_request", "mcp_approval_response"),
    }
)
"""What OpenAI's own tools did: kept for an upstream that speaks Responses. What the model said of it stays for all."""
_CHATS = {
    "role",
    "content",
    "tool_calls",
    "tool_call_id",
    "function",
    "custom",
    "index",
    "reasoning_items",
    "item_order",
}
"""Names that what is made of an item has for itself; no item of the API has them beside."""
_MESSAGE = frozenset({"type", "id", "status", *_CHATS})
_CALL = frozenset({"type", "id", "status", "call_id", "name", "namespace", "arguments", "input", "output", "tools",
                   "caller", "execution", "async", "created_by", *_CHATS})  # fmt: skip
"""Fields that are read, or that only keep the items in order; others stay with what is made of the item."""
ROLES = ("user", "system", "developer", "assistant")


class Messages:
    """Chat messages under construction."""

    def __init__(self, tools: Tools) -> None:
        self.made: list[Body] = []
        self._tools = tools
        self._open: Body | None = None
        """What the model said last, to which more may be added."""
        self._order: list[str] = []
        """What it is made of."""
        self.hosted: dict[str, str] = {}
        """Where the first item of each type stands that a tool of the provider's own made."""

    def extend(self, items: Sequence[Any], path: str) -> None:
        """Take in items that stand at `path`.

        Raises:
            InvalidRequest: an item of a type that has no inner form, or that cannot be read.
        """
        for index, item in enumerate(items):
            self._add(item, f"{path}[{index}]")
        self._close()
        for message in self.made:
            if message["role"] == "assistant":  # some upstreams want the field, others a text where nothing is called
                message.setdefault("content", None if "tool_calls" in message else "")

    def _add(self, item: Any, path: str) -> None:
        if not isinstance(item, dict):
            raise wrong(path, "an object is expected")
        kind = item.get("type") or ("message" if "role" in item else None)
        if kind == "message":
            self._message(item, path)
        elif kind == "reasoning":
            blocks = opened(item.get("encrypted_content"))
            if blocks is False:
                raise wrong(f"{path}.encrypted_content", "it cannot be read")
            if blocks is None:
                self._kept(item)
            else:
                self._thoughts(blocks)
        elif isinstance(kind, str) and kind in HOSTED:
            self.hosted.setdefault(kind, f"{path} {kind}")
            self._kept(item)
        elif kind == "function_call":
            name = _flat(item, path)
            arguments = _text(item, "arguments", path)
            self._call(item, path, {"type": "function", "function": {"name": name, "arguments": arguments}})
        elif kind == "custom_tool_call":
            name = _flat(item, path)
            self._call(item, path, {"type": "custom", "custom": {"name": name, "input": _text(item, "input", path)}})
        elif kind == "tool_search_call" and item.get("call_id"):
            written = _encoder.encode(item.get("arguments")).decode()
            self._call(item, path, {"type": "function", "function": {"name": TOOL_SEARCH, "arguments": written}})
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._result(item, path, content(item.get("output"), f"{path}.output"))
        elif kind == "tool_search_output" and item.get("call_id"):
            before = len(self._tools.chat)
            self._tools.add(item.get("tools"), f"{path}.tools")
            found = list(islice(reversed(self._tools.chat), len(self._tools.chat) - before))[::-1]
            self._result(item, path, _encoder.encode({"found": found}).decode())
        elif kind == "additional_tools":
            self._tools.add(item.get("tools"), f"{path}.tools")
        else:
            raise _unknown(path, kind)

    def _message(self, item: Body, path: str) -> None:
        role = item.get("role")
        if role not in ROLES:
            raise wrong(f"{path}.role", f"one of {', '.join(ROLES)} is expected")
        said = content(item.get("content"), f"{path}.content")
        more = extras(item, _MESSAGE)
        if role != "assistant":
            self._close()
            self.made.append({"role": role, "content": said, **more})
            return
        latest = self._open
        if latest is None or ("content" in latest and "tool_calls" not in latest):  # it speaks again
            latest = self._begin()
        self._order.append("message")
        if "content" in latest:
            latest["content"] = parts = _parts(latest["content"])
            parts += _parts(said)
        else:
            latest["content"] = said
        latest.update(more)

    def _kept(self, item: Body) -> None:
        """Kept as it came: what it holds may be encrypted, and is for the model that wrote it."""
        latest = self._open
        if latest is None or ("content" in latest and "tool_calls" not in latest):
            latest = self._begin()
        self._order.append("kept")
        latest.setdefault("reasoning_items", []).append(item)

    def _thoughts(self, blocks: list[Body]) -> None:
        """They are told behind the turn that they belong to."""
        turns = [message for message in self.made if message["role"] == "assistant"]
        if turns:
            turns[-1]["thinking_blocks"] = blocks

    def _call(self, item: Body, path: str, call: Body) -> None:
        latest = self._open if self._open is not None else self._begin()
        self._order.append("call")
        made = {"id": _text(item, "call_id", path), **call, **extras(item, _CALL)}
        latest.setdefault("tool_calls", []).append(made)

    def _result(self, item: Body, path: str, result: str | list[Body]) -> None:
        self._close()
        named = {"role": "tool", "tool_call_id": _text(item, "call_id", path)}
        self.made.append({**named, "content": result, **extras(item, _CALL)})

    def _begin(self) -> Body:
        self._close()
        self._open = {"role": "assistant"}
        self.made.append(self._open)
        return self._open

    def _close(self) -> None:
        """End what the model said. An order that is not the usual one is kept: reasoning belongs to what follows it."""
        order = self._order
        if self._open is not None and "kept" in order and order != sorted(order, key=_USUAL.index):
            self._open["item_order"] = order
        self._open, self._order = None, []


_USUAL = ("kept", "message", "call")


def _parts(said: str | list[Body]) -> list[Body]:
    return [{"type": "text", "text": said}] if isinstance(said, str) else said


def _flat(item: Body, path: str) -> str:
    namespace = item.get("namespace")
    if namespace is not None and not isinstance(namespace, str):
        raise wrong(f"{path}.namespace", "a text is expected")
    return flat_name(_text(item, "name", path), namespace)


def _text(item: Body, field: str, path: str) -> str:
    text = item.get(field)
    if not isinstance(text, str):
        raise wrong(f"{path}.{field}", "a text is expected")
    return text


def _unknown(path: str, kind: Any) -> InvalidRequest:
    told = f"an item {kind} has" if plain_name(kind) else "this item has"
    return InvalidRequest(
        f"Invalid `{path}.type`: {told} no form that models here can be given.",
        param=f"{path}.type",
        code="unsupported_item",
    )
