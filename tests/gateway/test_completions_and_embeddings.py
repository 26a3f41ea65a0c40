"""Completions and embeddings with the official OpenAI SDK: relayed, translated, walled, and paid for."""

from __future__ import annotations

import base64
import json
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from pointsman.testing.answers import Answer, Page, Status, Stream
from pointsman.testing.upstream import ScriptedUpstream
from waiting import until

from .running import Gateway, running

pytestmark = pytest.mark.client

CODER, EMBEDDER, STATIC = "vllm:qwen2.5-coder:7b", "openai:text-embedding-3-small", "embedded:static-minilm-v1"
TOKEN = "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, cloud_server, lan_server) -> Iterator[Gateway]:
    settings: dict[str, Any] = {
        "embedded": {"models": [], "pulled": False},
        "providers": {
            "openai": {
                "base_url": cloud_server.base_url,
                "api_key": "sk-upstream-planted-key",
                "models": ["gpt-4o", "text-embedding-3-small", "gpt-3.5-turbo-instruct"],
            },
            "mistral": {"base_url": cloud_server.base_url, "api_key": "sk-2", "models": ["codestral-latest"]},
            "vllm": {"base_url": lan_server.base_url, "local": True, "models": ["qwen2.5-coder:7b"]},
            "ollama": {"base_url": lan_server.root, "models": ["nomic-embed-text"], "local": True},
        },
        "budgets": {"daily": 1.0, "hard": True},
        "privacy": {"redaction": True},
    }
    lan_server.shows["nomic-embed-text"] = {"capabilities": ["embedding"], "model_info": {"n.context_length": 2048}}
    with running(tmp_path_factory.mktemp("other"), settings) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key="unused", max_retries=0, timeout=20) as client:
        yield client


def completion(text: str = "a + b", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "up", "choices": [choice],
            "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}, **more}  # fmt: skip


def page(value: Any) -> Page:
    return Page(json.dumps(value).encode(), "application/json")


def frame(value: Any) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def vectors(*rows: list[float] | str) -> Page:
    data = [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(rows)]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return page({"object": "list", "data": data[::-1], "model": "text-embedding-3-small", "usage": usage})


def asked(upstream: ScriptedUpstream) -> tuple[str, dict[str, Any]]:
    [seen] = [request for request in upstream.requests if request.method == "POST" and "show" not in request.path]
    return seen.path, seen.json


@pytest.mark.shows("openai", "completions with a suffix")
def test_a_gap_is_filled_by_the_models_own_tokens(client, gateway, lan):
    lan.script(page(completion()))
    answer = client.completions.create(
        model=CODER, prompt="def add(a, b):\n    return ", suffix="\n# <|fim_middle|>", max_tokens=8, logprobs=1
    )
    assert answer.choices[0].text == "a + b"
    assert answer.usage.completion_tokens == 3
    path, body = asked(lan)
    assert path == "/v1/completions"
    assert body["prompt"] == (
        "<|fim_prefix|>def add(a, b):\n    return <|fim_suffix|>\n# <\u200b|fim_middle|><|fim_middle|>"
    )
    assert (body["model"], body["max_tokens"], body["logprobs"]) == ("qwen2.5-coder:7b", 8, 1)
    assert {"messages", "suffix", "top_logprobs"}.isdisjoint(body)


def test_nobody_fills_a_gap_for_a_key_of_a_forced_provider(gateway):
    wishes = {"routing_preferences": {"force_provider": "ollama"}}
    reply = gateway.ask("POST", "/v1/completions", {"prompt": "a", "suffix": "b", **wishes})
    assert (reply.status, reply.json["error"]["code"]) == (400, "no_capable_model")


def test_auto_with_a_suffix_finds_who_can(client, lan):
    lan.script(page(completion()))
    raw = client.completions.with_raw_response.create(model="auto", prompt="a", suffix="b")
    assert raw.headers["x-pointsman-model"] == CODER


def test_a_stream_of_a_completion(client, lan):
    def piece(text: str, reason: str | None = None) -> bytes:
        choice = {"index": 0, "text": text, "finish_reason": reason}
        return frame(completion(choices=[choice], usage=None))

    tail = frame(completion(choices=[]))
    lan.script(Stream([piece("a "), piece("+ b", "stop"), tail, b"data: [DONE]\n\n"]))
    chunks = list(
        client.completions.create(
            model=CODER, prompt="return ", stream=True, stream_options={"include_usage": True}, n=1
        )
    )
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "a + b"
    assert chunks[-1].usage.total_tokens == 12
    assert asked(lan)[1]["max_tokens"] == 16


def test_several_prompts_go_to_a_model_that_completes(client, lan):
    choices = [{"index": at, "text": str(at), "finish_reason": "stop"} for at in range(4)]
    lan.script(page(completion(choices=choices)))
    answer = client.completions.create(model=CODER, prompt=["a", "b"], n=2)
    assert [choice.text for choice in answer.choices] == ["0", "1", "2", "3"]
    assert asked(lan)[1]["prompt"] == ["a", "b"]
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="openai:gpt-4o", prompt=["a", "b"])
    assert caught.value.param == "prompt"


def test_a_chat_model_answers_a_prompt(client, cloud):
    cloud.script(Answer(text="Paris."), Answer(text="Paris."))
    answer = client.completions.create(model="openai:gpt-4o", prompt="Capital of France?", max_tokens=5)
    assert (answer.choices[0].text, answer.object) == ("Paris.", "text_completion")
    path, body = asked(cloud)
    assert path == "/v1/chat/completions"
    assert body["messages"] == [{"role": "user", "content": "Capital of France?"}]
    chunks = client.completions.create(
        model="openai:gpt-4o", prompt="Capital?", stream=True, stream_options={"include_usage": True}
    )
    chunks = list(chunks)
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "Paris."
    assert chunks[-1].usage is not None


def test_an_upstream_that_takes_a_suffix_gets_it(client, cloud):
    cloud.script(page(completion()))
    client.completions.create(model="openai:gpt-3.5-turbo-instruct", prompt="a", suffix="b", max_tokens=5)
    path, body = asked(cloud)
    assert (path, body["prompt"], body["suffix"]) == ("/v1/completions", "a", "b")


def test_an_endpoint_for_gaps_that_answers_as_chat(client, cloud):
    cloud.script(Answer(text="a + b"), Answer(text="a + b"))
    answer = client.completions.create(model="mistral:codestral-latest", prompt="a", suffix="b", seed=3)
    assert answer.choices[0].text == "a + b"
    path, body = asked(cloud)
    assert path == "/v1/fim/completions"
    assert body == {"model": "codestral-latest", "prompt": "a", "suffix": "b", "max_tokens": 16, "random_seed": 3,
                    "stream": False}  # fmt: skip
    stream = client.completions.create(model="mistral:codestral-latest", prompt="a", suffix="b", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == "a + b"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "openai:gpt-4o", "prompt": "a", "suffix": "b"}, 400, "model"),
        ({"model": CODER, "prompt": "a", "echo": True}, 400, "echo"),
        ({"model": CODER, "prompt": "a", "best_of": 3}, 400, "best_of"),
        ({"model": CODER, "prompt": [1, 2]}, 400, "prompt"),
        ({"model": "nobody", "prompt": "a"}, 404, "model"),
        ({"model": EMBEDDER, "prompt": "a", "suffix": "b"}, 400, "model"),
    ],
)
def test_what_cannot_be_had(gateway, body, status, param):
    reply = gateway.ask("POST", "/v1/completions", body)
    assert (reply.status, reply.json["error"]["param"]) == (status, param)


def test_an_error_in_the_middle_of_a_completion(client, lan):
    lan.script(Stream([frame(completion(usage=None, choices=[{"index": 0, "text": "a", "finish_reason": None}]))]))
    with pytest.raises(openai.APIError, match="before the answer was finished"):
        list(client.completions.create(model=CODER, prompt="a", stream=True))


def test_who_hangs_up_ends_the_upstreams_work(gateway, lan_server: ScriptedUpstream):
    lan_server.reset()
    piece = frame(completion(usage=None, choices=[{"index": 0, "text": "a", "finish_reason": None}]))
    lan_server.script(Stream([piece] * 500, delay=0.05))
    body = json.dumps({"model": CODER, "prompt": "a", "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port)) as caller:
        head = "POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        caller.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        assert caller.recv(4096).startswith(b"HTTP/1.1 200")
    until(lambda: lan_server.abandoned == 1)


@pytest.mark.shows("openai", "embeddings")
def test_vectors_in_the_order_of_the_texts(client, gateway, cloud):
    packed = struct.pack("<2f", 0.5, -0.25)
    cloud.script(vectors(base64.b64encode(packed).decode(), [1.0, 2.0]))
    raw = client.embeddings.with_raw_response.create(model=EMBEDDER, input=["a", "b"])
    answer = raw.parse()
    assert [item.embedding for item in answer.data] == [[0.5, -0.25], [1.0, 2.0]]
    assert [item.index for item in answer.data] == [0, 1]
    assert answer.usage.prompt_tokens == 5
    path, body = asked(cloud)
    assert path == "/v1/embeddings"
    assert body == {"model": "text-embedding-3-small", "input": ["a", "b"], "encoding_format": "base64"}
    outcome = gateway.record(raw.headers["x-pointsman-decision"])["outcome"]
    assert (outcome["prompt_tokens"], outcome["completion_tokens"], outcome["cost_micro_usd"]) == (5, 0, 1)


def test_no_other_model_steps_in_for_one_that_embeds(client, gateway, cloud, lan):
    cloud.script(Status(500))
    with pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(model=EMBEDDER, input="a", encoding_format="float")
    assert caught.value.status_code == 502
    assert len(cloud.chats) == 1
    assert not lan.chats


def test_dimensions_that_a_model_does_not_give(client, cloud):
    cloud.script(vectors([1.0, 2.0, 3.0]))
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=EMBEDDER, input="a", dimensions=2)
    assert caught.value.param == "dimensions"


def test_an_ollama_embeds(client, lan):
    lan.script(page({"model": "nomic-embed-text", "embeddings": [[0.5, 0.25]], "prompt_eval_count": 3}))
    answer = client.embeddings.create(model="ollama:nomic-embed-text", input="a")
    assert answer.data[0].embedding == [0.5, 0.25]
    path, body = asked(lan)
    assert (path, body["input"], body["truncate"]) == ("/api/embed", ["a"], False)


def test_the_embedded_table_embeds_where_no_model_is_named(client, gateway):
    raw = client.embeddings.with_raw_response.create(
        model="auto",
        input=["How do I sort a list in Python?", "python list sorting", "The stock market fell on Monday."],
    )
    answer = raw.parse()
    question, same, other = (item.embedding for item in answer.data)

    def alike(one: list[float], two: list[float]) -> float:
        return sum(a * b for a, b in zip(one, two, strict=True))

    assert raw.headers["x-pointsman-model"] == answer.model == STATIC
    assert len(question) == 256
    assert alike(question, question) == pytest.approx(1, abs=1e-5)
    assert alike(question, same) > alike(question, other) + 0.3
    short = client.embeddings.create(model=STATIC, input="python list sorting", dimensions=64, encoding_format="float")
    length = sum(number * number for number in same[:64]) ** 0.5
    assert short.data[0].embedding == pytest.approx([number / length for number in same[:64]], abs=1e-5)
    nameless = gateway.ask("POST", "/v1/embeddings", {"input": [9906, 1917]})
    assert nameless.json["model"] == STATIC
    assert gateway.record(raw.headers["x-pointsman-decision"])["outcome"]["cost_micro_usd"] == 0
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=STATIC, input="a", dimensions=257)
    assert caught.value.param == "dimensions"


def test_a_long_text_and_a_large_batch(client):
    started = time.monotonic()
    client.embeddings.create(model=STATIC, input="many words of a long text " * 300_000)
    batch = client.embeddings.create(model=STATIC, input=[f"text {number}" for number in range(2048)])
    assert len(batch.data) == 2048
    assert time.monotonic() - started < 10
    assert batch.data[7].embedding != batch.data[8].embedding


def test_private_texts_are_embedded_here_or_not_at_all(client, gateway, cloud):
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.embeddings.create(model=EMBEDDER, input=["fine", f"my token is {TOKEN}"])
    assert caught.value.code == "privacy_local_only"
    assert client.embeddings.create(model=STATIC, input=f"my token is {TOKEN}").data
    with pytest.raises(openai.PermissionDeniedError):
        client.completions.create(model="openai:gpt-3.5-turbo-instruct", prompt=f"token = '{TOKEN}'")
    with pytest.raises(openai.PermissionDeniedError):
        client.completions.create(model="mistral:codestral-latest", prompt="a", suffix=f"token = '{TOKEN}'")
    assert not cloud.chats


def test_a_private_prompt_of_a_chat_model_leaves_redacted(client, cloud):
    cloud.script(Answer(text="ok"))
    client.completions.create(model="openai:gpt-4o", prompt=f"my token is {TOKEN}")
    assert TOKEN not in cloud.chats[0].body.decode()


@pytest.mark.parametrize("broken", [b"{", b"[]", b'{"data": []}', b'{"data": [{"embedding": {}}]}', b"\xff"])
def test_vectors_that_cannot_be_read(gateway, cloud, broken):
    cloud.script(Page(broken, "application/json"))
    assert gateway.ask("POST", "/v1/embeddings", {"model": EMBEDDER, "input": "a"}).status == 502


def test_a_chat_is_not_asked_of_an_embedding_model(gateway):
    assert gateway.chat(model=STATIC).status == 400
    assert gateway.ask("POST", "/v1/embeddings", {"model": "openai:gpt-4o", "input": "a"}).status == 400
