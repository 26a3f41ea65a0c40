"""What a request asks of the form of its answer, and whether an answer has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from pointsman.core.errors import PointsmanError
from pointsman.core.request import ChatRequest
from pointsman.dialects.prompted.schema_check import fits
from pointsman.dialects.prompted.tool_schema import Schema, SchemaBook

LOOKED_AT = 4_000
"""Characters of the last message in which a wish for code is looked for."""
_CODE = re.compile(
    r"```|\b(?:function|method|class|code|script|regex|sql|query|implement|refactor|snippet|one-liner|unit tests?"
    r"|python|javascript|typescript|java|rust|golang|bash|c\+\+)\b|\bc#",
    re.IGNORECASE,
)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is checked of an answer."""

    json: bool = False
    schema: Schema | None = None
    definitions: Mapping[str, Schema] = {}
    tools: frozenset[str] = frozenset()
    must_call: bool = False
    code: bool = False
    """Whether the last message speaks of code."""

    @classmethod
    def of(cls, request: ChatRequest) -> Asked:
        params = request.params
        schema, definitions = _schema(request)
        return cls(
            json=params.response_format is not None and params.response_format.type != "text",
            schema=schema,
            definitions=definitions,
            tools=frozenset(name for raw in params.tools or () if (name := _name(raw)) is not None),
            must_call=params.tool_choice == "required" or isinstance(params.tool_choice, dict),
            code=_CODE.search(_last(request)) is not None,
        )

    def misses(self, text: str) -> Literal["not_json", "schema"] | None:
        """What a whole text lacks that was to be JSON."""
        if not self.json:
            return None
        try:
            value: Any = msgspec.json.decode(text.strip())
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            return "not_json"
        if self.schema is not None and not fits(value, self.schema, self.definitions):
            return "schema"
        return None


def _schema(request: ChatRequest) -> tuple[Schema | None, Mapping[str, Schema]]:
    """The schema of the answer, of the keywords that can be checked; one that cannot be read checks nothing."""
    given = request.params.response_format
    if given is None or given.type != "json_schema":
        return None, {}
    book = SchemaBook()
    try:
        schema = book.add(msgspec.json.decode(given.json_schema)["schema"], param="response_format")
    except (PointsmanError, msgspec.MsgspecError, RecursionError, KeyError, TypeError):
        return None, {}
    return _opened(schema), {name: _opened(one) for name, one in book.definitions.items()}


def _opened(schema: Any) -> Any:
    """The schema without its closing of objects, which the book adds for decoding and the caller need not mean."""
    if isinstance(schema, dict):
        return {
            key: _opened(value)
            for key, value in schema.items()
            if not (key == "additionalProperties" and value is False)
        }
    return [_opened(one) for one in schema] if isinstance(schema, list) else schema


class _Named(msgspec.Struct):
    name: str | None = None


class _Tool(msgspec.Struct):
    name: str | None = None
    function: _Named | None = None
    custom: _Named | None = None


_tool_decoder = msgspec.json.Decoder(_Tool)


def _name(raw: msgspec.Raw) -> str | None:
    try:
        tool = _tool_decoder.decode(raw)
    except msgspec.MsgspecError:
        return None
    named = tool.function or tool.custom
    return named.name if named is not None else tool.name


def _last(request: ChatRequest) -> str:
    """The end of what the caller said last."""
    try:
        for index in range(len(request.params.messages) - 1, -1, -1):
            message = request.message(index)
            if message.role == "user":
                return message.text[-LOOKED_AT:]
    except PointsmanError:
        return ""
    return ""
