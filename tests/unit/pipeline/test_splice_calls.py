"""Tool calls in a stream that may break: told whole or not at all, and never twice."""

from __future__ import annotations

import json

import pytest
from splicing import PREFILLS, REPEATS, asking, begun, call, carried_out, chunk, streamed

from pointsman.core.catalog import ModelCard, Prefill
from pointsman.pipeline.execute.splice import Splice
from pointsman.pipeline.execute.splice.held import EVERY, MOST

TOOLS = [{"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}]
ARGUMENTS = [json.dumps({"path": "a.py", "text": 'x = "{"\n'}), json.dumps({"path": "b.py"})]
TEXT = "I look at both."


def answer(model: str = "first", text: str = TEXT):
    frames = streamed(text, finish=None, model=model)
    frames += call(0, "call_a", "read", ARGUMENTS[0]) + call(1, "call_b", "read", ARGUMENTS[1])
    return [*frames, chunk({}, finish="tool_calls", model=model)]


def goes_on(asked):
    said = begun(asked) if asked.message(-1).role == "assistant" else ""
    assert TEXT.startswith(said)
    return answer("second", TEXT[len(said) :])


def test_wherever_it_breaks_calls_are_told_whole_and_once():
    frames = answer()
    for stop in range(1, len(frames)):
        told = carried_out(asking(tools=TOOLS), frames, (PREFILLS, goes_on), breaks=[stop])
        assert told.text == TEXT, stop
        if len(told.calls) == 1:  # one was told before the break: the answer ends with it
            assert told.calls == [("read", ARGUMENTS[0])], stop
        else:
            assert told.calls == [("read", arguments) for arguments in ARGUMENTS], stop
        assert told.finishes == ["tool_calls"]
        told.check()


def test_calls_go_out_when_the_next_begins():
    splice = Splice(asking(tools=TOOLS))
    splice.asks(REPEATS, asking(tools=TOOLS))
    first, second = call(0, "call_a", "read", ARGUMENTS[0]), call(1, "call_b", "read", ARGUMENTS[1])
    assert [splice.passes(event) for event in first] == [None] * len(first)
    told = splice.passes(second[0])
    assert told is not None
    assert told.raw == b"".join(event.raw for event in first)
    assert all(splice.passes(event) is None for event in second[1:])
    last = chunk({}, finish="tool_calls")
    told = splice.passes(last)
    assert told is not None
    assert told.raw == b"".join(event.raw for event in [*second, last])
    assert told.finish_reason == "tool_calls"


def test_pieces_of_calls_that_come_in_turn_wait_for_each_other():
    splice = Splice(asking(tools=TOOLS))
    splice.asks(REPEATS, asking(tools=TOOLS))
    first, second = call(0, "call_a", "read", ARGUMENTS[0]), call(1, "call_b", "read", ARGUMENTS[1])
    mixed = [first[0], second[0], *first[1:], *second[1:]]
    assert all(splice.passes(event) is None for event in mixed)
    told = splice.passes(chunk({}, finish="tool_calls"))
    assert told is not None
    assert told.raw.startswith(b"".join(event.raw for event in mixed))


def test_calls_that_all_have_the_same_index_are_told_apart_by_their_ids():
    splice = Splice(asking(tools=TOOLS))
    splice.asks(REPEATS, asking(tools=TOOLS))
    for event in call(0, "call_a", "read", ARGUMENTS[0]):
        assert splice.passes(event) is None
    assert splice.passes(call(0, "call_b", "read", "{}")[0]) is not None


def test_frames_before_a_call_in_the_same_event_go_out():
    splice = Splice(asking(tools=TOOLS))
    splice.asks(REPEATS, asking(tools=TOOLS))
    text, begins = chunk({"content": "a"}), call(0, "call_a", "read", "{}")[0]
    both = type(text)(text.raw + begins.raw)
    told = splice.passes(both)
    assert told is not None
    assert told.raw == text.raw


@pytest.mark.parametrize("delta", [{"content": "a", "tool_calls": None}, {"content": "a", "tool_calls": []}])
def test_no_call_is_no_call(delta):
    splice = Splice(asking(tools=TOOLS))
    splice.asks(REPEATS, asking(tools=TOOLS))
    event = chunk(delta)
    assert splice.passes(event) is event
    assert splice.can_go_on(PREFILLS)
    assert splice.whole() is None


def test_while_much_is_held_the_caller_hears_that_something_lives():
    splice = Splice(asking(tools=TOOLS))
    splice.asks(REPEATS, asking(tools=TOOLS))
    told = [splice.passes(event) for event in call(0, "call_a", "read", json.dumps({"text": "x" * 300}), size=2)]
    heard = [event.raw for event in told if event is not None]
    assert heard == [b": a tool call is on its way\n\n"] * (len(told) // EVERY)


def test_a_call_of_any_size_comes_out_as_it_came():
    splice = Splice(asking(tools=TOOLS))
    splice.asks(REPEATS, asking(tools=TOOLS))
    frames = call(0, "call_a", "read", json.dumps({"text": "x" * (MOST + 10)}), size=MOST // 3)
    told = [event.raw for event in map(splice.passes, frames) if event is not None]
    assert b"".join(told) == b"".join(event.raw for event in frames)


def test_where_nobody_follows_nothing_is_held():
    splice = Splice(asking(tools=TOOLS))
    splice.asks(REPEATS, asking(tools=TOOLS))
    splice.holds = False
    for event in call(0, "call_a", "read", ARGUMENTS[0]):
        assert splice.passes(event) is event


def test_a_call_that_was_not_held_back_and_broke_off_is_not_told_as_whole():
    splice = Splice(asking(tools=TOOLS))
    splice.asks(REPEATS, asking(tools=TOOLS))
    splice.holds = False
    for event in [*streamed(TEXT, finish=None), *call(0, "call_a", "read", ARGUMENTS[0])[:-1]]:
        splice.passes(event)
    assert splice.whole() is None
    assert not splice.can_go_on(REPEATS)


def test_models_that_learn_their_tools_from_the_prompt_are_asked_in_words():
    frames = streamed(TEXT, finish=None)[:4]
    cards = [
        (ModelCard(id="a:b", provider="a", name="b", prefill=Prefill()), "assistant"),
        (ModelCard(id="a:c", provider="a", name="c", prefill=Prefill(with_tools=False)), "user"),
        (ModelCard(id="a:d", provider="a", name="d", prefill=Prefill(), simulated=frozenset({"tools"})), "user"),
        (ModelCard(id="a:e", provider="a", name="e"), "user"),
    ]
    for card, role in cards:
        splice = Splice(asking(tools=TOOLS))
        splice.asks(REPEATS, asking(tools=TOOLS))
        for event in frames:
            splice.passes(event)
        assert splice.asks(card, asking(tools=TOOLS)).message(-1).role == role
    for fields in ({"tool_choice": "required"}, {"reasoning_effort": "high"}, {"thinking": {"type": "enabled"}}):
        splice = Splice(asking(tools=TOOLS))
        splice.asks(REPEATS, asking(tools=TOOLS))
        for event in frames:
            splice.passes(event)
        assert splice.asks(PREFILLS, asking(tools=TOOLS, **fields)).message(-1).role == "user"
