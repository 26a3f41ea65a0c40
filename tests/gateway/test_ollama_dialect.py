"""Ollama's official client, pointed at the gateway: what it lists, asks, streams and is refused."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from pointsman.testing import Answer, HangUp, Page, Stall, Status, ToolUse

from .running import Gateway

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
HI = [{"role": "user", "content": "hi"}]
LAN = "lan:llama3.1:8b"


@pytest.fixture(scope="module")
def settings(settings: dict[str, Any], lan_server, cloud_server) -> dict[str, Any]:
    """The scripted `lan` speaks OpenAI's API; completions and embeddings are declared for one model each."""
    providers = dict(settings["providers"])
    models = [
        "llama3.1:8b",
        {"name": "coder", "capabilities": ["chat", "completion"]},
        {"name": "vectors", "capabilities": ["embeddings"]},
        {"name": "eyes", "capabilities": ["chat", "vision"], "quality": 0.6},
    ]
    providers["lan"] = {**providers["lan"], "models": models}
    return {**settings, "providers": providers}


@pytest.fixture
def client(gateway: Gateway) -> Iterator[ollama.Client]:
    with ollama.Client(host=gateway.url) as client:
        yield client


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.mark.shows("ollama", "list of models")
def test_list_show_and_version(client, gateway):
    listed = client.list().models
    names = [model.model for model in listed]
    assert names[:2] == ["auto", "fast"]
    assert {LAN, "openai:gpt-4o"} <= set(names)
    assert all(len(model.digest) == 64 and model.size == 0 and model.modified_at for model in listed)
    assert [model.digest for model in client.list().models] == [model.digest for model in listed]
    shown = client.show("openai:gpt-4o")
    assert shown.capabilities == ["completion", "tools", "vision"]
    assert shown.modelinfo["pointsman.context_length"] == 128_000
    assert client.show("auto:latest").modelinfo["general.architecture"] == "pointsman"
    assert client.show("fast:latest").details.parameter_size == client.show(LAN).details.parameter_size
    assert client.ps().models == []
    assert gateway.ask("GET", "/api/version").json == {"version": "0.12.11"}
    assert gateway.ask("POST", "/api/show", {"name": LAN}).json["details"]["family"] == "llama3.1"
    with pytest.raises(ollama.ResponseError, match="not found") as refused:
        client.show("nobody")
    assert refused.value.status_code == 404


def test_the_root_says_what_is_here(gateway):
    assert gateway.ask("GET", "/").body.startswith(b"Ollama is running")
    for path in ("/", "/api/version", "/api/tags"):
        head = gateway.ask("HEAD", path)
        assert (head.status, head.body) == (200, b"")
    page = gateway.ask("GET", "/", headers={"accept": "text/html,application/xhtml+xml"})
    assert page.headers["content-type"].startswith("text/html")


@pytest.mark.shows("ollama", "text")
def test_a_chat(client, lan):
    answer = client.chat("fast", HI, options={"num_predict": 7, "temperature": 0.5, "stop": ["END"], "num_ctx": 9000})
    assert answer.message.content == "Hello from upstream."
    assert (answer.model, answer.done, answer.done_reason) == ("fast", True, "stop")
    assert (answer.prompt_eval_count, answer.eval_count) == (10, 5)
    assert answer.total_duration >= answer.eval_duration > 0
    sent = lan.requests[-1].json
    assert (sent["max_tokens"], sent["temperature"], sent["stop"]) == (7, 0.5, ["END"])
    assert sent["model"] == "llama3.1:8b"


@pytest.mark.shows("ollama", "stream")
def test_a_streamed_chat(client, lan):
    lan.script(Answer(text="one two three", reasoning="hm"))
    parts = list(client.chat(LAN, HI, stream=True))
    assert "".join(part.message.content for part in parts) == "one two three"
    assert "".join(part.message.thinking or "" for part in parts) == "hm"
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    last = parts[-1]
    assert (last.done_reason, last.prompt_eval_count, last.eval_count) == ("stop", 10, 5)
    assert min(last.prompt_eval_duration, last.eval_duration, last.total_duration) > 0


def test_curl_as_ollamas_documentation_has_it(gateway, lan):
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = gateway.ask("POST", "/api/chat", {"model": "auto", "messages": HI, "stream": False}, headers=headers)
    assert answer.json["done"] is True
    page = {**headers, "origin": "https://evil.example"}
    assert gateway.ask("POST", "/api/chat", {"model": "auto", "messages": HI}, headers=page).status == 403


def test_streaming_is_the_default_and_lines_are_json(gateway, lan):
    answer = gateway.ask("POST", "/api/chat", {"model": "auto", "messages": HI})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["x-pointsman-decision"].startswith("dec_")
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert lines[-1]["done"] is True
    assert all(line["created_at"].endswith("Z") for line in lines)


@pytest.mark.shows("ollama", "tools")
@pytest.mark.parametrize("stream", [False, True])
def test_tools_round_trip(client, lan, stream):
    lan.script(Answer(text="", tool_calls=[ToolUse("add", {"a": 1, "b": 2}, "c1"), ToolUse("add", {"a": 3}, "c2")]))
    answer = client.chat(LAN, HI, tools=[add], stream=stream)
    answers = list(answer) if stream else [answer]
    calls = [call for part in answers for call in part.message.tool_calls or ()]
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("add", {"a": 1, "b": 2}), ("add", {"a": 3}),
    ]  # fmt: skip
    assert lan.requests[-1].json["tools"][0]["function"]["name"] == "add"
    said = next(part.message for part in answers if part.message.tool_calls)
    results = [{"role": "tool", "content": str(result), "tool_name": "add"} for result in (3, 4)]
    client.chat(LAN, [*HI, said, *results])
    _, assistant, first, second = lan.requests[-1].json["messages"]
    assert [call["id"] for call in assistant["tool_calls"]] == [first["tool_call_id"], second["tool_call_id"]]
    assert json.loads(assistant["tool_calls"][0]["function"]["arguments"]) == {"a": 1, "b": 2}


def test_arguments_that_are_no_object_are_an_error(client, lan):
    frames = Answer(text="", tool_calls=[ToolUse("add", {"a": 1})]).openai_frames({})
    broken = b"".join(frames).replace(b'{\\"a\\":1}', b"").replace(b'"arguments":""', b'"arguments":"{nope"', 1)
    lan.script(Page(broken, "text/event-stream"))
    with pytest.raises(ollama.ResponseError, match="no JSON object"):
        list(client.chat(LAN, HI, tools=[add], stream=True))


@pytest.mark.shows("ollama", "structured output")
@pytest.mark.shows("ollama", "images")
def test_pictures_and_formats(client, lan):
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    lan.script(Answer(text='{"x": 1}'))
    message = {"role": "user", "content": "what", "images": [PICTURE]}
    client.chat("lan:eyes", [message], format=schema, think=False, keep_alive="5m")
    sent = lan.requests[-1].json
    kinds = [part["type"] for part in sent["messages"][0]["content"]]
    assert kinds == ["text", "image_url"]
    assert sent["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,iVBORw0K")
    assert sent["response_format"]["json_schema"]["schema"] == schema
    client.generate(LAN, "x", format="json")
    assert lan.requests[-1].json["response_format"] == {"type": "json_object"}


def test_generate(client, lan):
    parts = list(client.generate("fast:latest", "why", system="be kind", stream=True))
    assert "".join(part.response for part in parts) == "Hello from upstream."
    assert parts[-1].done_reason == "stop"
    assert [message["role"] for message in lan.requests[-1].json["messages"]] == ["system", "user"]
    assert client.generate(LAN, "why").response == "Hello from upstream."


def test_a_request_without_a_prompt_loads_nothing(client, gateway, lan):
    assert client.generate(LAN, "").done_reason == "load"
    assert client.generate(LAN, "", keep_alive=0).done_reason == "unload"
    assert client.chat("auto", []).done_reason == "load"
    assert [part.done_reason for part in client.chat("fast", [], stream=True)] == ["load"]
    with pytest.raises(ollama.ResponseError) as refused:
        client.generate("nobody", "")
    assert refused.value.status_code == 404
    assert lan.chats == []


@pytest.mark.shows("ollama", "completions with a suffix")
def test_a_gap_is_filled(client, lan):
    done = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "coder",
            "choices": [{"index": 0, "text": "return a + b", "finish_reason": "stop", "logprobs": None}],
            "usage": {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}}  # fmt: skip
    lan.pages["/v1/completions"] = Page(json.dumps(done).encode(), "application/json")
    answer = client.generate("lan:coder", "def add(a, b):\n    ", raw=True)
    assert (answer.response, answer.eval_count) == ("return a + b", 3)
    assert lan.requests[-1].json["prompt"] == "def add(a, b):\n    "
    with pytest.raises(ollama.ResponseError, match="system"):
        client.generate("lan:coder", "x", system="y", raw=True)


@pytest.mark.shows("ollama", "embeddings")
def test_embed(client, gateway, lan):
    vectors = [{"object": "embedding", "index": at, "embedding": [0.5, at]} for at in (1, 0)]
    listed = {"object": "list", "data": vectors, "model": "v", "usage": {"prompt_tokens": 6, "total_tokens": 6}}
    lan.pages["/v1/embeddings"] = Page(json.dumps(listed).encode(), "application/json")
    answer = client.embed("lan:vectors:latest", ["a", "b"])
    assert [list(vector) for vector in answer.embeddings] == [[0.5, 0.0], [0.5, 1.0]]
    assert (answer.prompt_eval_count, answer.total_duration > 0) == (6, True)
    assert lan.requests[-1].json["input"] == ["a", "b"]
    lan.pages["/v1/embeddings"] = Page(json.dumps({**listed, "data": vectors[1:]}).encode(), "application/json")
    assert list(client.embeddings("lan:vectors", "a").embedding) == [0.5, 0.0]
    assert client.embed("lan:vectors", "").embeddings == []
    with pytest.raises(ollama.ResponseError, match="empty"):
        client.embed("lan:vectors", ["a", ""])
    assert gateway.ask("POST", "/api/embed", {"model": "lan:vectors", "input": "a", "dimensions": "x"}).status == 400


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"", 400, "missing request body"),
        (b"{", 400, "JSON"),
        (b"[]", 400, "object"),
        ({}, 400, "model is required"),
        ({"model": "auto", "messages": "x"}, 400, "messages"),
        ({"model": "auto", "messages": [{"content": "x"}]}, 400, "role"),
        ({"model": "auto", "messages": [{"role": "wizard", "content": "x"}]}, 400, "role"),
        ({"model": "auto", "messages": [{"role": "user", "content": "x", "images": ["§"]}]}, 400, "base64"),
        ({"model": "auto", "messages": HI, "options": {"num_predict": "x"}}, 400, "num_predict"),
        ({"model": "auto", "messages": HI, "options": []}, 400, "options"),
        ({"model": "auto", "messages": HI, "format": 3}, 400, "format"),
        ({"model": "auto", "messages": HI, "n": 3, "stream": False}, 200, ""),
        ({"model": "nobody", "messages": HI}, 404, "nobody"),
        ({"model": "auto", "messages": HI, "models": ["gpt-4o"]}, 400, "models"),
    ],
)
def test_bad_chats(gateway, lan, cloud, body, status, word):
    answer = gateway.ask("POST", "/api/chat", body)
    assert answer.status == status, answer.body
    if status != 200:
        assert set(answer.json) == {"error"}
        assert word in answer.json["error"]


@pytest.mark.parametrize("field", ["template", "context", "width"])
def test_what_has_no_place_is_named(gateway, field):
    value = {"template": "{{ .Prompt }}", "context": [1], "width": 64}[field]
    answer = gateway.ask("POST", "/api/generate", {"model": "auto", "prompt": "x", field: value})
    assert (answer.status, f"`{field}`" in answer.json["error"]) == (400, True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/push", 400), ("POST", "/api/create", 400), ("POST", "/api/copy", 400),
        ("DELETE", "/api/delete", 400), ("POST", "/api/pull", 404), ("GET", "/api/chat", 405), ("GET", "/api/no", 404),
    ],
)  # fmt: skip
def test_what_is_not_served(gateway, method, path, status):
    answer = gateway.ask(method, path, {"model": "x"} if method != "GET" else None)
    assert (answer.status, list(answer.json)) == (status, ["error"]), answer.body


@pytest.mark.shows("ollama", "errors")
def test_errors_of_upstreams(client, gateway, lan):
    lan.script(Status(400, b'{"error": {"message": "too strange", "type": "invalid_request_error"}}'))
    with pytest.raises(ollama.ResponseError, match="too strange") as refused:
        client.chat(LAN, HI)
    assert refused.value.status_code == 400
    lan.script(HangUp(after_bytes=900, answer=Answer(text="word " * 200, pieces=50)))
    seen = []
    with pytest.raises(ollama.ResponseError, match="broke off"):
        seen.extend(part.message.content for part in client.chat(LAN, HI, stream=True))


def test_a_client_that_leaves_cancels_the_call(gateway, lan, background):
    lan.script(Stall(after_bytes=900, answer=Answer(text="word " * 200, pieces=50)))
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    body = json.dumps({"model": LAN, "messages": HI})
    connection.request("POST", "/api/chat", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200
    assert b"word" in answer.readline()
    answer.close()
    connection.close()
    background.run(lan.wait_until(lambda server: server.abandoned == 1, timeout=5))


def test_what_only_an_ollama_knows_is_sent_to_no_other(client, lan, cloud):
    asked = {"options": {"num_ctx": 9000, "top_k": 5, "mirostat": 1}, "keep_alive": "5m", "think": "low"}
    for model, server in ((LAN, lan), ("openai:gpt-4o", cloud)):
        client.chat(model, HI, **asked)
        client.chat(model, [*HI, {"role": "assistant", "content": "a", "thinking": "hm"}, *HI], **asked)
        for request in server.chats:
            assert not {"options", "keep_alive", "think", "mirostat"} & set(request.json), model
    assert lan.chats[0].json["top_k"] == 5
    assert "top_k" not in cloud.chats[0].json
    assert "reasoning_content" not in cloud.chats[1].json["messages"][1]
