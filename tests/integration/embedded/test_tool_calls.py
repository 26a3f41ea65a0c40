"""Tool calls of a real embedded model, which has none of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pointsman.core.errors import InvalidRequest

from .conftest import Bench, tools

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

OFFERED = tools("get_weather", "convert_currency")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_is_called(bench: Bench, stream: bool) -> None:
    heard = await bench.ask("And the weather in Oslo?", tools=OFFERED, stream=stream)
    ((name, arguments),) = heard.calls[0]
    assert name == "get_weather"
    assert json.loads(arguments)["city"] == "Oslo"
    assert heard.finishes == {0: "tool_calls"}
    assert heard.text == ""
    if stream:
        first = heard.frames[0]["choices"][0]["delta"]
        assert first["role"] == "assistant"
        assert first["tool_calls"][0]["id"].startswith("call_")
        assert len(heard.frames) > 4
    else:
        message = heard.body["choices"][0]["message"]
        assert message["content"] is None
        (call,) = message["tool_calls"]
        assert set(call) == {"id", "type", "function"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_reply_is_plain_text(bench: Bench, stream: bool) -> None:
    heard = await bench.ask("Thank you, that was all!", tools=OFFERED, stream=stream)
    assert heard.calls == {}
    assert heard.text
    assert "{" not in heard.text
    assert heard.finishes == {0: "stop"}


async def test_a_result_is_told_to_the_user(bench: Bench) -> None:
    call = {"id": "call_7", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}
    heard = await bench.ask(
        [
            {"role": "user", "content": "Is it raining in Oslo?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_7", "content": '{"sky": "clear", "temperature": 4}'},
        ],
        tools=OFFERED,
    )
    assert heard.calls == {}
    assert "clear" in heard.text.lower()


async def test_the_choice_of_tools_is_kept_to(bench: Bench) -> None:
    required = await bench.ask("Hello!", tools=OFFERED, tool_choice="required", n=2)
    assert set(required.calls) == set(required.finishes) == {0, 1}
    for calls in required.calls.values():
        assert [name for name, _ in calls] in (["get_weather"], ["convert_currency"])
    chosen = {"type": "function", "function": {"name": "convert_currency"}}
    named = await bench.ask("What is the weather in Oslo?", tools=OFFERED, tool_choice=chosen, stream=True)
    ((name, arguments),) = named.calls[0]
    assert name == "convert_currency"
    assert set(json.loads(arguments)) == {"amount", "source", "target"}
    none = await bench.ask("Say hello.", tools=OFFERED, tool_choice="none", max_tokens=8)
    assert none.calls == {}
    assert none.text.startswith("Hello")
    with pytest.raises(InvalidRequest, match="get_time"):
        await bench.ask("Hi", tools=OFFERED, tool_choice={"type": "function", "function": {"name": "get_time"}})


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_was_cut_is_never_whole(bench: Bench, stream: bool) -> None:
    heard = await bench.ask("What is the weather in Oslo?", tools=OFFERED, max_tokens=12, stream=stream)
    assert heard.finishes == {0: "length"}
    if stream:
        ((name, arguments),) = heard.calls[0]
        assert name == "get_weather"
        with pytest.raises(ValueError):
            json.loads(arguments)
    else:
        assert heard.calls == {}


async def test_a_stop_text_ends_a_reply_but_no_call(bench: Bench) -> None:
    heard = await bench.ask("Thank you, that was all!", tools=OFFERED, stop=["welcome", "\n"], stream=True)
    assert heard.finishes == {0: "stop"}
    assert "welcome" not in heard.text
    assert heard.usage is not None
    assert heard.usage.prompt_tokens > 100
    assert 0 < heard.usage.completion_tokens < 30
    call = await bench.ask("What is the weather in Oslo?", tools=OFFERED, stop=["city", "}"])
    assert json.loads(call.calls[0][0][1])["city"] == "Oslo"


async def test_a_reply_of_the_caller_s_own_form(bench: Bench) -> None:
    schema = {"type": "object", "properties": {"greeting": {"type": "string"}}, "required": ["greeting"]}
    heard = await bench.ask(
        "Hello, how are you?",
        tools=OFFERED,
        response_format={"type": "json_schema", "json_schema": {"name": "g", "schema": schema}},
    )
    assert heard.calls == {}
    assert list(json.loads(heard.text)) == ["greeting"]


NASTY: dict[str, dict[str, Any]] = {
    "tree": {
        "type": "object",
        "properties": {"root": {"$ref": "#/$defs/node"}},
        "required": ["root"],
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"v": {"enum": [1]}, "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                "required": ["v"],
            }
        },
    },
    "patterns": {
        "type": "object",
        "properties": {
            "looks": {"type": "string", "pattern": "^(?=a)b(?!c)$", "maxLength": 6},
            "code": {"type": "string", "pattern": "^[0-9]{2}$"},
            "edge": {"type": "string", "pattern": r"\bword\b", "maxLength": 6},
        },
        "required": ["looks", "code", "edge"],
    },
    "unsupported": {
        "type": "object",
        "properties": {
            "a": {"not": {"type": "null"}, "type": ["STRING", "null"], "maxLength": 4},
            "n": {"type": "integer", "minimum": 9, "maximum": 2},
            "l": {"type": "array", "uniqueItems": True, "maxItems": 10**7, "items": {"const": 1}},
            "any": True,
        },
        "required": ["a", "n"],
        "if": {"required": ["n"]},
        "patternProperties": {"^x(?=y)": {}},
        "additionalProperties": False,
    },
    "wide": {
        "type": "object",
        "properties": {f"p{n}": {"enum": [f"v{m}" for m in range(300)]} for n in range(20)},
        "required": ["p0", "p19"],
    },
}


@pytest.mark.parametrize("name", NASTY)
async def test_schemas_that_break_converters_still_hold_the_model(bench: Bench, name: str) -> None:
    nasty = [{"type": "function", "function": {"name": name, "parameters": NASTY[name]}}]
    heard = await bench.ask("Go.", tools=nasty, tool_choice="required", max_tokens=48)
    ((called, arguments),) = heard.calls.get(0) or [(name, "")]
    assert called == name
    if heard.finishes[0] == "length":
        assert arguments == ""
        return
    given = json.loads(arguments)
    assert set(NASTY[name]["required"]) <= set(given) <= set(NASTY[name]["properties"])
    if name == "patterns":
        assert given["code"].isdecimal()
        assert len(given["code"]) == 2
