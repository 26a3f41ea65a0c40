"""JSON Schemas as constrained decoding can follow them: self-contained, of supported keywords only.

A grammar compiler that meets a keyword or an expression it does not know may drop the whole constraint without a word.
So a schema is rebuilt from what is known to work instead of being passed on:

- references are followed inside the schema and gathered under shared definitions, recursion included;
- what cannot be expressed (`not`, `if`, look-around in patterns, …) is left out: the answer is constrained less, never
  more, except that an object which lists its properties is closed unless it says otherwise, because small models
  invent keys where they may;
- what is not a schema at all is refused, naming the place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from pointsman.core.errors import InvalidRequest

Schema = dict[str, Any]

TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
FORMATS = frozenset(
    {"date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"}
)  # fmt: skip
MAX_DEPTH = 32
"""Levels of nesting that are followed; anything is allowed below. llguidance refuses a grammar near 60 levels."""
MAX_NODES = 20_000
"""Subschemas of one grammar."""
MAX_ITEMS = 5_000
MAX_LENGTH = 100_000
MAX_BOUND = 2**53
"""Bounds beyond these are left out: they bind no model, and a grammar of such a size does not compile."""


class SchemaBook:
    """The definitions that the schemas of one grammar share.

    Every schema that is added may refer to `#/$defs/…` of the book, so the grammar must carry `definitions`.
    """

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._nodes = 0

    def add(self, schema: object, *, param: str) -> Schema:
        """A schema rebuilt for a grammar.

        Raises:
            InvalidRequest: it is not a JSON Schema, or too large; the message says where, `param` is passed on.
        """
        return _Rebuild(self, schema, param).walk(schema, "#", 0, closing=True)

    def count(self) -> bool:
        """Whether one subschema more is allowed."""
        self._nodes += 1
        return self._nodes <= MAX_NODES


class _Rebuild:
    """One schema's walk: its root resolves references, its names are those of the book."""

    def __init__(self, book: SchemaBook, root: object, param: str) -> None:
        self._book = book
        self._root = root
        self._param = param
        self._names: dict[str, str] = {}
        self._anchors: dict[str, object] | None = None

    def walk(self, schema: object, at: str, depth: int, *, closing: bool) -> Schema:
        if not self._book.count():
            raise InvalidRequest(f"{self._param}: the schemas are too large together.", param=self._param)
        if isinstance(schema, bool):
            return {}
        if not isinstance(schema, Mapping):
            raise self._invalid(at, "must be an object or a boolean")
        if depth > MAX_DEPTH:
            return {}
        if "$ref" in schema:
            return {"$ref": f"#/$defs/{self._reference(schema['$ref'], at)}"}
        types = self._types(schema, at)
        if "enum" in schema or "const" in schema:
            return self._values(schema, types, at)
        combined = [key for key in ("anyOf", "oneOf", "allOf") if key in schema]
        built: Schema = {}
        if types:
            built["type"] = types[0] if len(types) == 1 else types
        if not types or "string" in types:
            built |= self._string(schema)
        if not types or {"number", "integer"} & set(types):
            built |= _number(schema)
        if not types or "array" in types:
            built |= self._array(schema, at, depth)
        if not types or "object" in types:
            built |= self._object(schema, at, depth, closing=closing and not combined)
        if combined:
            built |= self._combined(schema, combined, at, depth, closing=closing and "properties" not in built)
        return built

    def _types(self, schema: Mapping[str, Any], at: str) -> list[str]:
        given = schema.get("type")
        if given is None:
            return []
        names = [given] if isinstance(given, str) else given
        if not isinstance(names, Sequence) or not names:
            raise self._invalid(at, "`type` must be a name or a list of names")
        types = []
        for name in names:
            lowered = name.lower() if isinstance(name, str) else ""  # some clients write STRING
            if lowered not in TYPES:
                raise self._invalid(at, f"`type` {str(name)[:40]!r} is unknown")
            if lowered not in types:
                types.append(lowered)
        if schema.get("nullable") is True and "null" not in types:
            types.append("null")
        return types

    def _values(self, schema: Mapping[str, Any], types: list[str], at: str) -> Schema:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise self._invalid(at, "`enum` must be a list of at least one value")
        fitting = [value for value in values if not types or _type_of(value) & set(types)]
        return {"enum": list(fitting or values)}

    def _string(self, schema: Mapping[str, Any]) -> Schema:
        built = _bounds(schema, "minLength", "maxLength", MAX_LENGTH)
        pattern, form = schema.get("pattern"), schema.get("format")
        if isinstance(pattern, str) and _expressible(pattern):
            built["pattern"] = pattern
        elif isinstance(form, str) and form in FORMATS and not built:
            built["format"] = form
        return built

    def _array(self, schema: Mapping[str, Any], at: str, depth: int) -> Schema:
        built = _bounds(schema, "minItems", "maxItems", MAX_ITEMS)
        items, prefix, rest = schema.get("items"), schema.get("prefixItems"), schema.get("additionalItems")
        if isinstance(items, list):  # up to draft 2019-09
            items, prefix = rest, items
        if prefix is not None:
            if not isinstance(prefix, list):
                raise self._invalid(at, "`prefixItems` must be a list")
            if prefix:  # an empty list is no valid schema, and says nothing
                built["prefixItems"] = [
                    self.walk(item, f"{at}/prefixItems/{index}", depth + 1, closing=True)
                    for index, item in enumerate(prefix)
                ]
        if items is False:
            built["items"] = False
        elif items is not None:
            built["items"] = self.walk(items, f"{at}/items", depth + 1, closing=True)
        return built

    def _object(self, schema: Mapping[str, Any], at: str, depth: int, *, closing: bool) -> Schema:
        built: Schema = {}
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, Mapping):
            raise self._invalid(at, "`properties` must be an object")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise self._invalid(at, "`required` must be a list of names")
        if properties:
            built["properties"] = {
                str(name): self.walk(value, f"{at}/properties/{name}", depth + 1, closing=True)
                for name, value in properties.items()
                if value is not False
            }
        if required:
            built["required"] = list(dict.fromkeys(required))
        more = schema.get("additionalProperties")
        if isinstance(more, Mapping):
            built["additionalProperties"] = self.walk(more, f"{at}/additionalProperties", depth + 1, closing=True)
        elif isinstance(more, bool):
            built["additionalProperties"] = more or "patternProperties" in schema
        elif more is not None:
            raise self._invalid(at, "`additionalProperties` must be a schema or a boolean")
        elif properties and closing and "patternProperties" not in schema:
            built["additionalProperties"] = False
        if built.get("additionalProperties") is False and required:
            known = built.setdefault("properties", {})
            for name in built["required"]:
                known.setdefault(name, {})
        return built

    def _combined(self, schema: Mapping[str, Any], keys: list[str], at: str, depth: int, *, closing: bool) -> Schema:
        built: Schema = {}
        for key in keys:
            parts = schema[key]
            if not isinstance(parts, list) or not parts:
                raise self._invalid(at, f"`{key}` must be a list of at least one schema")
            # Closed parts of an allOf would forbid one another's keys; one part alone has nobody to contradict.
            closed = closing and len(keys) == 1 and (key != "allOf" or len(parts) == 1)
            walked = [
                self.walk(part, f"{at}/{key}/{index}", depth + 1, closing=closed) for index, part in enumerate(parts)
            ]
            if key == "oneOf" and "anyOf" in built:
                built.setdefault("allOf", []).append({"anyOf": walked})
            else:
                # "Exactly one" cannot be told while decoding: any one does.
                target = "anyOf" if key == "oneOf" else key
                built.setdefault(target, []).extend(walked)
        return built

    def _reference(self, pointer: object, at: str) -> str:
        """The book's name for what a reference points to. The target is rebuilt once, so recursion ends."""
        target = self._resolve(pointer, at)
        passed = {pointer}
        while isinstance(target, Mapping) and "$ref" in target:
            pointer = target["$ref"]
            target = self._resolve(pointer, at)
            if pointer in passed:
                raise self._invalid(at, "the reference points to itself")
            passed.add(pointer)
        name = self._names.get(str(pointer))
        if name is None:
            name = self._names[str(pointer)] = f"d{len(self._book.definitions)}"
            self._book.definitions[name] = {}
            self._book.definitions[name] = self.walk(target, str(pointer), 0, closing=True)
        return name

    def _resolve(self, pointer: object, at: str) -> object:
        if not isinstance(pointer, str) or not pointer.startswith("#"):
            raise self._invalid(at, f"the reference {str(pointer)[:100]!r} points outside the schema")
        if pointer in ("#", "#/"):
            return self._root
        if not pointer.startswith("#/"):
            anchors = self._anchors = _anchors(self._root) if self._anchors is None else self._anchors
            if pointer[1:] in anchors:
                return anchors[pointer[1:]]
        else:
            target = self._root
            for part in pointer[2:].split("/"):
                key = _unescape(part)
                if isinstance(target, Mapping) and key in target:
                    target = target[key]
                elif isinstance(target, list) and key.isdecimal() and int(key) < len(target):
                    target = target[int(key)]
                else:
                    break
            else:
                return target
        raise self._invalid(at, f"the reference {pointer[:100]!r} leads nowhere")

    def _invalid(self, at: str, what: str) -> InvalidRequest:
        return InvalidRequest(f"{self._param} is not a JSON Schema that can be used: at {at[:200]}, {what}.",
                              param=self._param)  # fmt: skip


def _unescape(part: str) -> str:
    from urllib.parse import unquote

    return unquote(part).replace("~1", "/").replace("~0", "~")


def _anchors(root: object) -> dict[str, object]:
    """Every subschema with an `$anchor`, found without recursion."""
    found: dict[str, object] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            if isinstance(name := node.get("$anchor"), str):
                found.setdefault(name, node)
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return found


def _type_of(value: object) -> set[str]:
    match value:
        case bool():
            return {"boolean"}
        case None:
            return {"null"}
        case str():
            return {"string"}
        case int():
            return {"integer", "number"}
        case float():
            return {"integer", "number"} if value.is_integer() else {"number"}
        case list():
            return {"array"}
        case _:
            return {"object"}


def _bounds(schema: Mapping[str, Any], low: str, high: str, limit: int) -> Schema:
    """A pair of counts, as far as they make sense together."""
    built: dict[str, int] = {}
    for key in (low, high):
        value: object = schema.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limit:
            built[key] = value
    return {} if built.get(low, 0) > built.get(high, limit) else built


def _number(schema: Mapping[str, Any]) -> Schema:
    built: Schema = {}
    for side in ("minimum", "maximum"):
        exclusive = "exclusive" + side.capitalize()
        for key in (side, exclusive):
            value = schema.get(key)
            if _is_number(value) and abs(value) <= MAX_BOUND:
                built[key] = value
        if schema.get(exclusive) is True and side in built:  # draft 4
            built[exclusive] = built.pop(side)
    lows = [built[key] for key in ("minimum", "exclusiveMinimum") if key in built]
    highs = [built[key] for key in ("maximum", "exclusiveMaximum") if key in built]
    if lows and highs and (max(lows) > min(highs) or (max(lows) == min(highs) and any("excl" in key for key in built))):
        built = {}
    step = schema.get("multipleOf")
    if _is_number(step) and 0 < step <= MAX_BOUND and not built:
        built["multipleOf"] = step
    return built


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _expressible(pattern: str) -> bool:
    """Whether a derivative-based matcher can follow a pattern: RE2's syntax, no word boundary, anchors at the ends."""
    import re2

    inner = pattern.removeprefix("^").removesuffix("$")
    in_class = escaped = False
    for character in inner:
        if escaped:
            if character in "bBAz" and not in_class:
                return False
            escaped = False
        elif character == "\\":
            escaped = True
        elif in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
        elif character in "^$":
            return False
    if escaped or len(pattern) > 2_000:
        return False
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error:
        return False
    return True
