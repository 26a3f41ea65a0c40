"""`POST /v1/responses` as the inner form.

Read in two steps, for between them an earlier conversation is fetched: `read_fields`, then `to_chat`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Raw

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import ChatRequest, Dialect

from .fields import Asked, inner_fields
from .items import Messages
from .names import Known
from .parts import wrong
from .tools import Tools, chosen

Body = dict[str, Any]

_ITEM_ID = re.compile(r"[a-z]{2,8}_([0-9a-f]{32})_i?[0-9]{1,6}")


class ResponsesRequest(ChatRequest):
    """The inner form, with what the answer must be told of the request."""

    __slots__ = ("asked", "in_chat", "items", "known", "owner")

    asked: Asked
    in_chat: tuple[str, ...]
    """What an answer goes without when it comes from an upstream that is asked in chat's words."""
    items: list[Body]
    """What this request adds to the conversation; references are resolved."""
    known: Mapping[str, Known]
    """The tools by the names that chat has for them."""
    owner: str
    """Whose key asks; what is kept of the answer is for it alone."""

    def without(self, dialect: Dialect) -> tuple[str, ...]:
        return self.dropped if dialect == "responses" else (*self.dropped, *self.in_chat)


def own_items(asked: Asked) -> list[Any]:
    """The input as items."""
    if isinstance(asked.input, str):
        return [{"type": "message", "role": "user", "content": asked.input}]
    return asked.input or []


def references(items: Sequence[Any]) -> list[str]:
    """The ids that items refer to instead of being there themselves."""
    return [item["id"] for item in items if _is_reference(item)]


def response_of(item_id: str) -> str | None:
    """Which response an item of ours belongs to: its id tells."""
    found = _ITEM_ID.fullmatch(item_id)
    return f"resp_{found.group(1)}" if found else None


def to_chat(
    asked: Asked,
    rest: Mapping[str, Raw],
    *,
    before: Sequence[Body],
    kept: Mapping[str, Body],
    owner: str,
    hosts: bool = False,
) -> ResponsesRequest:
    """
    Args:
        rest: fields that pass through, as `read_fields` gives them.
        before: the items of the conversation that `previous_response_id` names.
        kept: items by id, for references.
        hosts: whether the model that is asked for is at an upstream that speaks Responses, and runs tools of its own.

    Raises:
        InvalidRequest: something has no inner form, or a referred item is not there.
    """
    items = _resolved(own_items(asked), kept)
    tools = Tools(hosts=hosts)
    tools.add(asked.tools or [], "tools")
    messages = Messages(tools)
    if asked.instructions:
        messages.made.append({"role": "system", "content": asked.instructions})
    messages.extend(before, "previous_response_id.input")
    messages.extend(items, "input")
    tools.settle(asked.tool_choice)
    if not messages.made:
        raise wrong("input", "it is empty")
    inner, dropped, in_chat = inner_fields(asked)
    choice, offered = chosen(asked.tool_choice, tools)
    if offered:  # without tools, some upstreams refuse whatever is said about them
        inner["tools"] = offered
        if choice is not None:
            inner["tool_choice"] = choice
        if asked.parallel_tool_calls is not None:
            inner["parallel_tool_calls"] = asked.parallel_tool_calls
    request = ResponsesRequest.build(
        {"model": asked.model, **rest, **inner, "messages": messages.made}, dialect="responses"
    )
    assert isinstance(request, ResponsesRequest)
    request.asked, request.items, request.known, request.owner = asked, items, tools.known, owner
    request.dropped = (*tools.dropped, *dropped)
    request.also_read = tuple(_flattened([*before, *items], tools.known.values()))
    request.in_chat = (*in_chat, *messages.hosted.values())
    return request


def _flattened(items: Sequence[Body], tools: Iterable[Known]) -> set[str]:
    """The names of whatever has a namespace: in chat they are joined, and cut or rewritten where they are odd."""
    named = [(item.get("namespace"), item.get("name")) for item in items]
    named += [(tool.namespace, tool.name) for tool in tools]
    return {name for namespace, own in named if namespace for name in (namespace, own) if isinstance(name, str)}


def _resolved(items: Sequence[Any], kept: Mapping[str, Body]) -> list[Body]:
    found = []
    for index, item in enumerate(items):
        if _is_reference(item):
            referred = kept.get(item["id"])
            if referred is None:
                raise InvalidRequest(
                    f"Invalid `input[{index}].id`: no item with this id is kept here, as none of a private request is;"
                    " send the item itself, as clients do that are set to `store: false`.",
                    param=f"input[{index}].id",
                    code="item_not_found",
                )
            found.append(referred)
        else:
            found.append(item)
    return found


def _is_reference(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and isinstance(item.get("id"), str)
        and (item.get("type") == "item_reference" or set(item) == {"id"})
    )
