"""Tools and the choice among them, from OpenAI's form to Anthropic's.

A custom tool of OpenAI's takes free text, which Anthropic's API has no tool for. It becomes a function with that text
as its one argument, and a call of it is told as OpenAI tells it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.errors import UpstreamLacks
from pointsman.core.request import NOTHING, invalid

_object_decoder = msgspec.json.Decoder(dict[str, Raw])
_any_decoder = msgspec.json.Decoder()
_CHOICES: Mapping[str, dict[str, Any]] = {
    "auto": {"type": "auto"},
    "required": {"type": "any"},
    "none": {"type": "none"},
}
TEXT = "input"
"""The argument that stands for a custom tool's text."""
_RENAMED = {"parameters": "input_schema"}


def tools_of(tools: Sequence[Raw]) -> list[Any]:
    """The tools. One that is no function of OpenAI's goes as it came: it is Anthropic's own.

    Raises:
        InvalidRequest: not an object, or a function without a name.
    """
    return [_tool(raw, index) for index, raw in enumerate(tools)]


def _tool(raw: Raw, index: int) -> Any:
    at = f"tools[{index}]"
    tool = _object(raw, at)
    if "function" not in tool:
        return _as_function(_custom(tool, at)) if "custom" in tool else raw
    given = _object(tool["function"], f"{at}.function")
    function: dict[str, Any] = {
        _RENAMED.get(name, name): value for name, value in given.items() if bytes(value) != b"null"
    }
    function["input_schema"] = _schema(given.get("parameters", NOTHING), f"{at}.function.parameters")
    extras = {name: value for name, value in tool.items() if name not in ("type", "function")}
    return {**function, **extras}


class _Custom(msgspec.Struct):
    name: str
    description: str | None = None
    format: Raw = NOTHING


_custom_decoder = msgspec.json.Decoder(_Custom)


def _custom(tool: Mapping[str, Raw], at: str) -> _Custom:
    try:
        return _custom_decoder.decode(tool["custom"])
    except msgspec.MsgspecError as error:
        raise invalid(error, f"{at}.custom.") from None


def _as_function(custom: _Custom) -> dict[str, Any]:
    form = bytes(custom.format)
    asked = f"Its text must be of this form: {form.decode()}" if b'"grammar"' in form else None
    described = "\n\n".join(filter(None, [custom.description, asked]))
    schema = {"type": "object", "properties": {TEXT: {"type": "string"}}, "required": [TEXT]}
    return {"name": custom.name, **({"description": described} if described else {}), "input_schema": schema}


def custom_names(tools: Sequence[Raw]) -> frozenset[str]:
    """The names of OpenAI's custom tools among these."""
    found = (_object(raw, "tools") for raw in tools if b'"custom"' in bytes(raw))
    return frozenset(_custom(tool, "tools").name for tool in found if "custom" in tool)


def text_of_call(arguments: bytes | str) -> str:
    """What a model gave to a custom tool; what it did not put into the argument stands as it wrote it."""
    try:
        given = msgspec.json.decode(arguments)
    except msgspec.MsgspecError:
        given = None
    text = given.get(TEXT) if isinstance(given, dict) else None
    if isinstance(text, str):
        return text
    return arguments if isinstance(arguments, str) else arguments.decode()


def _schema(raw: Raw, at: str) -> Any:
    """A function's parameters; Anthropic wants a schema that says that it is an object."""
    if bytes(raw) == b"null":
        return {"type": "object", "properties": {}}
    schema = _object(raw, at)
    return raw if "type" in schema else {"type": "object", **schema}


def tool_choice_of(choice: str | Mapping[str, Raw] | None, *, parallel: bool | None) -> dict[str, Any] | None:
    """The choice; None where the API's own default says the same.

    Raises:
        UpstreamLacks: a choice that Anthropic has no word for.
    """
    found: dict[str, Any] | None
    if choice is None:
        found = None
    elif isinstance(choice, str):
        found = _CHOICES.get(choice)
        if found is None:
            raise UpstreamLacks("tool_choice", "knows no such choice")
    else:
        kind = _any_decoder.decode(choice.get("type", NOTHING))
        if kind == "function":
            named = _object(choice.get("function", Raw(b"{}")), "tool_choice.function")
            found = {"type": "tool", "name": named.get("name", NOTHING)}
        elif kind == "custom":
            named = _object(choice.get("custom", Raw(b"{}")), "tool_choice.custom")
            found = {"type": "tool", "name": named.get("name", NOTHING)}
        elif kind in ("auto", "any", "tool", "none"):
            found = dict(choice)
        else:
            raise UpstreamLacks("tool_choice", "lets one tool be named, or none, and no set of them")
    if parallel is False and (found is None or found.get("type") != "none"):
        found = {**(found or {"type": "auto"}), "disable_parallel_tool_use": True}
    return found


def _object(raw: Raw, at: str) -> dict[str, Raw]:
    try:
        found: dict[str, Raw] = _object_decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise invalid(error, f"{at}.") from None
    return found
