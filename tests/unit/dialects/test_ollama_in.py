"""Ollama's requests in the inner form, and answers in Ollama's words, whatever comes and however it is cut."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import InvalidRequest, UpstreamError
from pointsman.core.events import Body, Frames, encode_frame
from pointsman.core.request import ChatRequest
from pointsman.dialects.ollama.in_answer import OllamaAnswer, embedded, rfc3339
from pointsman.dialects.ollama.in_request import Asked, Load, read_chat, read_embed, read_generate
from pointsman.dialects.ollama.manage import PullStream
from pointsman.testing import Answer, ToolUse

TEXTS = st.text(max_size=20)
ARGUMENTS = st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers(-(2**50), 2**50) | TEXTS, max_size=3)
CALLS = st.lists(
    st.fixed_dictionaries({"function": st.fixed_dictionaries({"name": st.just("f"), "arguments": ARGUMENTS})}),
    max_size=2,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXTS},
        optional={"images": st.lists(st.binary(min_size=1, max_size=9).map(base64.b64encode).map(bytes.decode))},
    )
    | st.fixed_dictionaries({"role": st.just("assistant"), "tool_calls": CALLS}, optional={"thinking": TEXTS})
    | st.fixed_dictionaries({"role": st.just("tool"), "content": TEXTS}, optional={"tool_name": st.just("f")}),
    min_size=1,
    max_size=5,
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))
FIELDS = ["model", "messages", "prompt", "suffix", "system", "template", "context", "raw", "images", "options",
          "format", "width", "tools", "think", "keep_alive", "logprobs", "top_logprobs", "input", "n"]  # fmt: skip


def chat(**fields):
    return read_chat(json.dumps({"model": "m", **fields}).encode())


@given(MESSAGES)
def test_every_chat_has_an_inner_form_that_keeps_every_text(messages):
    asked = chat(messages=messages)
    request = ChatRequest.build(asked.fields, kind=asked.kind)
    assert len(request.messages()) == len(messages)
    for given_message, inner in zip(messages, request.messages(), strict=True):
        assert inner.role == given_message["role"]
        assert inner.text == given_message.get("content", "")
        calls = [json.loads(call.function.arguments) for call in inner.tool_calls or ()]
        assert calls == [call["function"]["arguments"] for call in given_message.get("tool_calls", [])]
    ids = [call.id for message in request.messages() for call in message.tool_calls or ()]
    assert len(set(ids)) == len(ids)


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES), st.sampled_from([read_chat, read_generate, read_embed]))
def test_whatever_comes_is_read_or_refused(fields, read):
    with contextlib.suppress(InvalidRequest):
        asked = read(json.dumps(fields).encode())
        if isinstance(asked, Asked) and asked.fields["messages"]:
            ChatRequest.build(asked.fields, kind=asked.kind).messages()


@given(st.binary(max_size=40))
def test_bytes_that_are_no_json(body):
    for read in (read_chat, read_generate, read_embed):
        with pytest.raises(InvalidRequest):
            read(b"\xff" + body)


def test_fields_that_ollama_does_not_know_stay():
    asked = chat(messages=[{"role": "user", "content": "x", "name": "ann"}], metadata={"a": 1})
    assert bytes(asked.fields["messages"][0]["name"]) == b'"ann"'
    assert bytes(asked.fields["metadata"]) == b'{"a": 1}'


def test_results_belong_to_the_earliest_open_call_of_their_tool():
    call = {"function": {"name": "f", "arguments": {}}}
    other = {"function": {"name": "g", "arguments": {}}}
    named = {"role": "tool", "content": "x", "tool_name": "g"}
    said = {"role": "assistant", "tool_calls": [call, other, call]}
    unnamed = {"role": "tool", "content": "y"}
    asked = chat(messages=[said, named, unnamed, {"role": "tool", "content": "z", "tool_name": "f"}])
    first, second, third = (call["id"] for call in asked.fields["messages"][0]["tool_calls"])
    assert [message["tool_call_id"] for message in asked.fields["messages"][1:]] == [second, first, third]


def test_options_and_what_is_left_of_them():
    options = {"num_predict": -1, "temperature": 0, "stop": ["a"], "top_k": 3, "num_ctx": 99, "seed": None}
    fields = ChatRequest.build(chat(messages=[{"role": "user", "content": "x"}], options=options).fields).fields
    assert {name: json.loads(bytes(fields[name])) for name in ("temperature", "stop", "top_k", "options")} == {
        "temperature": 0, "stop": ["a"], "top_k": 3, "options": {"num_ctx": 99},
    }  # fmt: skip
    assert not {"max_tokens", "seed"} & set(fields)


@pytest.mark.parametrize(("alive", "unload"), [(0, True), ("0", True), ("0s", True), ("5m", False), (-1, False)])
def test_loading_and_unloading(alive, unload):
    assert chat(messages=[], keep_alive=alive) == Load(model="m", unload=unload, stream=True)


def read_back(lines: bytes) -> tuple[str, str, list, dict]:
    found = [json.loads(line) for line in lines.splitlines()]
    text = "".join(line["message"]["content"] for line in found)
    thinking = "".join(line["message"].get("thinking", "") for line in found)
    calls = [call["function"] for line in found for call in line["message"].get("tool_calls", ())]
    assert [line["done"] for line in found] == [False] * (len(found) - 1) + [True]
    return text, thinking, [(call["name"], call["arguments"]) for call in calls], found[-1]


def writer() -> OllamaAnswer:
    ticks = itertools.count(1000)
    return OllamaAnswer("chat", model="m", now=lambda: 1.5, nanoseconds=lambda: next(ticks))


@given(text=TEXTS, reasoning=TEXTS, arguments=st.lists(ARGUMENTS, max_size=3), pieces=st.integers(1, 5), data=st.data())
def test_an_answer_is_the_same_however_it_comes(text, reasoning, arguments, pieces, data):
    calls = [ToolUse("f", each, f"c{at}") for at, each in enumerate(arguments)]
    answer = Answer(text=text, reasoning=reasoning, tool_calls=calls, pieces=pieces, always_usage=True)
    frames = answer.openai_frames({"model": "m"})
    cuts = sorted(data.draw(st.sets(st.integers(0, len(frames)))))
    blocks = [b"".join(frames[a:b]) for a, b in itertools.pairwise([0, *cuts, len(frames)])]
    written = writer()
    streamed = b"".join(written.feed(Frames(block)) for block in blocks) + written.end()
    expected = (text, reasoning, [("f", each) for each in arguments])
    *told, last = read_back(streamed)
    assert tuple(told) == expected
    assert (last["prompt_eval_count"], last["eval_count"], last["done_reason"]) == (10, 5, "stop")
    whole = json.dumps(answer._openai_whole({"model": "m"})).encode()
    *told, last = read_back(writer().whole(Body(whole)))
    assert tuple(told) == expected
    assert (last["eval_count"], last["total_duration"] > 0) == (5, True)


@given(VALUES)
def test_chunks_of_any_kind_are_written_or_a_typed_error(value):
    written = writer()
    with contextlib.suppress(UpstreamError):
        written.feed(Frames(encode_frame(json.dumps(value).encode())))
        written.end()
        written.whole(Body(json.dumps(value).encode()))


def test_a_completion_is_written_for_generate():
    answer = OllamaAnswer("generate", model="m", now=lambda: 0, nanoseconds=lambda: 1)
    chunk = {"choices": [{"index": 0, "text": "abc", "finish_reason": "length"}]}
    lines = (answer.feed(Frames(encode_frame(json.dumps(chunk).encode()))) + answer.end()).splitlines()
    assert [json.loads(line)["response"] for line in lines] == ["abc", ""]
    assert json.loads(lines[-1])["done_reason"] == "length"


@given(st.lists(st.lists(st.floats(-1, 1), max_size=3), min_size=1, max_size=4), st.randoms())
def test_embeddings_come_in_the_order_of_the_texts(vectors, random):
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    random.shuffle(data)
    told = json.loads(embedded(json.dumps({"data": data}).encode(), model="m", nanoseconds=1, old=False))
    assert told["embeddings"] == vectors


def test_times_are_gos():
    assert rfc3339(0) == "1970-01-01T00:00:00.000000Z"
    assert datetime.fromisoformat(rfc3339(1e9)).timestamp() == 1e9


@given(st.lists(st.integers(0, 99), max_size=5), st.data())
def test_a_pull_is_the_same_however_it_is_cut(steps, data):
    raw = b"".join(b'{"status":"pulling","total":100,"completed":%d}\n' % step for step in steps)
    raw += b'{"status":"success"}' + data.draw(st.sampled_from([b"", b"\n"]))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=6)))
    stream = PullStream()
    lines = [line for a, b in itertools.pairwise([0, *cuts, len(raw)]) for line in stream.feed(raw[a:b])]
    lines += stream.end()
    assert [line.completed for line in lines[:-1]] == steps
    assert (stream.done, stream.failure, lines[-1].status) == (True, None, "success")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_pull_or_a_typed_error(raw):
    stream = PullStream()
    with contextlib.suppress(UpstreamError):
        stream.feed(raw)
        stream.end()
