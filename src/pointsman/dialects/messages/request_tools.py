"""Tools, the choice among them, and the form of the answer: Anthropic's Messages in chat's words."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Raw

from pointsman.core.errors import InvalidRequest

from .request_blocks import is_name, kind_of
from .request_reading import Block, extras, is_null, object_field, read, text_field

_TOOL_NAMES = frozenset({"function", "custom"})


def tool_of(tool: Block, where: str) -> dict[str, Any]:
    """A tool of the caller's as a function; one that Anthropic runs, or has trained its models on, as it came.

    Raises:
        InvalidRequest: malformed; names the path.
    """
    kind = kind_of(tool, where) if "type" in tool and not is_null(tool["type"]) else "custom"
    if kind == "function":
        raise InvalidRequest(
            f"Invalid `{where}.type`: tools of the Messages API have no type, or `custom`.", param=f"{where}.type"
        )
    if kind != "custom":
        if not is_name(kind):
            raise InvalidRequest(f"Invalid `{where}.type`: there is no such type of tool.", param=f"{where}.type")
        return dict(tool)
    function: dict[str, Any] = {"name": text_field(tool, "name", where)}
    if "description" in tool and not is_null(tool["description"]):
        function["description"] = text_field(tool, "description", where)
    function["parameters"] = object_field(tool, "input_schema", where)
    if "strict" in tool and not is_null(tool["strict"]):
        function["strict"] = tool["strict"]
    known = ("type", "name", "description", "input_schema", "strict")
    return {"type": "function", "function": function, **extras(tool, known, where, _TOOL_NAMES)}


class _Choice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


_choice_decoder = msgspec.json.Decoder(_Choice)


def choice_of(raw: Raw) -> dict[str, Any]:
    """The chat fields for a `tool_choice`."""
    choice = read(_choice_decoder, raw, "tool_choice")
    fields: dict[str, Any] = {}
    if choice.type == "tool":
        if choice.name is None:
            raise InvalidRequest("Invalid `tool_choice.name`: this field is required.", param="tool_choice.name")
        fields["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    else:
        fields["tool_choice"] = {"auto": "auto", "any": "required", "none": "none"}[choice.type]
    if choice.disable_parallel_tool_use:
        fields["parallel_tool_calls"] = False
    return fields


def format_of(form: Block, where: str) -> dict[str, Any]:
    """The chat field for the schema that an answer must have."""
    kind = kind_of(form, where)
    if kind != "json_schema":
        raise InvalidRequest(f"Invalid `{where}.type`: `json_schema` is expected.", param=f"{where}.type")
    schema = object_field(form, "schema", where)
    if extras(form, ("type", "schema"), where):
        raise InvalidRequest(f"Invalid `{where}`: it has a field beside `type` and `schema`.", param=where)
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
