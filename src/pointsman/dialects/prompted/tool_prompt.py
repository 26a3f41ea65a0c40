"""Tool calls for models that have none of their own: a prompt that teaches them, and a schema that holds them to it.

The model answers with one JSON value, an *action*:

    {"tool": NAME, "arguments": {…}}                   call a tool
    {"tool": "reply", "arguments": {"text": "…"}}      answer the user

A reply has the form of a call because a small model that may choose between two forms takes the shorter one: with
`{"reply": "…"}` a model of 0.5B parameters made up answers where a tool would have known them (8 of 12 prompts right
at best, over six wordings; 9 to 12 in this form, by the wording of the examples). One call an answer: offered a list
for several calls, it made none of 3 right and lost 2 of the 12. `action_stream` reads the actions back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import ChatParams

from .tool_schema import Schema, SchemaBook

DESCRIPTION = 300
"""Characters of a tool's description that the model is shown. Agents describe tools in pages, and reading a page takes
a small model on a processor longer than the whole answer."""
PARAMETER_DESCRIPTION = 100
EXAMPLES = 3
"""Tools that are shown in use. Three were right more often than two; each costs some 30 tokens of prompt."""

REPLY_TEXT = "text"
"""The one argument of a reply."""

Turn = dict[str, str]
"""A message as every chat template can render it: `role` (system, user, assistant) and `content`, a text."""


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    type: Literal["function"]
    function: _Function


class _Named(msgspec.Struct):
    name: str


class _Choice(msgspec.Struct):
    type: Literal["function", "allowed_tools"] = "function"
    function: _Named | None = None
    allowed_tools: _Allowed | None = None


class _Allowed(msgspec.Struct):
    mode: Literal["auto", "required"]
    tools: list[_Choice]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    name: str
    description: str
    parameters: Mapping[str, Any]
    """A JSON Schema as the caller gave it."""
    param: str
    """Where it stands in the request, as `tools[2].function.parameters`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPlan:
    """What the model may do in this answer."""

    tools: tuple[Tool, ...]
    reply: bool
    """Whether it may answer the user instead."""

    @property
    def reply_name(self) -> str:
        """The name that a reply goes by, which no tool of the plan has."""
        name = "reply"
        while any(tool.name == name for tool in self.tools):
            name += "_to_user"
        return name


def plan_tools(params: ChatParams) -> ToolPlan | None:
    """The tools that a request offers, as its `tool_choice` narrows them; None when there are none to call.

    Raises:
        InvalidRequest: a tool or the choice is malformed, or the choice names a tool that is not there.
    """
    choice = params.tool_choice
    if not params.tools:
        if choice is None or choice in ("none", "auto"):
            return None
        raise InvalidRequest("`tool_choice` asks for a tool and `tools` is empty.", param="tool_choice")
    if choice == "none":
        return None
    tools = tuple(_tool(raw, index) for index, raw in enumerate(params.tools))
    if choice is None or choice == "auto":
        return ToolPlan(tools=tools, reply=True)
    if choice == "required":
        return ToolPlan(tools=tools, reply=False)
    if isinstance(choice, str):
        raise InvalidRequest(
            f"Invalid `tool_choice`: {choice[:40]!r} given; none, auto, required or a named function expected.",
            param="tool_choice",
        )
    try:
        chosen = msgspec.json.decode(msgspec.json.encode(choice), type=_Choice)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"Invalid `tool_choice`: {error}.", param="tool_choice") from None
    if chosen.allowed_tools is not None:
        names = [one.function.name for one in chosen.allowed_tools.tools if one.function is not None]
        return ToolPlan(tools=_named(tools, names), reply=chosen.allowed_tools.mode == "auto")
    if chosen.function is None:
        raise InvalidRequest("Invalid `tool_choice`: `function` is missing.", param="tool_choice")
    return ToolPlan(tools=_named(tools, [chosen.function.name]), reply=False)


def _tool(raw: msgspec.Raw, index: int) -> Tool:
    try:
        function = msgspec.json.decode(raw, type=_Tool).function
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(f"Invalid `tools[{index}]`: {error}.", param=f"tools[{index}]") from None
    if not function.name:
        raise InvalidRequest(f"Invalid `tools[{index}]`: the name is empty.", param=f"tools[{index}].function.name")
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=function.parameters or {"type": "object", "properties": {}, "additionalProperties": False},
        param=f"tools[{index}].function.parameters",
    )


def _named(tools: tuple[Tool, ...], names: Sequence[str]) -> tuple[Tool, ...]:
    missing = set(names) - {tool.name for tool in tools}
    if missing or not names:
        what = f"the function {min(missing)[:64]!r} is not among `tools`" if missing else "no function is named"
        raise InvalidRequest(f"Invalid `tool_choice`: {what}.", param="tool_choice")
    return tuple(tool for tool in tools if tool.name in names)


def action_schema(plan: ToolPlan, reply: object = None) -> Schema:
    """The JSON Schema of every action that a plan allows.

    Args:
        reply: schema of the reply, an object's, where the caller wants one; None for a text.

    Raises:
        InvalidRequest: a tool's parameters are no schema of an object; the message names the tool.
    """
    book = SchemaBook()
    actions = []
    for tool in plan.tools:
        label = f"{tool.param} (of {tool.name[:64]!r})"
        if tool.parameters.get("type", "object") not in ("object", "OBJECT", ["object"]):
            raise InvalidRequest(f"{label} must be the schema of an object.", param=tool.param)
        arguments = book.add({**tool.parameters, "type": "object"}, param=label)
        actions.append(_closed({"tool": {"enum": [tool.name]}, "arguments": arguments}))
    if plan.reply:
        form: Schema = {"type": "string"}
        if reply is not None:
            form = book.add(reply, param="response_format.json_schema.schema")
            if form.get("type") != "object":
                raise InvalidRequest(
                    "Invalid `response_format`: beside tools its schema must have the type `object`.",
                    param="response_format",
                )
        actions.append(_closed({"tool": {"enum": [plan.reply_name]}, "arguments": _closed({REPLY_TEXT: form})}))
    schema: Schema = {"anyOf": actions}
    if book.definitions:
        schema["$defs"] = book.definitions
    return schema


def _closed(properties: dict[str, Any]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def instructions(plan: ToolPlan) -> str:
    """What the model is told of its tools."""
    lines = ["Answer with JSON and nothing else.", "To call a tool:", '{"tool": "NAME", "arguments": {…}}']
    if plan.reply:
        lines += [
            "To reply, only when no tool can help or when its result is there:",
            call_text(plan.reply_name, {REPLY_TEXT: "TEXT"}),
        ]
    lines += ["Copy names, numbers and paths exactly as the user wrote them.", "", "Tools:"]
    lines += [_signature(tool) for tool in plan.tools]
    return "\n".join(lines)


def _signature(tool: Tool) -> str:
    properties = tool.parameters.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = tool.parameters.get("required")
    required = required if isinstance(required, list) else []
    parts = [f"{name}{'' if name in required else '?'}: {_type_name(schema)}" for name, schema in properties.items()]
    line = f"- {tool.name}({', '.join(parts)})"
    if tool.description:
        line += f": {_cut(tool.description, DESCRIPTION)}"
    for name, schema in properties.items():
        note = schema.get("description") if isinstance(schema, Mapping) else None
        if isinstance(note, str) and note:
            line += f"\n    {name}: {_cut(note, PARAMETER_DESCRIPTION)}"
    return line


def _type_name(schema: object, depth: int = 0) -> str:
    """A type as TypeScript would write it, in few words."""
    if not isinstance(schema, Mapping):
        return "any"
    values = schema.get("enum")
    if isinstance(values, list) and 0 < len(values) <= 12:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in values)
    options = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(options, list) and depth < 2:
        return " | ".join(dict.fromkeys(_type_name(option, depth + 1) for option in options))
    name = schema.get("type", "any")
    if name == "array":
        return f"{_type_name(schema.get('items'), depth + 1)}[]"
    if name == "object" and depth < 2 and isinstance(inner := schema.get("properties"), Mapping) and inner:
        return "{" + ", ".join(f"{key}: {_type_name(value, depth + 1)}" for key, value in inner.items()) + "}"
    return " | ".join(map(str, name)) if isinstance(name, list) else str(name)


def _cut(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[:length].rsplit(" ", 1)[0] + " …"


def examples(plan: ToolPlan) -> list[Turn]:
    """A few turns that show the forms, made of the plan's own tools; the same for the same tools."""
    turns: list[Turn] = []
    for tool in plan.tools[:EXAMPLES]:
        arguments = example_arguments(tool.parameters)
        said = ", ".join(f"{name}: {_plain(value)}" for name, value in arguments.items())
        what = _cut(tool.description, PARAMETER_DESCRIPTION).rstrip(". …") or tool.name
        turns.append({"role": "user", "content": f"{what}: {said}" if said else f"{what}."})
        turns.append({"role": "assistant", "content": call_text(tool.name, arguments)})
        if plan.reply and len(turns) == 2:
            turns.append({"role": "user", "content": "Thanks!"})
            turns.append({"role": "assistant", "content": reply_text(plan, "You are welcome.")})
    return turns


def example_arguments(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Values for a schema's required properties, at most four; for its first property when it requires none."""
    properties = parameters.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    required = parameters.get("required")
    names = [name for name in properties if isinstance(required, list) and name in required] or list(properties)[:1]
    return {name: _example(name, properties[name]) for name in names[:4]}


def _example(name: str, schema: object) -> Any:
    if not isinstance(schema, Mapping):
        return f"my {name}"
    for key in ("enum", "examples"):
        values = schema.get(key)
        if isinstance(values, list) and values:
            return values[0]
    if "const" in schema or "default" in schema:
        return schema.get("const", schema.get("default"))
    match schema.get("type"):
        case "integer" | "number":
            return 7
        case "boolean":
            return True
        case "array":
            return [_example(name, schema.get("items"))]
        case "object":
            return example_arguments(schema)
        case _:
            return {"date": "2025-01-31", "date-time": "2025-01-31T09:00:00Z"}.get(
                str(schema.get("format")), f"my {name}"
            )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def call_text(name: str, arguments: object) -> str:
    """A call as the model writes it."""
    return json.dumps({"tool": name, "arguments": arguments}, ensure_ascii=False)


def reply_text(plan: ToolPlan, text: str) -> str:
    """A reply as the model writes it."""
    return call_text(plan.reply_name, {REPLY_TEXT: text})


def result_text(name: str, content: str) -> str:
    """A tool's result as the model reads it, in a turn of the user."""
    return f"Result of {name}:\n{content}"
