"""Whether a value is what a schema allows: of the keywords that `tool_schema` makes, those that say what a value is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .tool_schema import MAX_DEPTH, Schema

_OF_TYPE: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}


def fits(value: Any, schema: Schema, definitions: Mapping[str, Schema], depth: int = 0) -> bool:
    """Types, enums, properties, items and combinations; not lengths, bounds and patterns.

    A schema too deep to be followed allows anything below, as it does for decoding.
    """
    if depth > 2 * MAX_DEPTH:
        return True
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        return fits(value, definitions.get(name, {}), definitions, depth + 1)
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        return False
    if not _of_type(value, schema.get("type")):
        return False
    if isinstance(value, dict) and not _object_fits(value, schema, definitions, depth):
        return False
    if isinstance(value, list) and not _array_fits(value, schema, definitions, depth):
        return False
    either = schema.get("anyOf")
    if either and not any(fits(value, one, definitions, depth + 1) for one in either):
        return False
    return all(fits(value, one, definitions, depth + 1) for one in schema.get("allOf", ()))


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _of_type(value: Any, given: Any) -> bool:
    if given is None:
        return True
    for name in [given] if isinstance(given, str) else given:
        if name in ("number", "integer"):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and (name == "number" or float(value).is_integer()):
                return True
        elif isinstance(value, _OF_TYPE.get(name, object)):
            return True
    return False


def _object_fits(value: dict[str, Any], schema: Schema, definitions: Mapping[str, Schema], depth: int) -> bool:
    properties = schema.get("properties", {})
    more = schema.get("additionalProperties", True)
    if any(name not in value for name in schema.get("required", ())):
        return False
    for name, inner in value.items():
        rule = properties.get(name, more)
        if rule is False or (isinstance(rule, Mapping) and not fits(inner, dict(rule), definitions, depth + 1)):
            return False
    return True


def _array_fits(value: list[Any], schema: Schema, definitions: Mapping[str, Schema], depth: int) -> bool:
    prefix, items = schema.get("prefixItems", []), schema.get("items", True)
    for place, inner in enumerate(value):
        rule = prefix[place] if place < len(prefix) else items
        if rule is False or (isinstance(rule, Mapping) and not fits(inner, dict(rule), definitions, depth + 1)):
            return False
    return True
