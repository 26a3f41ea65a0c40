"""Schemas of tools are made digestible without letting through less than they allow."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import InvalidRequest
from pointsman.dialects.prompted.tool_schema import MAX_DEPTH, SchemaBook


def rebuilt(schema: object) -> dict[str, Any]:
    book = SchemaBook()
    built = book.add(schema, param="tools[0]")
    return {**built, "$defs": book.definitions} if book.definitions else built


def test_references_become_definitions_even_when_they_recur() -> None:
    kids = {"type": "array", "items": {"$ref": "#/definitions/again"}}
    schema = {
        "type": "object",
        "properties": {"root": {"$ref": "#/definitions/node"}, "me": {"$ref": "#"}, "named": {"$ref": "#there"}},
        "definitions": {
            "node": {"type": "object", "properties": {"kids": kids}},
            "again": {"$ref": "#/definitions/node"},
            "other": {"$anchor": "there", "type": "integer"},
        },
    }  # fmt: skip
    built = rebuilt(schema)
    jsonschema.Draft202012Validator.check_schema(built)
    validator = jsonschema.Draft202012Validator(built)
    assert validator.is_valid({"root": {"kids": [{"kids": []}]}, "me": {"root": {}}, "named": 3})
    assert not validator.is_valid({"root": {"kids": [{"kids": 1}]}})
    assert not validator.is_valid({"named": "three"})


def test_two_tools_with_the_same_names_do_not_mix() -> None:
    book = SchemaBook()
    one = book.add({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, param="one")
    two = book.add({"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}}, param="two")
    assert one != two
    assert [definition["type"] for definition in book.definitions.values()] == ["string", "integer"]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "pattern": "^[a-z]+$"}, {"type": "string", "pattern": "^[a-z]+$"}),
        ({"type": "string", "pattern": "^(?=a)b$"}, {"type": "string"}),
        ({"type": "string", "pattern": r"\bx"}, {"type": "string"}),
        ({"type": "string", "pattern": "^a$|^b$"}, {"type": "string"}),
        ({"type": "string", "pattern": "("}, {"type": "string"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "phone"}, {"type": "string"}),
        ({"type": "string", "minLength": 5, "maxLength": 2}, {"type": "string"}),
        ({"type": "integer", "minimum": 5, "maximum": 2}, {"type": "integer"}),
        ({"type": "integer", "minimum": 5, "exclusiveMinimum": True}, {"type": "integer", "exclusiveMinimum": 5}),
        ({"type": "integer", "maximum": 10**30}, {"type": "integer"}),
        ({"type": "string", "enum": ["a", 1]}, {"enum": ["a"]}),
        ({"const": {"a": 1}}, {"enum": [{"a": 1}]}),
        ({"type": "array", "maxItems": 10**9, "items": True}, {"type": "array", "items": {}}),
        ({"type": "array", "items": [{"type": "null"}]}, {"type": "array", "prefixItems": [{"type": "null"}]}),
        ({"not": {"type": "string"}, "if": {}, "then": {}}, {}),
        ({"oneOf": [{"type": "null"}]}, {"anyOf": [{"type": "null"}]}),
        (True, {}),
        (
            {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a", "b", "a"]},
            {"type": "object", "properties": {"a": {"type": "null"}, "b": {}}, "required": ["a", "b"],
             "additionalProperties": False},
        ),
        ({"type": "object"}, {"type": "object"}),
        (
            {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": True},
            {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": True},
        ),
    ],
)  # fmt: skip
def test_what_becomes_of_a_schema(schema: object, expected: dict[str, Any]) -> None:
    assert rebuilt(schema) == expected


def test_parts_of_all_of_are_left_open_for_one_another() -> None:
    parts = [{"type": "object", "properties": {name: {"type": "integer"}}, "required": [name]} for name in "ab"]
    validator = jsonschema.Draft202012Validator(rebuilt({"allOf": parts}))
    assert validator.is_valid({"a": 1, "b": 2})
    assert not validator.is_valid({"a": 1})


def test_nesting_without_end_is_cut() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(300):
        deep = {"type": "object", "properties": {"a": deep}, "required": ["a"]}
    assert json.dumps(rebuilt(deep)).count("properties") <= MAX_DEPTH + 1


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ("text", "must be an object"),
        ({"type": "wibble"}, "'wibble' is unknown"),
        ({"properties": {"a": {"type": 3}}}, "#/properties/a"),
        ({"properties": []}, "`properties`"),
        ({"required": "a"}, "`required`"),
        ({"enum": []}, "`enum`"),
        ({"anyOf": {}}, "`anyOf`"),
        ({"items": 3}, "#/items"),
        ({"$ref": "https://example.com/x.json"}, "outside the schema"),
        ({"$ref": "#/nowhere/a"}, "leads nowhere"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "points to itself"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "points to itself"),
        ({"properties": {f"p{n}": {"properties": {f"q{m}": {} for m in range(200)}} for n in range(200)}}, "too large"),
    ],
)
def test_what_is_no_schema_is_refused_by_name(schema: object, told: str) -> None:
    with pytest.raises(InvalidRequest, match=r"tools\[0\]") as caught:
        rebuilt(schema)
    assert told in caught.value.message


leaves = st.sampled_from([
    {"type": "string"}, {"type": "integer", "minimum": 2}, {"type": "boolean"}, {"enum": ["x", 1, None]},
    {"type": ["string", "null"], "maxLength": 3}, {"type": "string", "pattern": "^a+$"}, {}, {"const": 5},
])  # fmt: skip
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            lambda properties, required: {
                "type": "object", "properties": properties, "required": required, "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3), st.lists(st.sampled_from("abc"), max_size=2),
        ),
    ),
    max_leaves=8,
)  # fmt: skip
values = st.recursive(
    st.sampled_from([None, True, 1, 2, 5, "", "a", "x", "abcd"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(schema=schemas, value=values)
def test_a_schema_of_known_keywords_means_the_same_afterwards(schema: dict[str, Any], value: object) -> None:
    before = jsonschema.Draft202012Validator(schema).is_valid(value)
    after = jsonschema.Draft202012Validator(rebuilt(schema)).is_valid(value)
    # A required key that is not among the closed properties can never be given: the schema is mended.
    assert after == before or (after and "required" in json.dumps(schema))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["type", "properties", "items", "$ref", "anyOf", "allOf", "enum", "required",
                                         "minimum", "pattern", "a", "prefixItems", "additionalProperties"]),
                        inner, max_size=4), max_leaves=12))  # fmt: skip
def test_any_json_is_rebuilt_or_refused(schema: object) -> None:
    try:
        built = rebuilt(schema)
    except InvalidRequest:
        return
    jsonschema.Draft202012Validator.check_schema(built)
