"""Actions of a model are read the same however their text is split."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.request import ChatRequest
from pointsman.dialects.prompted.action_stream import ActionStream, CallArguments, CallStart, ReplyText
from pointsman.dialects.prompted.stop_text import StopText
from pointsman.dialects.prompted.tool_prompt import ToolPlan, plan_tools

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": 'odd "näme"\n', "parameters": {"type": "object"}}},
]


def plan(**fields: Any) -> ToolPlan:
    request = ChatRequest.build({"messages": [{"role": "user", "content": "x"}], "tools": TOOLS, **fields})
    found = plan_tools(request.params)
    assert found is not None
    return found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), json_values, max_size=4)


@st.composite
def split(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def read(stream: ActionStream, parts: list[str]) -> tuple[str, str | None, str]:
    text, name, arguments = "", None, ""
    for part in parts:
        for piece in stream.feed(part):
            match piece:
                case ReplyText(more):
                    more.encode()  # half of a surrogate pair cannot be sent
                    text += more
                case CallStart(called):
                    assert name is None
                    name = called
                case CallArguments(fragment):
                    assert name is not None
                    arguments += fragment
    return text, name, arguments


@given(text=st.text(), ascii_only=st.booleans(), indent=st.sampled_from([None, 2]), data=st.data())
def test_a_reply(text: str, ascii_only: bool, indent: int | None, data: st.DataObject) -> None:
    action = json.dumps({"tool": "reply", "arguments": {"text": text}}, ensure_ascii=ascii_only, indent=indent)
    stream = ActionStream(plan())
    assert read(stream, data.draw(split(action))) == (text, None, "")
    assert stream.complete


@given(arguments=objects, name=st.sampled_from([0, 1]), ascii_only=st.booleans(), data=st.data())
def test_a_call(arguments: dict[str, Any], name: int, ascii_only: bool, data: st.DataObject) -> None:
    called = plan().tools[name].name
    action = json.dumps({"tool": called, "arguments": arguments}, ensure_ascii=ascii_only)
    stream = ActionStream(plan())
    text, told, fragments = read(stream, data.draw(split(action)))
    assert (text, told) == ("", called)
    assert fragments == json.dumps(arguments, ensure_ascii=ascii_only)
    assert stream.complete


@given(form=objects, data=st.data())
def test_a_reply_of_the_caller_s_own_form_is_passed_on_as_json(form: dict[str, Any], data: st.DataObject) -> None:
    action = json.dumps({"tool": "reply", "arguments": {"text": form}})
    text, _, _ = read(ActionStream(plan(), raw_reply=True), data.draw(split(action)))
    assert text == json.dumps(form)


@given(units=st.lists(st.integers(0, 0xFFFF), max_size=12), data=st.data())
def test_code_units_in_any_order_never_make_half_a_pair(units: list[int], data: st.DataObject) -> None:
    escapes = "".join(f"\\u{unit:04x}" for unit in units)
    action = '{"tool": "reply", "arguments": {"text": "' + escapes + '"}}'
    text, _, _ = read(ActionStream(plan()), data.draw(split(action)))
    raw = json.loads(f'"{escapes}"')
    assert text == "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in raw)


@given(text=st.text(), arguments=objects, data=st.data())
def test_an_action_that_is_cut_gives_a_beginning_and_is_not_complete(
    text: str, arguments: dict[str, Any], data: st.DataObject
) -> None:
    action = json.dumps({"tool": "reply", "arguments": {"text": text}})
    stream = ActionStream(plan())
    got, _, _ = read(stream, data.draw(split(action[: data.draw(st.integers(0, len(action) - 4))])))
    assert text.startswith(got)
    assert not stream.complete

    whole = json.dumps(arguments)
    stream = ActionStream(plan())
    head = '{"tool": "get_weather", "arguments": '
    _, _, fragments = read(stream, data.draw(split(head + whole[: data.draw(st.integers(0, len(whole) - 1))])))
    assert whole.startswith(fragments)
    assert not stream.complete
    with pytest.raises(ValueError):
        json.loads(fragments)


@pytest.mark.parametrize(
    "text",
    [
        "Sure, here is the weather",
        '{"tool": "unknown", "arguments": {}}',
        '{"name": "get_weather", "arguments": {}}',
        '{"tool": "get_weather", "arguments": []}',
        '{"tool": "get_weather", "arguments": {}} and more',
        '{"tool": "reply", "arguments": {"text": "\\x"}}',
        '{"tool": "reply", "arguments": {"text": "\\uzzzz"}}',
        '{"tool": "' + "x" * 2000,
    ],
)
def test_what_is_no_action_is_an_error(text: str) -> None:
    with pytest.raises(UpstreamProtocolError, match="schemas"):
        ActionStream(plan()).feed(text)


def test_a_reply_is_an_error_where_a_call_was_required() -> None:
    with pytest.raises(UpstreamProtocolError):
        ActionStream(plan(tool_choice="required")).feed('{"tool": "reply", "arguments": {"text": ""}}')


@given(text=st.text("abcd", max_size=30), stops=st.lists(st.text("abcd", min_size=1, max_size=4), max_size=3),
       data=st.data())  # fmt: skip
def test_stop_texts_are_found_however_the_text_is_split(text: str, stops: list[str], data: st.DataObject) -> None:
    whole = StopText(stops)
    expected = whole.feed(text) + whole.rest()
    search = StopText(stops)
    got = "".join(search.feed(part) for part in data.draw(split(text))) + search.rest()
    assert got == expected
    assert search.found == any(stop in text for stop in stops)
    assert text.startswith(got)
    assert not any(stop in got for stop in stops)
