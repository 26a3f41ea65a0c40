"""A body says each thing once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import ChatRequest

HI = '"messages": [{"role": "user", "content": "hi"}]'
names = st.text(max_size=6).filter(lambda name: name.casefold() not in ("model", "messages", "stream"))
space = st.sampled_from(["", " ", "\n  ", "\t", " \r\n"])
values = st.none() | st.integers(0, 99) | st.text(max_size=8) | st.lists(st.text(max_size=3), max_size=3)
known = {"n", "user", "seed", "stop", "tools"}


@given(
    st.lists(st.tuples(names.filter(lambda name: name not in known), values), max_size=6),
    st.lists(space, min_size=4, max_size=4),
    st.booleans(),
)
def test_a_field_that_stands_twice_is_refused_however_it_is_written(pairs, spaces, escaped):
    a, b, c, d = spaces
    fields = [f"{json.dumps(name, ensure_ascii=escaped)}{a}:{b}{json.dumps(value)}" for name, value in pairs]
    body = f"{d}{{{c}{f'{a},{c}'.join([HI, *fields])}{b}}}{d}".encode("utf-8", "replace")
    if len({name for name, _ in pairs}) == len(pairs):
        assert len(ChatRequest.parse(body).fields) == len(pairs) + 1
    else:
        with pytest.raises(InvalidRequest, match="stands twice"):
            ChatRequest.parse(body)


@pytest.mark.parametrize(
    "body",
    [
        f'{{{HI},"n":1,"n":1}}',
        f"{{{HI},{HI}}}",
        f'{{"messages":[],{HI}}}',
        f'{{{HI},"m\\u0065ssages":[]}}',
        f'{{{HI},"user":"a","user":"b"}}',
        f'{{"user":"\\",\\"user\\":\\"x","user":"",{HI}}}',
    ],
)
def test_small_copies_are_found(body):
    with pytest.raises(InvalidRequest):
        ChatRequest.parse(body.encode())


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_what_encoders_write_is_taken(separators):
    fields = {"messages": [{"role": "user", "content": 'é "quoted", {"messages": 1}'}], "größe": {"a": [1]}, "user": ""}
    for indent in (None, 2):
        for ascii_only in (False, True):
            text = json.dumps(fields, separators=separators, indent=indent, ensure_ascii=ascii_only)
            assert set(ChatRequest.parse(text.encode()).fields) == set(fields)
