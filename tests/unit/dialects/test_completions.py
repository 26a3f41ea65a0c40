"""Completions and embeddings: any body is read or refused by name, and answers say the same in either shape."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.catalog import FimTokens
from pointsman.core.errors import InvalidRequest, PointsmanError
from pointsman.core.events import Body, Frames, encode_frame, payloads
from pointsman.core.request import ChatRequest
from pointsman.dialects.openai.completions import around, read_fields, texts_of, to_completion
from pointsman.dialects.openai.completions_answer import TextAnswer, streamed
from pointsman.dialects.openai.embeddings import (
    as_wanted,
    from_base64,
    made_body,
    read_embeddings,
    read_request,
    to_base64,
)
from pointsman.providers.cards import card_for

QWEN = FimTokens(prefix="<|fim_prefix|>", suffix="<|fim_suffix|>", middle="<|fim_middle|>", end=("<|endoftext|>",))
LLAMA = FimTokens(prefix="<PRE> ", suffix=" <SUF>", middle=" <MID>", end=("<EOT>",))
MISTRAL = FimTokens(prefix="[PREFIX]", suffix="[SUFFIX]", middle="", suffix_first=True)
DEEPSEEK = FimTokens(prefix="<｜fim▁begin｜>", suffix="<｜fim▁hole｜>", middle="<｜fim▁end｜>")

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    ["prompt", "suffix", "input", "model", "n", "logprobs", "echo", "best_of", "stop", "stream", "max_tokens",
     "dimensions", "encoding_format", "messages", "tools", "x"]
)  # fmt: skip
TEXTS = st.text(max_size=20)


def completion(**fields) -> ChatRequest:
    return ChatRequest.build(read_fields(json.dumps(fields).encode()), kind="completion")


@given(st.dictionaries(FIELDS, VALUES, max_size=6) | VALUES, st.binary(max_size=8))
def test_any_body_is_read_or_refused(body, noise):
    for raw in (json.dumps(body).encode(), noise):
        for read in (lambda raw: ChatRequest.build(read_fields(raw), kind="completion"), read_request):
            with contextlib.suppress(InvalidRequest):
                assert texts_of(read(raw))


@given(st.lists(TEXTS, min_size=1, max_size=4), st.none() | st.text(min_size=1, max_size=20))
def test_a_completion_goes_up_as_it_came(prompts, suffix):
    sent = {"model": "m", "prompt": prompts, "temperature": 0.5, "x_own": [1], "logprobs": 3, "max_tokens": 9}
    request = completion(**sent, **({} if suffix is None else {"suffix": suffix}))
    assert texts_of(request) == prompts
    fields = to_completion(request, None)
    assert fields == {"prompt": prompts[0] if len(prompts) == 1 else prompts, "logprobs": 3}
    body = json.loads(request.render({"model": "m", **fields}, drop=("messages", "top_logprobs")))
    sent["prompt"] = fields["prompt"]
    assert body == {**sent, **({} if suffix is None else {"suffix": suffix})}


@given(st.data())
@pytest.mark.parametrize("fim", [QWEN, LLAMA, MISTRAL, DEEPSEEK])
def test_a_text_cannot_break_out_of_its_gap(fim, data):
    pieces = TEXTS | st.sampled_from([fim.prefix, fim.suffix, fim.middle, *fim.end, "<|im_start|>", "<PRE>", "<", "|>"])
    written = st.lists(pieces, max_size=6).map("".join)
    prompt = around(data.draw(written), data.draw(written), fim)
    for token in filter(None, (fim.prefix.strip(), fim.suffix.strip(), fim.middle.strip())):
        assert prompt.count(token) == 1
    assert not any(token in prompt for token in (*fim.end, "<|im_start|>"))


def test_texts_without_such_tokens_stay_as_they_are():
    assert around("a <b> | c", "</b>", QWEN) == "<|fim_prefix|>a <b> | c<|fim_suffix|></b><|fim_middle|>"
    assert around("a", "b", MISTRAL) == "[SUFFIX]b[PREFIX]a"
    fields = to_completion(completion(prompt="a", suffix="b", stop="x"), QWEN)
    assert fields == {"prompt": "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", "stop": ["x", "<|endoftext|>"]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": ["a", None]}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "logprobs": 21}, "logprobs"),
        ({"prompt": "a", "logprobs": True}, "logprobs"),
        ({"prompt": "a", "suffix": 3}, "suffix"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "messages"),
        ({"prompt": "a", "tools": [{}]}, "tools"),
        ({"prompt": "a", "n": 0}, "n"),
    ],
)
def test_what_cannot_be_had_is_named(body, param):
    with pytest.raises(InvalidRequest) as caught:
        completion(**body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input[0]"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 3]}, "input[1]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": [[2**40]]}, "input[0]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "stream": True}, "stream"),
        ({"input": "a", "messages": [{"role": "user", "content": "b"}]}, "messages"),
    ],
)
def test_an_embedding_that_cannot_be_had_is_named(body, param):
    with pytest.raises(InvalidRequest) as caught:
        read_request(json.dumps(body).encode())
    assert caught.value.param == param


def test_token_ids_are_read_as_openais():
    assert texts_of(read_request(b'{"input": [9906, 1917]}')) == ["Hello world"]
    assert texts_of(read_request(b'{"input": [[9906], [1917]]}')) == ["Hello", " world"]


@given(st.lists(TEXTS, min_size=1, max_size=5), st.booleans())
def test_a_chat_answer_becomes_a_completion(pieces, usage):
    answer = TextAnswer()
    base = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    raw = b"".join(
        encode_frame(json.dumps({**base, "choices": [{"index": 0, "delta": {"content": piece}}]}).encode())
        for piece in pieces
    )
    raw += encode_frame(
        json.dumps({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}).encode()
    )
    if usage:
        raw += encode_frame(json.dumps({**base, "choices": [], "usage": {"prompt_tokens": 1}}).encode())
    chunks = [json.loads(payload) for payload in payloads(answer.frames(Frames(raw)))]
    assert "".join(choice["text"] for chunk in chunks for choice in chunk["choices"]) == "".join(pieces)
    assert all(chunk["object"] == "text_completion" for chunk in chunks)
    assert [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]] == ["length"]
    assert ("usage" in chunks[-1]) is usage


def test_log_probabilities_in_the_older_shape():
    tokens = [
        {"token": " a", "logprob": -0.5, "top_logprobs": [{"token": " a", "logprob": -0.5}]},
        {"token": "b", "logprob": -1.0, "top_logprobs": []},
    ]
    choice = {"index": 0, "message": {"content": " ab"}, "logprobs": {"content": tokens}, "finish_reason": "stop"}
    body = TextAnswer().body(Body(json.dumps({"id": "c", "choices": [choice]}).encode()))
    assert json.loads(body)["choices"][0]["logprobs"] == {
        "tokens": [" a", "b"],
        "token_logprobs": [-0.5, -1.0],
        "top_logprobs": [{" a": -0.5}, {}],
        "text_offset": [0, 2],
    }


def test_a_whole_completion_as_a_stream():
    raw = json.dumps({"id": "c", "choices": [{"text": "x", "index": 0}], "usage": {"prompt_tokens": 2}}).encode()
    first, last = (json.loads(payload) for payload in payloads(streamed(Body(raw), wants_usage=True).raw))
    assert first["choices"][0]["text"] == "x"
    assert "usage" not in first
    assert last["usage"] == {"prompt_tokens": 2}


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_base64_is_little_endian_float32(numbers):
    text = to_base64(numbers)
    assert base64.b64decode(text) == struct.pack(f"<{len(numbers)}f", *numbers)
    assert from_base64(text) == numbers


@given(
    st.lists(st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=4),
    st.randoms(),
    st.booleans(),
)
def test_vectors_come_in_order_in_the_form_that_is_wanted(vectors, chance, packed):
    listed = [
        {"object": "embedding", "index": at, "embedding": to_base64(vector) if packed else vector}
        for at, vector in enumerate(vectors)
    ]
    chance.shuffle(listed)
    raw = json.dumps({"object": "list", "data": listed, "model": "m", "usage": {"prompt_tokens": 4}}).encode()
    assert read_embeddings(raw, count=len(vectors)).usage.prompt_tokens == 4
    floats = json.loads(as_wanted(raw, "float", 3))["data"]
    assert [item["embedding"] for item in floats] == vectors
    assert [item["index"] for item in floats] == list(range(len(vectors)))
    packed_again = json.loads(as_wanted(raw, "base64", None))["data"]
    assert [from_base64(item["embedding"]) for item in packed_again] == vectors
    with pytest.raises(InvalidRequest, match="dimensions"):
        as_wanted(raw, "float", 4)


@given(st.binary(max_size=30) | VALUES.map(lambda value: json.dumps({"data": value}).encode()))
def test_any_answer_is_read_or_a_typed_error(raw):
    for work in (
        lambda: read_embeddings(raw, count=1),
        lambda: as_wanted(raw, "base64", None),
        lambda: TextAnswer().body(Body(raw)),
    ):
        with contextlib.suppress(PointsmanError):
            work()


def test_the_wrong_number_of_vectors():
    body = made_body([[0.1]], model="m", prompt_tokens=1)
    with pytest.raises(PointsmanError, match="asked for 2"):
        read_embeddings(body.raw, count=2)


def test_vectors_of_no_numbers():
    for embedding in ("!!!!", base64.b64encode(struct.pack("<f", math.inf)).decode(), "AAA="):
        raw = msgspec.json.encode({"data": [{"index": 0, "embedding": embedding}]})
        with pytest.raises(PointsmanError):
            as_wanted(raw, "float", None)


@pytest.mark.parametrize(
    ("provider", "name", "fim", "takes_suffix"),
    [
        ("embedded", "qwen2.5-coder:0.5b", "<|fim_prefix|>", False),
        ("vllm", "Qwen/Qwen2.5-Coder-7B-Instruct", "<|fim_prefix|>", False),
        ("vllm", "bigcode/starcoder2-15b", "<fim_prefix>", False),
        ("vllm", "codellama/CodeLlama-7b-hf", "<PRE> ", False),
        ("lm-studio", "deepseek-coder-v2-lite-instruct", "<｜fim▁begin｜>", False),
        ("mistral", "codestral-latest", None, True),
        ("deepseek", "deepseek-v4-flash", None, True),
        ("openai", "gpt-3.5-turbo-instruct", None, True),
        ("openai", "gpt-4o", None, False),
        ("groq", "llama-3.3-70b-versatile", None, False),
        ("embedded", "smollm2:135m", None, False),
    ],
)
def test_who_fills_in_the_middle(provider, name, fim, takes_suffix):
    card = card_for(provider, name, local=False)
    assert (card.fim.prefix if card.fim else None, card.takes_suffix) == (fim, takes_suffix)
    assert ("completion" in card.capabilities) is (fim is not None or takes_suffix or name.startswith("smollm"))


def test_paid_embedding_models_cost_nothing_for_vectors():
    card = card_for("openai", "text-embedding-3-small", local=False)
    assert card.cost_micro_usd(1_000_000, 0) == 20_000
    assert card.capabilities == {"embeddings"}
