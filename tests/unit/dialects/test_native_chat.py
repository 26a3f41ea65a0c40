"""The chat of `/api/v1`: what is ours is taken out, and everything else goes through."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pointsman.core.errors import InvalidRequest, UpstreamProtocolError
from pointsman.core.events import payloads
from pointsman.core.request import ChatRequest
from pointsman.dialects.native import first_frames, read_request, with_metrics

HI = [{"role": "user", "content": "hi"}]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)
UNKNOWN = st.dictionaries(st.text(min_size=1, max_size=8).map(lambda name: f"x_{name}"), VALUES, max_size=3)
TOLD = {"provider": "lan", "routing_metrics": {"decision_factors": ["a", "b"]}}


def sent(request: ChatRequest) -> dict:
    return json.loads(request.render({}))


@given(
    unknown=UNKNOWN,
    options=st.none() | UNKNOWN,
    mode=st.sampled_from([None, "auto", "hybrid", "local"]),
    speed=st.sampled_from([None, True, False]),
    stream=st.booleans(),
    streams=st.booleans(),
)
def test_what_is_not_ours_goes_through(unknown, options, mode, speed, stream, streams):
    body = {"messages": HI, "stream": stream, **unknown, "mode": mode}
    if options is not None:
        body["options"] = {**options, "prioritize_speed": speed}
    request = read_request(json.dumps(body).encode(), stream=streams)
    upstream = sent(request)
    assert {name: upstream[name] for name in unknown} == unknown
    assert upstream.get("options") == (options or None)
    assert not {"mode", "routing_preferences"} & set(upstream)
    assert request.stream is upstream["stream"] is (stream or streams)
    preferences = request.params.routing_preferences
    assert (preferences.mode if preferences else None) == mode
    assert bool(preferences and preferences.prioritize_speed) is (options is not None and bool(speed))


def test_preferences_stay_beside_the_mode():
    preferences = {"privacy_level": "high", "force_provider": "lan", "latency_preference": "quality"}
    body = {"messages": HI, "routing_preferences": preferences, "mode": "hybrid"}
    found = read_request(json.dumps(body).encode()).params.routing_preferences
    assert (found.privacy_level, found.force_provider, found.latency_preference) == ("high", "lan", "quality")
    assert found.mode == "hybrid"


def test_what_an_endpoint_says_cannot_be_unsaid():
    for body in ({"mode": "auto"}, {"routing_preferences": {"mode": "local"}}):
        with pytest.raises(InvalidRequest) as caught:
            read_request(json.dumps({"messages": HI, **body}).encode(), mode="hybrid")
        assert caught.value.param == "mode"
    assert (
        read_request(json.dumps({"messages": HI}).encode(), mode="hybrid").params.routing_preferences.mode == "hybrid"
    )


@given(fields=UNKNOWN, message=UNKNOWN, content=st.none() | st.text(max_size=20))
def test_an_answer_keeps_all_that_it_had(fields, message, content):
    said = {"role": "assistant", "content": content, **message}
    whole = {"id": "1", "choices": [{"index": 0, "message": said}], **fields}
    found = json.loads(with_metrics(json.dumps(whole).encode(), TOLD))
    assert {name: found[name] for name in whole} == whole
    assert found["message"] == {"role": "assistant", "content": content, "tool_calls": []}
    assert {name: found[name] for name in TOLD} == TOLD


@pytest.mark.parametrize("raw", [b"", b"[]", b"3", b"{", b'{"choices":[{"message":3}]}', b'{"choices":{}}', b"\xff"])
def test_what_is_no_answer(raw):
    with pytest.raises(UpstreamProtocolError):
        with_metrics(raw, TOLD)


def test_an_answer_without_choices_has_an_empty_message():
    assert json.loads(with_metrics(b"{}", TOLD))["message"] == {"role": "assistant", "content": None, "tool_calls": []}


@given(chunks=st.lists(UNKNOWN, min_size=1, max_size=4), feed=st.sampled_from(["\n", "\r\n"]), split=st.booleans())
def test_the_first_chunk_tells_and_the_others_stay(chunks, feed, split):
    assume(all("provider" not in chunk for chunk in chunks))
    texts = [json.dumps(chunk, indent=1 if split else None) for chunk in chunks]
    raw = "".join("".join(f"data: {line}{feed}" for line in text.split("\n")) + feed for text in texts)
    told = first_frames(f": a comment{feed}{feed}{raw}".encode(), TOLD)
    assert told is not None
    found = [json.loads(payload) for payload in payloads(told)]
    assert found == [{**chunks[0], **TOLD}, *chunks[1:]]


def test_a_block_without_a_chunk_waits():
    assert first_frames(b": ping\n\n", TOLD) is None
    with pytest.raises(UpstreamProtocolError):
        first_frames(b"data: nonsense\n\n", TOLD)
