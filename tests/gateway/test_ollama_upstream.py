"""A gateway in front of an Ollama: what it asks of it, what it makes of its answers, and how it looks after its models.

The Ollama is a scripted one; the first test holds it to what Ollama's official client takes for one.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import ollama
import openai
import pytest

from pointsman.testing import (
    Answer,
    HangUp,
    Pulling,
    ScriptedUpstream,
    Stall,
    Status,
    Tokens,
    ToolUse,
    Vectors,
)

from .running import Gateway, running

ADMIN, MEMBER = "pm-key-of-an-admin-0123456789abcdef", "pm-key-of-a-member-0123456789abcdef"
HI = [{"role": "user", "content": "What is 1 + 2?"}]
SHOWS = {
    "tooled:3b": {
        "details": {"parameter_size": "3B", "family": "t"},
        "model_info": {"t.context_length": 16_384},
        "capabilities": ["completion", "tools", "insert"],
    },
    "plain:1b": {
        "details": {"parameter_size": "1B", "family": "p"},
        "model_info": {"p.context_length": 8192},
        "capabilities": ["completion", "vision"],
    },
    "vectors:latest": {"model_info": {"v.context_length": 512}, "capabilities": ["embedding"]},
}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
CALL = '{"tool": "add", "arguments": {"a": 1, "b": 2}}'


@pytest.fixture(scope="module")
def server(background) -> Iterator[ScriptedUpstream]:
    upstream = ScriptedUpstream(models=tuple(SHOWS))
    upstream.shows = SHOWS
    background.run(upstream.__aenter__())
    yield upstream
    background.run(upstream.__aexit__(None, None, None))


@pytest.fixture
def kept(server: ScriptedUpstream) -> ScriptedUpstream:
    server.reset()
    server.models, server.loaded, server.pages = tuple(SHOWS), [], {}
    return server


@pytest.fixture(scope="module")
def gateway(server: ScriptedUpstream, tmp_path_factory) -> Iterator[Gateway]:
    tree: dict[str, Any] = {
        "providers": {"ollama": {"base_url": server.root, "local": True, "keep_alive": "30m"}},
        "server": {"admin_keys": [ADMIN], "api_keys": [MEMBER]},
        "limits": {"first_byte_timeout": 5.0, "between_bytes_timeout": 5.0, "connect_timeout": 2.0},
    }
    with running(tmp_path_factory.mktemp("before-ollama"), tree) as gateway:
        gateway.headers = {"authorization": f"Bearer {ADMIN}"}
        yield gateway


@pytest.fixture
def sdk(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key=ADMIN, max_retries=0) as sdk:
        yield sdk


def test_the_scripted_ollama_is_one_to_the_official_client(kept):
    kept.loaded = [{"model": "plain:1b", "name": "plain:1b", "size": 5, "size_vram": 4, "context_length": 4096}]
    kept.script(Answer(text="chat"), Answer(text="abc", reasoning="hm"), Answer(text="generate"))
    kept.pages["/api/embed"], kept.pages["/api/pull"] = Vectors(), Pulling()
    with ollama.Client(host=kept.root) as client:
        assert [model.model for model in client.list().models] == list(SHOWS)
        assert client.show("tooled:3b").modelinfo == {"t.context_length": 16_384}
        assert client.ps().models[0].context_length == 4096
        assert client.chat("m", HI).message.content == "chat"
        parts = list(client.generate("m", "x", stream=True))
        assert "".join(part.response for part in parts) == "abc"
        assert ("".join(part.thinking or "" for part in parts), parts[-1].done_reason) == ("hm", "stop")
        assert client.generate("m", "x").response == "generate"
        assert len(client.embed("m", ["a", "b"]).embeddings) == 2
        assert [line.status for line in client.pull("m", stream=True)][-1] == "success"


def test_cards_come_of_what_ollama_shows(kept, gateway):
    listed = {model["id"]: model["pointsman"] for model in gateway.ask("GET", "/v1/models").json["data"]}
    assert listed["ollama:tooled:3b"]["context_window"] == 16_384
    assert {"tools", "completion"} <= set(listed["ollama:tooled:3b"]["capabilities"])
    assert {"tools", "vision"} <= set(listed["ollama:plain:1b"]["capabilities"])
    assert listed["ollama:vectors:latest"]["capabilities"] == ["embeddings"]


def test_keep_alive_is_the_settings_unless_the_caller_says(kept, gateway):
    gateway.chat(model="ollama:plain:1b")
    gateway.chat(model="ollama:plain:1b", keep_alive=0)
    assert [request.json["keep_alive"] for request in kept.chats] == ["30m", 0]


def test_a_prompt_that_was_cut_is_told_of(kept, gateway):
    cut = gateway.chat("The quick brown fox. " * 1000, model="ollama:plain:1b")
    assert cut.headers["x-pointsman-note"].startswith("prompt_truncated: ollama:plain:1b read 10 tokens")
    streamed = gateway.chat("The quick brown fox. " * 1000, model="ollama:plain:1b", stream=True)
    for reply in (cut, streamed):
        [attempt] = gateway.decision(reply)["outcome"]["attempts"]
        assert attempt["note"].startswith("prompt_truncated: ollama:plain:1b read 10 tokens of a prompt of at least")
    kept.default = Answer(usage=Tokens(prompt=5000))
    whole = gateway.chat("The quick brown fox. " * 1000, model="ollama:plain:1b")
    kept.default = Answer()
    assert "x-pointsman-note" not in whole.headers


def test_own_tools_go_natively(kept, sdk):
    kept.script(Answer(text="", tool_calls=[ToolUse("add", {"a": 1, "b": 2})]))
    answer = sdk.chat.completions.create(model="ollama:tooled:3b", messages=HI, tools=[ADD])
    assert answer.choices[0].message.tool_calls[0].function.name == "add"
    assert kept.chats[-1].json["tools"] == [ADD]


def test_a_simulated_call(kept, sdk):
    kept.script(Answer(text=CALL))
    answer = sdk.chat.completions.create(model="ollama:plain:1b", messages=HI, tools=[ADD], stop=["1"])
    [choice] = answer.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    [call] = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 1, "b": 2})
    sent = kept.chats[-1].json
    assert "tools" not in sent
    assert "stop" not in sent["options"]
    assert sent["format"]["anyOf"][0]["properties"]["tool"] == {"enum": ["add"]}
    assert "- add(a: integer, b: integer): Add two numbers." in sent["messages"][0]["content"]
    result = {"role": "tool", "tool_call_id": call.id, "content": "3"}
    kept.script(Answer(text='{"tool": "reply", "arguments": {"text": "It is 3."}}'))
    answer = sdk.chat.completions.create(model="ollama:plain:1b", messages=[*HI, choice.message, result], tools=[ADD])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("It is 3.", "stop")
    assert kept.chats[-1].json["messages"][-1] == {"role": "user", "content": "Result of add:\n3"}


def test_a_simulated_call_streamed(kept, sdk):
    kept.script(Answer(text=CALL, pieces=20), Answer(text='{"tool": "reply", "arguments": {"text": "No."}}', pieces=20))
    with sdk.chat.completions.stream(model="ollama:plain:1b", messages=HI, tools=[ADD]) as stream:
        final = stream.get_final_completion()
    [call] = final.choices[0].message.tool_calls
    assert (json.loads(call.function.arguments), final.choices[0].finish_reason) == ({"a": 1, "b": 2}, "tool_calls")
    chunks = list(sdk.chat.completions.create(model="ollama:plain:1b", messages=HI, tools=[ADD], stream=True))
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert ("".join(texts), sum(map(bool, texts)) > 1) == ("No.", True)


def test_pictures_go_with_simulated_tools(kept, sdk):
    url = {"url": "data:image/png;base64,iVBORw0KGgo="}
    content = [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": url}]
    kept.script(Answer(text=CALL))
    sdk.chat.completions.create(model="ollama:plain:1b", messages=[{"role": "user", "content": content}], tools=[ADD])
    assert kept.chats[-1].json["messages"][-1] == {"role": "user", "content": "what", "images": ["iVBORw0KGgo="]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        '{"tool": "rm", "arguments": {}}',
        '{"tool": "add", "arguments": {"a": "x", "b": 2}}',
        '{"tool": "add", "arguments": {"a": 1}}',
        '{"tool": "add", "arguments": {"a": 1, "b": 2, "c": 3}}',
        '{"tool": "add", "arguments": {"a": nope, "b": 2}}',
        '{"tool": "add", "arguments": {"a": 1, "b": 2',
        '{"tool": "add", "arguments": [1, 2]}',
        CALL + CALL,
        "{}",
        "",
    ],
)
def test_what_is_malformed_is_no_call(kept, gateway, text, stream):
    kept.default = Answer(text=text, pieces=5)
    reply = gateway.chat(model="ollama:plain:1b", tools=[ADD], stream=stream)
    kept.default = Answer()
    assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_protocol_error")
    assert b"tool_calls" not in reply.body


def test_plain_words_are_a_plain_answer_unless_a_call_is_required(kept, gateway):
    kept.default = Answer(text="Just words")
    reply = gateway.chat(model="ollama:plain:1b", tools=[ADD])
    assert reply.json["choices"][0]["message"]["content"] == "Just words"
    required = gateway.chat(model="ollama:plain:1b", tools=[ADD], tool_choice="required")
    kept.default = Answer()
    assert required.status == 502


def test_a_call_that_a_limit_cut_is_left_out(kept, gateway):
    kept.script(Answer(text=CALL[:-9], finish="length"))
    choice = gateway.chat(model="ollama:plain:1b", tools=[ADD]).json["choices"][0]
    assert (choice["finish_reason"], "tool_calls" in choice["message"]) == ("length", False)


def test_a_break_in_a_simulated_answer(kept, gateway):
    reply = '{"tool": "reply", "arguments": {"text": "' + "word " * 300
    kept.script(HangUp(after_bytes=3000, answer=Answer(text=reply, pieces=100)))
    broken = gateway.chat(model="ollama:plain:1b", tools=[ADD], stream=True)
    assert broken.status == 200
    assert b"[DONE]" not in broken.body
    assert json.loads(broken.body.strip().splitlines()[-1][6:])["error"]["code"] == "upstream_broken"


def test_auto_calls_tools_with_the_model_that_has_them(kept, gateway):
    kept.default = Answer(text="", tool_calls=[ToolUse("add", {"a": 1, "b": 2})])
    reply = gateway.chat("What is 1 + 2?", tools=[ADD])
    kept.default = Answer()
    assert reply.headers["x-pointsman-model"] == "ollama:tooled:3b"


def test_completions_and_gaps(kept, gateway):
    with ollama.Client(host=gateway.url, headers={"authorization": f"Bearer {ADMIN}"}) as client:
        kept.script(Answer(text="return a + b"), Answer(text="b"), Answer(text="gone on"))
        assert client.generate("tooled:3b", "def add(a, b):", suffix="\n\nprint(add(1, 2))").response == "return a + b"
        sent = kept.chats[-1].json
        assert (sent["suffix"], "raw" in sent, sent["keep_alive"]) == ("\n\nprint(add(1, 2))", False, "30m")
        parts = list(client.generate("tooled:3b", "a", suffix="c", stream=True))
        assert ("".join(part.response for part in parts), parts[-1].eval_count) == ("b", 5)
        assert client.generate("plain:1b", "Once", raw=True).response == "gone on"
        assert (kept.chats[-1].path, kept.chats[-1].json["raw"]) == ("/api/generate", True)


def test_embeddings(kept, gateway, sdk):
    kept.pages["/api/embed"] = Vectors(size=3)
    answer = sdk.embeddings.create(model="ollama:vectors", input=["one two", "three"])
    assert ([len(item.embedding) for item in answer.data], answer.usage.prompt_tokens) == ([3, 3], 3)
    assert kept.requests[-1].json["truncate"] is False
    with ollama.Client(host=gateway.url, headers={"authorization": f"Bearer {ADMIN}"}) as client:
        assert len(client.embed("vectors", "one", truncate=True).embeddings[0]) == 3
        assert kept.requests[-1].json["truncate"] is True
        kept.pages["/api/embed"] = Status(400, b'{"error":"the input length exceeds the context length"}')
        with pytest.raises(ollama.ResponseError):
            client.embed("vectors", "one " * 900)


def test_the_models_that_it_keeps(kept, gateway):
    kept.loaded = [{"model": "plain:1b", "name": "plain:1b", "size": 9, "size_vram": 8, "context_length": 4096}]
    kept.tags = {"plain:1b": {"size": 7, "digest": "d", "details": {"family": "p", "quantization_level": "Q4_0"}}}
    listed = gateway.ask("GET", "/api/v1/models/ollama")
    assert (listed.json["object"], listed.json["away"]) == ("list", {})
    found = {model["id"]: model for model in listed.json["data"]}
    assert set(found) == {f"ollama:{name}" for name in SHOWS}
    plain = found["ollama:plain:1b"]
    assert (plain["size_bytes"], plain["quantization"], plain["known"]) == (7, "Q4_0", True)
    assert plain["loaded"] == {"size_bytes": 9, "vram_bytes": 8, "context": 4096, "expires_at": None}
    assert found["ollama:tooled:3b"]["loaded"] is None
    kept.pages["/api/tags"] = Status(500)
    away = gateway.ask("GET", "/api/v1/models/ollama").json
    assert (away["data"], list(away["away"])) == ([], ["ollama"])
    with ollama.Client(host=gateway.url, headers={"authorization": f"Bearer {ADMIN}"}) as client:
        assert [model.model for model in client.ps().models] == ["ollama:plain:1b"]


def events(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: ")]


def test_a_pull_is_relayed_and_its_model_usable_at_once(kept, gateway):
    assert gateway.chat(model="ollama:fresh:1b").status == 404
    kept.models, kept.pages["/api/pull"] = (*SHOWS, "fresh:1b"), Pulling(steps=4)
    reply = gateway.ask("POST", "/api/v1/models/ollama/pull", {"model": "ollama:fresh:1b"})
    assert reply.headers["content-type"].startswith("text/event-stream")
    told = events(reply.body)
    assert (told[0], told[-1]) == ({"status": "pulling manifest"}, {"status": "success"})
    assert [event["completed"] for event in told if event.get("completed")] == [250, 500, 750, 1000]
    assert kept.requests[-1].path != "/api/pull"  # the catalog was asked for anew behind it
    assert gateway.chat(model="ollama:fresh:1b").status == 200
    asked = next(request for request in kept.requests if request.path == "/api/pull")
    assert asked.json == {"model": "fresh:1b", "stream": True}


def test_other_forms_of_a_pull(kept, gateway):
    kept.pages["/api/pull"] = Pulling()
    path = "/api/v1/models/ollama/pull"
    lines = gateway.ask("POST", path, {"model": "x"}, headers={"accept": "application/x-ndjson"})
    assert [json.loads(line) for line in lines.body.splitlines()][-1] == {"status": "success"}
    assert gateway.ask("POST", path, {"model": "x", "stream": False}).json == {"status": "success"}
    with ollama.Client(host=gateway.url, headers={"authorization": f"Bearer {ADMIN}"}) as client:
        assert [line.status for line in client.pull("x", stream=True)][-1] == "success"
        kept.pages["/api/pull"] = Pulling(error="pull model manifest: file does not exist")
        with pytest.raises(ollama.ResponseError, match="no such model to pull"):
            list(client.pull("x", stream=True))


def test_pulls_that_fail(kept, gateway):
    path = "/api/v1/models/ollama/pull"
    kept.pages["/api/pull"] = Pulling(error="pull model manifest: file does not exist")
    [*_, last] = events(gateway.ask("POST", path, {"model": "x"}).body)
    assert last["error"]["code"] == "NOT_FOUND" or last["error"]["details"]["reason"] == "model_not_found"
    assert gateway.ask("POST", path, {"model": "x", "stream": False}).status == 404
    kept.pages["/api/pull"] = Status(500, b'{"error":"disk is full"}')
    failed = gateway.ask("POST", path, {"model": "x"})
    assert (failed.status, "disk is full" in failed.json["error"]["message"]) == (502, True)
    kept.pages["/api/pull"] = HangUp(after_bytes=60, answer=Pulling())
    [*_, last] = events(gateway.ask("POST", path, {"model": "x"}).body)
    assert "error" in last
    for body in ({}, {"model": ""}, {"model": 3}, {"model": "x" * 300}, {"model": "a\nb"}, b"[]"):
        assert gateway.ask("POST", path, body).status == 400, body


def test_only_admins_pull(kept, gateway):
    kept.pages["/api/pull"] = Pulling()
    for path in ("/api/v1/models/ollama/pull", "/api/pull"):
        refused = gateway.ask("POST", path, {"model": "x"}, headers={"authorization": f"Bearer {MEMBER}"})
        assert refused.status == 403, path
        assert gateway.ask("POST", path, {"model": "x"}, headers={"authorization": ""}).status == 401
    listed = gateway.ask("GET", "/api/v1/models/ollama", headers={"authorization": f"Bearer {MEMBER}"})
    assert listed.status == 200
    assert not [request for request in kept.requests if request.path == "/api/pull"]


def test_a_client_that_leaves_ends_the_pull(kept, gateway, background):
    kept.pages["/api/pull"] = Stall(after_bytes=100, answer=Pulling())
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    sent = {**gateway.headers, "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/models/ollama/pull", b'{"model": "x"}', sent)
    answer = connection.getresponse()
    assert b"pulling manifest" in answer.readline()
    left = time.monotonic()
    answer.close()
    connection.close()
    background.run(kept.wait_until(lambda server: server.abandoned == 1, timeout=5))
    assert time.monotonic() - left < 3


def test_tools_by_prompt_for_another_provider_that_is_declared_so(server, kept, background, tmp_path):
    tree = {
        "providers": {
            "vllm": {"base_url": server.base_url, "local": True, "models": ["base"], "simulate_tools": True},
            "ollama": {"base_url": server.root, "local": True, "simulate_tools": False},
        }
    }
    with running(tmp_path, tree) as gateway:
        listed = {model["id"]: model["pointsman"] for model in gateway.ask("GET", "/v1/models").json["data"]}
        assert "tools" in listed["vllm:base"]["capabilities"]
        assert "tools" not in listed["ollama:plain:1b"]["capabilities"]
        kept.script(Answer(text=CALL))
        answer = gateway.chat(model="vllm:base", tools=[ADD]).json["choices"][0]
        assert answer["message"]["tool_calls"][0]["function"]["name"] == "add"
        sent = kept.chats[-1].json
        assert ("tools" in sent, sent["response_format"]["type"]) == (False, "json_schema")
        with openai.OpenAI(base_url=gateway.base_url, api_key="none", max_retries=0) as sdk:
            kept.script(Answer(text=CALL, pieces=7))
            with sdk.chat.completions.stream(model="vllm:base", messages=HI, tools=[ADD]) as stream:
                final = stream.get_final_completion()
        assert final.choices[0].finish_reason == "tool_calls"


def test_a_key_that_is_confined_sees_and_asks_its_models_alone(kept, gateway):
    fields = {"name": "confined", "models": ["ollama:plain:1b"]}
    key = gateway.ask("POST", "/api/v1/keys", fields).json["token"]
    with ollama.Client(host=gateway.url, headers={"authorization": f"Bearer {key}"}) as client:
        assert [model.model for model in client.list().models] == ["auto", "ollama:plain:1b"]
        assert client.show("auto").modelinfo["pointsman.context_length"] == 8192
        for refused in (client.show, lambda name: client.generate(name, "")):
            with pytest.raises(ollama.ResponseError) as error:
                refused("ollama:tooled:3b")
            assert error.value.status_code == 404
        with pytest.raises(ollama.ResponseError) as error:
            client.chat("ollama:tooled:3b", HI)
        assert error.value.status_code == 403
        assert client.chat("auto", HI).message.content
    kept.loaded = [{"model": "tooled:3b", "name": "tooled:3b"}]
    headers = {"authorization": f"Bearer {key}"}
    assert gateway.ask("GET", "/api/ps", headers=headers).json["models"] == []
    kept_models = gateway.ask("GET", "/api/v1/models/ollama", headers=headers).json["data"]
    assert [model["id"] for model in kept_models] == ["ollama:plain:1b"]
