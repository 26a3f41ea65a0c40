"""The stage as a whole: clear refusals, no crash on anything, and a memory that changes no answer."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import ChatRequest
from pointsman.core.signals import Signals
from pointsman.pipeline.understand import Understand

from .understanding import SHARED, assistant, stage, understand, user

FORGETFUL = stage(memo_size=0)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
TEXTS = st.text(max_size=200) | st.sampled_from(
    ["yes", "password = 'hX9!bbq'", "```\nx\n", "<task></task>", "\\u12", "\x00"]
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "function", "developer"])},
        optional={
            "content": TEXTS
            | st.none()
            | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}), max_size=3)
            | JSON,
            "name": TEXTS | JSON,
            "tool_calls": JSON,
            "anything": JSON,
        },
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200)
@given(MESSAGES, st.dictionaries(st.sampled_from(["metadata", "user_data", "x"]), JSON, max_size=2))
def test_any_body_gives_signals_or_a_clear_refusal(messages: list[Any], fields: dict[str, Any]):
    request = ChatRequest.build({"messages": messages, **fields})
    first = outcome(SHARED, request)
    assert first == outcome(SHARED, request) == outcome(FORGETFUL, request)
    if isinstance(first, str):
        assert first.startswith(("messages[", *fields))


def outcome(using: Understand, request: ChatRequest) -> Signals | str:
    """The signals, or the field that the refusal names."""
    try:
        return using(request)
    except InvalidRequest as refusal:
        return refusal.param or "unnamed"


@given(st.binary(max_size=60))
def test_any_bytes_in_a_string(content: bytes):
    body = b'{"messages": [{"role": "user", "content": "' + content + b'"}]}'
    with contextlib.suppress(InvalidRequest):
        SHARED(ChatRequest.parse(body))


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([user("a"), {"role": "nobody", "content": "x"}], "messages[1].role"),
        ([user("a"), assistant("b"), {"content": "x"}], "messages[2].role"),
        ([user([{"type": "text", "text": 5}])], "messages[0].content[0].text"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": 1}}]}], "messages[0].tool_calls[0].function.name"),
        ([5], "messages[0]"),
    ],
)
def test_a_wrong_type_is_named(messages: list[Any], param: str):
    with pytest.raises(InvalidRequest) as caught:
        SHARED(ChatRequest.build({"messages": messages}))
    assert caught.value.param == param


def test_a_message_that_is_wrong_is_not_remembered_at_its_first_place():
    wrong = {"role": "user", "content": 5}
    for before in (0, 2):
        with pytest.raises(InvalidRequest) as caught:
            SHARED(ChatRequest.build({"messages": [user("x")] * before + [wrong]}))
        assert caught.value.param == f"messages[{before}].content"


@pytest.mark.parametrize("content", [b"\\ud800", b"\xff\xfe", b"\\u0000"])
def test_odd_characters_do_not_crash(content: bytes):
    body = b'{"messages": [{"role": "user", "content": "' + content + b'"}], "user": "x"}'
    with contextlib.suppress(InvalidRequest):
        assert SHARED(ChatRequest.parse(body)).prompt_hash


def test_deep_nesting_does_not_crash():
    deep = b"[" * 50_000 + b"]" * 50_000
    body = b'{"messages": [{"role": "user", "content": "x"}], "metadata": ' + deep + b"}"
    with pytest.raises(InvalidRequest):
        SHARED(ChatRequest.parse(body))
    inside = b'{"messages": [{"role": "user", "content": "x", "y": ' + deep + b"}]}"
    with pytest.raises(InvalidRequest):
        SHARED(ChatRequest.parse(inside))


def test_a_number_of_many_digits_does_not_crash():
    body = b'{"messages": [{"role": "user", "content": "x"}], "metadata": ' + b"9" * 10_000 + b"}"
    with pytest.raises(InvalidRequest):
        SHARED(ChatRequest.parse(body))


def test_ten_thousand_messages():
    signals = understand(*[user(f"message {number}") for number in range(10_000)])
    assert signals.conversation.turn == 10_000


def test_a_message_of_ten_megabytes():
    started = time.perf_counter()
    signals = understand("please summarize this:\n" + "all work and no play makes jack a dull boy. " * 230_000)
    assert time.perf_counter() - started < 2  # about 0.1 s
    assert signals.intent == "summarization"


def test_what_was_understood_before_costs_little():
    using = stage()
    history = [user(f"{number} " + "def f(x): return x + 1\n" * 100) for number in range(40)]
    request = ChatRequest.build({"messages": history})
    first = using(request)
    assert len(using._messages) == 40
    assert using(request) == first
    using(ChatRequest.build({"messages": [*history, assistant("ok"), user("and now?")]}))
    assert len(using._messages) == 42


def test_the_memory_is_bounded():
    using = stage(memo_size=16)
    for number in range(100):
        understand(f"message {number}", using=using)
    assert len(using._messages) == 16


def test_the_hash_tells_equal_prompts_and_nothing_else():
    first = understand("hello", using=stage(key=b"a")).prompt_hash
    assert first == understand("hello", using=stage(key=b"a"), temperature=0.5).prompt_hash
    assert first != understand("hello!", using=stage(key=b"a")).prompt_hash
    assert first != understand("hello", using=stage(key=b"b")).prompt_hash
    assert first != understand("hello", using=stage(key=b"a" * 200)).prompt_hash
    assert len(first) == 32


def test_priority():
    def priority(preferences: dict[str, str] | None, asked: Any = None) -> str:
        fields = {"routing_preferences": preferences} if preferences else {}
        return SHARED(ChatRequest.build({"messages": [user("x")], **fields}), priority=asked).priority

    assert priority(None) == "balanced"
    assert priority({"latency_preference": "speed"}) == "speed"
    assert priority({"latency_preference": "speed", "priority": "cost"}) == "cost"
    assert priority({"priority": "cost"}, "privacy") == "privacy"


def test_a_conversation_without_a_user_is_read_by_its_last_message():
    assert understand({"role": "system", "content": "write a poem about trains"}).intent == "creative"
