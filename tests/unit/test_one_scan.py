"""A body that is read in one scan is read as in two."""

from __future__ import annotations

import json
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.core import request as reading
from pointsman.core.errors import InvalidRequest
from pointsman.core.request import ChatRequest

HI = '[{"role":"user","content":"hi"}]'

# Fragments that may meet in any order: whatever a body holds, both readings must tell the same of it.
FRAGMENTS = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "0",
    '"',
    '\\"',
    "\\",
    '"messages":',
    '"messages": ',
    '"messages"',
    HI,
    '[{"role":"user","content":"a"},{"role":"user","content":"b"}]',
    '[{"role":"user","content":"a"}, {"role":"user","content":"b"}]',
    '[{"role":"user","content":"a"} ,{"role":"user","content":"b"}]',
    '"n":1',
    '"user":"u"',
    '"tools":[{"a":0},{"b":[]}]',
    '"tools":0',
    '"metadata":{"tools":[{"a":0},{"b":[]}]}',
    '"metadata":{"messages":' + HI + "}",
    '"x\\"messages":' + HI,
    "]}}",
]


def told(body: bytes, large: int) -> object:
    with mock.patch.object(reading, "LARGE", large):
        try:
            found = ChatRequest.parse(body)
        except InvalidRequest as error:
            return error.message, error.param
    raw = {name: bytes(value) for name, value in found.fields.items()}
    return list(raw.items()), [bytes(message) for message in found.params.messages], found.params.model, found.size


def both(body: bytes) -> object:
    once = told(body, 0)
    assert once == told(body, 1 << 40)
    return once


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,", " :"), (",", ": ")])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_however_it_is_written(separators, indent, place):
    messages = [{"role": "user", "content": 'é "messages":[{"a":0}], \\ '}, {"role": "assistant", "content": None}]
    fields = [("model", "m"), ("metadata", {"messages": messages, "größe": [1, {}]})]
    fields.insert(place, ("messages", messages))
    for ascii_only in (True, False):
        body = json.dumps(dict(fields), separators=separators, indent=indent, ensure_ascii=ascii_only)
        found = both(body.encode())
        assert isinstance(found, tuple)
        assert [name for name, _ in found[0]] == [name for name, _ in fields]


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_what_clients_write_is_read_in_one_scan(separators):
    messages = [{"role": "user", "content": "a, b"}, {"role": "user", "content": "c"}]
    fields = {"model": "m", "messages": messages, "seed": 1, "tools": [{"tools": [1, 2]}, {"messages": {}}]}
    body = json.dumps(fields, separators=separators).encode()
    with mock.patch.object(reading, "LARGE", 0), mock.patch.object(reading, "_refuse_repeated") as checked:
        assert len(ChatRequest.parse(body).params.messages) == 2
    around = json.dumps({**fields, "messages": 0, "tools": 0}, separators=separators).encode()
    checked.assert_called_once_with(around, mock.ANY)


@pytest.mark.parametrize(
    "body",
    [
        f'{{"messages":{HI},"messages":{HI}}}',
        f'{{"messages":[],"messages":{HI}}}',
        f'{{"messages":{HI},"m\\u0065ssages":{HI}}}',
        f'{{"messages":{HI},"user":"a","user":"a"}}',
        f'{{"messages":{HI},"messages":0}}',
        f'{{"messages":{HI},"tools":[{{}}],"tools":[{{}}]}}',
        f'{{"messages":{HI},"tools":[{{}}],"tools":0}}',
        f'{{"messages":{HI},"tools":[1]}}',
        f'{{"model":1,"messages":{HI}',
        f'{{"model":"m","messages":{HI}}}]',
        f'{{"messages":{HI},"\\ud800":1}}',
        f'{{"messages":{HI},"\\udc00":1}}',
        '{"messages":[{"role":"user","content":"foo,"}  ],":1,":2}',
        "[]",
        "",
    ],
)
def test_what_is_refused_is_refused_in_the_same_words(body):
    refused = both(body.encode())
    assert isinstance(refused, tuple)


def test_bytes_that_are_no_text_are_told_alike():
    for place in (b'"messages":[{"role":"user","content":"\xff"}]', b'"messages":[],"\xff":1', b'"user":"\xff"'):
        both(b'{"messages":' + HI.encode() + b"," + place + b"}")


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
@example(f'"a":{{"messages":{HI}}},"messages":{HI}')
@example(f'"x\\"messages":{HI},"messages":{HI}')
@example(f'"messages":{HI},"x\\"messages":{HI}')
def test_both_readings_tell_the_same(inside):
    both(f"{{{inside}}}".encode())
    both(f'{{{inside},"messages":{HI}}}'.encode())
    both(f'{{"messages":{HI},{inside}}}'.encode())
