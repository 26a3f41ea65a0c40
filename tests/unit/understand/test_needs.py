"""What a model must be able to do, and how many tokens a request takes."""

from __future__ import annotations

from typing import Any

import pytest

from pointsman.core import tokens
from pointsman.core.signals import Needs

from .understanding import assistant, stage, tool, understand, user

TOOL = {"type": "function", "function": {"name": "f"}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def needs(*messages: Any, using: Any = None, **fields: Any) -> Needs:
    return understand(*messages, **({"using": using} if using else {}), **fields).needs


def test_nothing_special():
    found = needs("hello")
    wanted = (found.tools, found.vision, found.json_object, found.json_schema, found.logprobs)
    assert not any(wanted)
    assert (found.choices, found.max_output) == (1, None)


@pytest.mark.parametrize(
    ("fields", "tools"),
    [
        ({"tools": [TOOL]}, True),
        ({"tools": [TOOL], "tool_choice": "auto"}, True),
        ({"tools": [TOOL], "tool_choice": "none"}, False),
        ({"tools": []}, False),
        ({"functions": [{"name": "f"}]}, True),
        ({"functions": []}, False),
    ],
)
def test_tools(fields: dict[str, Any], tools: bool):
    assert needs("hello", **fields).tools is tools


def test_a_history_with_tool_calls_needs_a_model_that_knows_them():
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": {"name": "f"}}]}
    assert needs("go", call, tool("x"), assistant("done"), "thanks").tools


def test_pictures_anywhere():
    assert needs(user([{"type": "text", "text": "what is it?"}, PICTURE]), assistant("a cat"), "sure?").vision


@pytest.mark.parametrize("kind", ["json_object", "json_schema", "text"])
def test_forms_of_answer(kind: str):
    form: dict[str, Any] = {"type": kind}
    if kind == "json_schema":
        form["json_schema"] = {"name": "s", "schema": {"type": "object"}}
    found = needs("hello", response_format=form)
    assert (found.json_object, found.json_schema) == (kind == "json_object", kind == "json_schema")


def test_logprobs_and_choices():
    assert needs("x", logprobs=True).logprobs
    assert needs("x", logprobs=True, top_logprobs=3, n=4).choices == 4
    assert not needs("x", logprobs=False).logprobs


def test_output():
    assert needs("write a parser", max_tokens=50).expected_output == 50
    assert needs("write a parser", max_completion_tokens=9_000).max_output == 9_000
    assert needs("hello!").expected_output < needs("write a parser in Python").expected_output
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": {"name": "f"}}]}
    assert needs("write a parser", call, tool("ok")).expected_output == 200


def test_bounds_hold_the_exact_count():
    text = "The quick brown fox jumps over the lazy dog. " * 200
    found = needs(text)
    assert found.prompt_tokens_low <= tokens.count(text) <= found.prompt_tokens_high
    assert found.prompt_tokens_low <= found.prompt_tokens <= found.prompt_tokens_high


def test_everything_in_the_body_counts():
    tools = [{"type": "function", "function": {"name": "f", "description": "long " * 500}}]
    assert needs("hello", tools=tools).prompt_tokens > needs("hello").prompt_tokens + 500
    assert needs(user([PICTURE])).prompt_tokens > 700


def test_the_exact_count_is_taken_only_near_a_window(monkeypatch: pytest.MonkeyPatch):
    counted: list[int] = []
    exact = tokens.count

    def watched(text: str, encoding: str = tokens.DEFAULT_ENCODING) -> int:
        counted.append(len(text))
        return exact(text, encoding)

    monkeypatch.setattr(tokens, "count", watched)
    text = "The quick brown fox jumps over the lazy dog. " * 200
    far = needs(text, using=stage(windows=[128_000, 200]))
    assert counted == []
    near = stage(windows=[2_000])
    close = needs(text, using=near)
    assert len(counted) == 1
    assert abs(close.prompt_tokens - exact(text)) < 20
    assert close.prompt_tokens_high - close.prompt_tokens_low < far.prompt_tokens_high - far.prompt_tokens_low
    needs(text, assistant("ok"), "more", using=near)
    assert len(counted) == 3, "what was counted before is remembered"


def test_the_answer_s_room_is_part_of_what_is_near():
    text = "The quick brown fox jumps over the lazy dog. " * 200  # at most 5,200 tokens
    loose = needs(text, using=stage(windows=[20_000])).prompt_tokens_high
    assert needs(text, using=stage(windows=[20_000]), max_tokens=16_000).prompt_tokens_high < loose


def test_a_huge_prompt_is_not_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tokens, "count", lambda text, encoding="": pytest.fail("counted"))
    assert needs("word " * 400_000, using=stage(windows=[500_000])).prompt_tokens_high > 500_000
