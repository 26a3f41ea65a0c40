"""What a model without tool calls is told of tools, and what it may answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import ChatRequest
from pointsman.dialects.prompted.plain_turns import plain_turns
from pointsman.dialects.prompted.tool_prompt import action_schema, example_arguments, examples, instructions, plan_tools

DEFINED: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data" / "tool_prompts.json").read_text())["tools"]
TOOLS = [{"type": "function", "function": {"name": name, **DEFINED[name]}} for name in DEFINED]
USER = {"role": "user", "content": "x"}


def request(messages: list[dict[str, Any]] | None = None, **fields: Any) -> ChatRequest:
    return ChatRequest.build({"messages": messages or [USER], **fields})


def turns(messages: list[dict[str, Any]], **fields: Any) -> list[dict[str, str]]:
    asked = request(messages, **fields)
    return plain_turns(asked.messages(), plan_tools(asked.params))


@pytest.mark.parametrize(
    ("choice", "names", "reply"),
    [
        (None, 13, True),
        ("auto", 13, True),
        ("required", 13, False),
        ({"type": "function", "function": {"name": "read_file"}}, 1, False),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [
                {"type": "function", "function": {"name": "read_file"}},
                {"type": "function", "function": {"name": "run_tests"}}]}}, 2, True,
        ),
    ],
)  # fmt: skip
def test_the_choice_narrows_the_plan(choice: Any, names: int, reply: bool) -> None:
    plan = plan_tools(request(tools=TOOLS, tool_choice=choice).params)
    assert plan is not None
    assert (len(plan.tools), plan.reply) == (names, reply)
    validator = jsonschema.Draft202012Validator(action_schema(plan))
    assert validator.is_valid({"tool": "read_file", "arguments": {"path": "a"}})
    assert validator.is_valid({"tool": "get_weather", "arguments": {"city": "Oslo"}}) == (names == 13)
    assert validator.is_valid({"tool": "reply", "arguments": {"text": "Hi"}}) == reply
    for wrong in ({"path": 3}, {}, {"path": "a", "more": 1}):
        assert not validator.is_valid({"tool": "read_file", "arguments": wrong})


def test_no_plan_without_tools_to_call() -> None:
    assert plan_tools(request().params) is None
    assert plan_tools(request(tools=[], tool_choice="auto").params) is None
    assert plan_tools(request(tools=TOOLS, tool_choice="none").params) is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "custom"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nope"}}}, "tool_choice"),
        ({"tools": [*TOOLS, {"type": "web_search"}]}, "tools[13]"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        plan_tools(request(**fields).params)
    assert caught.value.param == param


def test_parameters_that_are_no_schema_name_their_tool() -> None:
    for parameters in ({"type": "string"}, {"properties": {"a": {"type": "wibble"}}}):
        tool = {"type": "function", "function": {"name": "broken", "parameters": parameters}}
        plan = plan_tools(request(tools=[TOOLS[0], tool]).params)
        assert plan is not None
        with pytest.raises(InvalidRequest, match=r"tools\[1\].*'broken'"):
            action_schema(plan)


def test_a_tool_that_is_called_reply_keeps_its_name() -> None:
    plan = plan_tools(request(tools=[{"type": "function", "function": {"name": "reply"}}]).params)
    assert plan is not None
    assert plan.reply_name == "reply_to_user"
    assert "reply_to_user" in instructions(plan)


def test_the_examples_are_answers_that_the_schema_allows_and_always_the_same() -> None:
    for start in range(len(TOOLS)):
        plan = plan_tools(request(tools=TOOLS[start:]).params)
        assert plan is not None
        validator = jsonschema.Draft202012Validator(action_schema(plan))
        shown = examples(plan)
        assert shown == examples(plan)
        assert [turn["role"] for turn in shown] == ["user", "assistant"] * (len(shown) // 2)
        for turn in shown[1::2]:
            validator.validate(json.loads(turn["content"]))


def test_a_conversation_with_tools_becomes_turns_of_text() -> None:
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": "read_file", "arguments": json.dumps({"path": n})}}
        for n in "ab"
    ]
    history: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Compare"}, {"type": "text", "text": "a and b"}]},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_a", "content": "AAA"},
        {"role": "tool", "tool_call_id": "call_b", "content": "BBB"},
        {"role": "assistant", "content": "They differ."},
        {"role": "user", "content": "Thanks"},
    ]
    plain = turns(history)
    assert [turn["role"] for turn in plain] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert plain[1]["content"] == "Compare\na and b"
    assert plain[3]["content"] == "Result of read_file:\nAAA\n\nResult of read_file:\nBBB"
    assert plain[4]["content"] == "They differ."
    taught = turns(history, tools=TOOLS)
    assert taught[0]["content"].startswith("Be brief.\n\n")
    assert "read_file(path: string)" in taught[0]["content"]
    assert taught[-5:-2] == plain[1:4]
    assert json.loads(taught[-2]["content"]) == {"tool": "reply", "arguments": {"text": "They differ."}}


def test_arguments_that_another_model_broke_are_shown_as_they_are() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": '}}
    plain = turns([USER, {"role": "assistant", "content": None, "tool_calls": [call]}])
    assert json.loads(plain[1]["content"])["arguments"] == '{"a": '


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file"])
def test_parts_that_are_not_text_are_refused(kind: str) -> None:
    content = [{"type": "text", "text": "What is this?"}, {"type": kind, kind: {"url": "data:,"}}]
    with pytest.raises(InvalidRequest, match="reads text only") as caught:
        turns([USER, {"role": "user", "content": content}])
    assert caught.value.param == "messages[1].content[1]"


def test_pages_of_description_are_cut() -> None:
    long = {"name": "f", "description": "word " * 5000, "parameters": {
        "type": "object", "properties": {"a": {"type": "string", "description": "note " * 1000}}}}  # fmt: skip
    plan = plan_tools(request(tools=[{"type": "function", "function": long}]).params)
    assert plan is not None
    assert len(instructions(plan)) < 1000


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["type", "properties", "items", "enum", "required", "description", "anyOf"]),
                        inner, max_size=4), max_leaves=12))  # fmt: skip
def test_any_parameters_are_described_or_refused(parameters: Any) -> None:
    try:
        tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters}}
        plan = plan_tools(request(tools=[tool]).params)
        assert plan is not None
        action_schema(plan)
    except InvalidRequest:
        return
    assert "f(" in instructions(plan)
    json.dumps(examples(plan))
    example_arguments(plan.tools[0].parameters)
