"""What the fields beside the messages say is kept for requests that differ in their messages alone, for no others."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import ChatRequest
from pointsman.pipeline.understand import ComplexityRules, PrivacyRules, Understand, beside, stage

KEY = "AKIAIOSFODNN7EXAMPLZ"
FIELDS: tuple[dict[str, Any], ...] = (
    {},
    {"a": 1, "b": 23},
    {"a": 12, "b": 3},
    {"a\x001\x00b": 2},
    {"a": 1, "b": 2},
    {"ab": "c"},
    {"a": "bc"},
    {"user": "u1"},
    {"user": KEY},
    {KEY: "u1"},
    {"max_tokens": 16},
    {"max_tokens": 16, "n": 2},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "tool_choice": "none"},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    {"response_format": {"type": "json_object"}},
    {"reasoning_effort": "low", "metadata": {"cache_control": "x"}},
)


def understand() -> Understand:
    return Understand(privacy=PrivacyRules(), complexity=ComplexityRules(), hash_key=b"k", windows=lambda: ())


def asked(text: str, fields: dict[str, Any]) -> ChatRequest:
    body = {"model": "auto", "messages": [{"role": "user", "content": text}], **fields}
    return ChatRequest.parse(json.dumps(body).encode())


def test_every_request_is_understood_as_if_it_were_the_first():
    requests = [asked("Why so?", fields) for fields in FIELDS]
    alone = [understand()(request) for request in requests]
    one = understand()
    for first, second in permutations(range(len(FIELDS)), 2):
        one(asked("Why?", FIELDS[first]))
        assert one(requests[second]) == alone[second]


def test_a_secret_in_a_field_or_its_name_is_found_each_time():
    one = understand()
    for text in ("Why?", "Why so?"):
        for fields in ({"user": KEY}, {KEY: "u1"}, {"user": "u1"}):
            assert one(asked(text, fields)).privacy.local_only is (KEY in str(fields))


def test_the_value_too_many_is_named(monkeypatch: pytest.MonkeyPatch):
    for module in (beside, stage):
        monkeypatch.setattr(module, "MOST_VALUES", 10)
    one = understand()
    short, long = asked("Why?", {"user": "u1", "stop": ["a", "b"]}), asked("Why?", {"stop": ["x"] * 8, "user": "u1"})
    assert one(short).privacy.local_only is False
    with pytest.raises(InvalidRequest) as refused:
        one(long)
    assert refused.value.param == "stop"
    many = {"role": "user", "content": "Why?"}
    four = ChatRequest.parse(json.dumps({"model": "auto", "messages": [many] * 4}).encode())
    for _ in range(2):
        with pytest.raises(InvalidRequest) as refused:
            one(four)
        assert refused.value.param == "messages[3]"
    # known fields, with more before them
    three = ChatRequest.parse(
        json.dumps({"model": "auto", "messages": [many] * 3, "user": "u1", "stop": ["a"]}).encode()
    )
    with pytest.raises(InvalidRequest) as refused:
        one(three)
    assert refused.value.param == "stop"
