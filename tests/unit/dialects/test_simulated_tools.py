"""Tool calls by prompt: what is read as a call, and that nothing malformed ever is."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.request import ChatRequest
from pointsman.dialects.prompted.schema_check import fits
from pointsman.dialects.prompted.simulated import ActionReader, simulate
from pointsman.dialects.prompted.tool_schema import SchemaBook

PARAMETERS = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "lines": {"type": "array", "items": {"type": "integer"}},
        "mode": {"enum": ["r", "w", 1]},
    },
    "required": ["path"],
}
READ = {"type": "function", "function": {"name": "read", "description": "Read a file.", "parameters": PARAMETERS}}
ASK = {"messages": [{"role": "user", "content": "hi"}], "tools": [READ]}

GOOD = st.fixed_dictionaries(
    {"path": st.text(max_size=10)},
    optional={"lines": st.lists(st.integers(), max_size=3), "mode": st.sampled_from(["r", "w", 1])},
)


def read(text: str, cuts: list[int], *, reason: str = "stop", **fields: Any) -> tuple[str, dict | None, str]:
    simulation = simulate(ChatRequest.build({**ASK, **fields}))
    assert simulation is not None
    reader = ActionReader(simulation)
    said = "".join(reader.feed(text[a:b]) for a, b in itertools.pairwise([0, *sorted(cuts), len(text)]))
    rest, call, reason = reader.end(reason)
    return said + rest, call, reason


@st.composite
def cut(draw: Any, texts: st.SearchStrategy[str]) -> tuple[str, list[int]]:
    text = draw(texts)
    return text, draw(st.lists(st.integers(0, len(text)), max_size=5))


@given(cut(GOOD.map(lambda arguments: json.dumps({"tool": "read", "arguments": arguments}))))
def test_a_call_comes_out_whole(written):
    text, cuts = written
    said, call, reason = read(text, cuts)
    assert (said, reason, call["function"]["name"]) == ("", "tool_calls", "read")
    assert json.loads(call["function"]["arguments"]) == json.loads(text)["arguments"]


@given(cut(st.text(max_size=30).map(lambda text: json.dumps({"tool": "reply", "arguments": {"text": text}}))))
def test_a_reply_is_its_text(written):
    text, cuts = written
    expected = json.loads(text)["arguments"]["text"]
    assert read(text, cuts) == (expected, None, "stop")


@given(cut(st.text(max_size=30).filter(lambda text: text.strip() and not text.lstrip().startswith("{"))))
def test_words_are_words(written):
    text, cuts = written
    assert read(text, cuts) == (text.lstrip(), None, "stop")
    with pytest.raises(UpstreamProtocolError):
        read(text, cuts, tool_choice="required")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@given(
    cut(
        JSON.map(lambda arguments: json.dumps({"tool": "read", "arguments": arguments}))
        | st.text(max_size=30).map(lambda text: '{"tool": "read", "arguments": {' + text)
        | st.text(max_size=20).map(lambda text: "{" + text)
    )
)
def test_a_call_is_what_the_schema_allows_or_none(written):
    text, cuts = written
    try:
        _, call, reason = read(text, cuts)
    except UpstreamProtocolError:
        return
    if call is None:
        assert reason != "tool_calls"
        return
    arguments = json.loads(call["function"]["arguments"])
    assert set(arguments) <= {"path", "lines", "mode"}
    assert isinstance(arguments["path"], str)


def test_a_cut_call_is_left_out_and_a_cut_reply_kept():
    assert read('{"tool": "read", "argu', [], reason="length") == ("", None, "length")
    assert read('{"tool": "reply", "arguments": {"text": "so f', [], reason="length") == ("so f", None, "length")


def test_stop_texts_end_a_reply_and_not_a_call():
    reply = '{"tool": "reply", "arguments": {"text": "one END two"}}'
    assert read(reply, [], stop=["END"]) == ("one ", None, "stop")
    assert read('{"tool": "read", "arguments": {"path": "END"}}', [], stop=["END"])[2] == "tool_calls"


def test_a_reply_of_the_callers_own_schema_is_json():
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    said, call, _ = read('{"tool": "reply", "arguments": {"text": {"x": 1}}}', [4], response_format=wanted)
    assert (said, call) == ('{"x": 1}', None)


def test_requests_without_tools_stay_as_they_are():
    plain = {"messages": [{"role": "user", "content": "which tool is best?"}]}
    assert simulate(ChatRequest.build(plain)) is None
    history = [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "c", "content": "3"}]
    told = simulate(ChatRequest.build({"messages": history}))
    assert told.plan is None
    assert told.request.message(-1).text == "Result of the tool:\n3"


def test_pictures_stay_with_their_turns():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "one"}, picture]},
        {"role": "assistant", "content": None,
         "tool_calls": [{"id": "c", "type": "function", "function": {"name": "read", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "a"},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "b"}, picture]},
        {"role": "user", "content": "two"},
    ]  # fmt: skip
    told = simulate(ChatRequest.build({**ASK, "messages": messages})).request.messages()
    shown = [message.text for message in told if isinstance(message.content, list)]
    assert shown == ["one", "Result of read:\na\n\nResult of read:\nb"]


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer"}, [1, 2.0], ["1", True, 1.5, None]),
        ({"type": ["string", "null"]}, ["a", None], [1, []]),
        ({"enum": [1, "a"]}, [1, "a"], [True, "b", 2]),
        ({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "boolean"}}]}, ["", [True]], [[1], {}]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, [{"a": 1}], [{"a": "b"}]),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": False}, [["a"], []], [["a", 1], [1]]),
        ({"allOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}]},
         [{"a": 1, "b": 2}], [{"a": 1}]),
        ({"type": "object", "properties": {"t": {"$ref": "#"}}}, [{"t": {"t": {}}}], [{"t": 1}, {"x": 1}]),
    ],
)  # fmt: skip
def test_what_fits_a_schema(schema, good, bad):
    book = SchemaBook()
    built = book.add(schema, param="x")
    assert [value for value in good if not fits(value, built, book.definitions)] == []
    assert [value for value in bad if fits(value, built, book.definitions)] == []
