"""Bad input gets a typed error that names the mend, loses nothing, and is in the log."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .running import Gateway

HI = [{"role": "user", "content": "hi"}]


def ask(gateway: Gateway, body, **headers):
    return gateway.ask("POST", "/v1/chat/completions", body, headers=headers)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b'"text"', None),
        (b"\xff\xfe", None),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', None),
        (b"[" * 100_000, None),
        (b'{"messages": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", None),
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [3]}, "messages[0]"),
        ({"messages": [{"role": "king", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [*HI, {"role": "user", "content": 3}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": [{"text": "no type"}]}]}, "messages[0].content[0].type"),
        ({"messages": HI, "model": 3}, "model"),
        ({"messages": HI, "temperature": "hot"}, "temperature"),
        ({"messages": HI, "stream": "yes"}, "stream"),
        ({"messages": HI, "n": 0}, "n"),
        ({"messages": HI, "n": 1_000_000}, "n"),
        ({"messages": HI, "max_tokens": -1}, "max_tokens"),
        ({"messages": HI, "stop": {"a": 1}}, "stop"),
        ({"messages": HI, "tools": "all"}, "tools"),
        ({"messages": HI, "response_format": {"type": "xml"}}, "response_format.type"),
        ({"messages": HI, "routing_preferences": {"privacy_level": "low"}}, "routing_preferences.privacy_level"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_malformed_body_names_the_field(gateway, cloud, lan, body, param):
    reply = ask(gateway, body)
    assert reply.status == 400, reply.body
    error = reply.json["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    if param is not None:
        assert error["param"] == param
    assert not cloud.chats
    assert not lan.chats
    outcome = gateway.record(reply.headers["x-pointsman-decision"])["outcome"]
    assert (outcome["status"], outcome["http_status"]) == ("refused", 400)


def test_an_unknown_header_word_is_named(gateway):
    reply = ask(gateway, {"messages": HI}, **{"x-pointsman-privacy": "sometimes"})
    assert reply.status == 400
    assert reply.json["error"]["param"] == "x-pointsman-privacy"


def test_null_fields_are_no_fields(gateway, lan):
    body = {"model": "fast", "messages": HI, "temperature": None, "tools": None, "stop": None, "stream": None}
    assert ask(gateway, body).status == 200


def test_a_body_over_the_limit_is_a_413(gateway, data_plane):
    try:
        reply = ask(gateway, b'{"messages": [' + b" " * (33 * 1024 * 1024) + b"]}")
    except ConnectionError:
        assert data_plane == "asgi", "uvicorn alone closes before a client that is still sending can read the answer"
        return
    assert reply.status == 413
    assert reply.json["error"]["message"]


def test_ten_megabytes_are_answered_in_time(gateway, lan):
    started = time.monotonic()
    reply = ask(gateway, {"model": "auto", "messages": [{"role": "user", "content": "lorem ipsum " * 900_000}]})
    assert reply.status == 400
    assert reply.json["error"]["code"] == "context_length_exceeded"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_wrong_method_is_a_405(gateway, method):
    reply = gateway.ask(method, "/v1/chat/completions")
    assert reply.status == 405
    assert reply.json["error"]["message"]


def test_an_unknown_path_is_a_404_in_the_right_shape(gateway):
    assert gateway.ask("GET", "/v1/nothing").json["error"]["type"] == "invalid_request_error"
    native = gateway.ask("GET", "/api/v1/nothing")
    assert native.status == 404
    assert "remediation" in native.json["error"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
known = ["model", "messages", "stream", "tools", "tool_choice", "stop", "n", "max_tokens", "response_format", "user"]


@given(fields=st.dictionaries(st.sampled_from(known), json_values, max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_gets_an_answer_or_a_typed_error(gateway, lan, cloud, fields):
    reply = ask(gateway, json.dumps(fields).encode())
    assert reply.status in (200, 400, 403, 404)
    if reply.status != 200:
        assert set(reply.json["error"]) == {"message", "type", "param", "code"}


@given(body=st.binary(max_size=200))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_get_a_typed_error(gateway, body):
    reply = ask(gateway, body)
    assert reply.status in (400, 404)
    assert reply.json["error"]["type"] == "invalid_request_error"


def test_a_choice_that_there_is_not_is_told_those_that_there_are(gateway):
    asked = gateway.ask("POST", "/v1/chat/completions", {"messages": HI, "routing_preferences": {"priority": "fast"}})
    assert "one of balanced, speed, quality, privacy, cost is expected" in asked.json["error"]["message"]
