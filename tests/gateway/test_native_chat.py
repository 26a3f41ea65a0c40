"""The chat of `/api/v1`, through plain HTTP and the official SDK."""

from __future__ import annotations

import http.client
import json
import time

import openai
import pytest

from pointsman.testing.answers import Answer, Page, Reset, Stall, Status, ToolUse

from .running import Gateway, Reply, running

SECRET = "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"
EASY = "What is the capital of France?"
HARD = (
    "Prove that the scheduler's lock-free queue is linearizable under the C++ memory model: give the invariants, the"
    " happens-before argument for each atomic, and show with a counterexample why relaxed ordering breaks it. Then"
    " refactor the concurrent garbage collector's write barrier, derive its amortised complexity, and analyse the"
    " deadlock and starvation conditions of the distributed consensus protocol that replicates it."
)
OWN = ("routing_preferences", "mode", "options", "auth_override")


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


def ask(gateway: Gateway, content: str = EASY, *, path: str = "completions", **fields) -> Reply:
    body = {"model": "auto", "messages": [{"role": "user", "content": content}], **fields}
    return gateway.ask("POST", f"/api/v1/chat/{path}", body)


def frames(reply: Reply) -> list[str]:
    return [frame.removeprefix("data: ") for frame in reply.body.decode().split("\n\n") if frame]


def chunks(reply: Reply) -> list[dict]:
    *said, last = frames(reply)
    assert last == "[DONE]"
    return [json.loads(frame) for frame in said]


def error(reply: Reply, status: int, code: str) -> dict:
    assert reply.status == status, reply.body
    found = reply.json["error"]
    assert set(found) == {"code", "message", "details", "remediation"}
    assert set(found["remediation"]) == {"retry_after", "alternatives", "fallback_available"}
    assert found["code"] == code
    return found


def test_the_answer_tells_what_the_router_did(gateway, cloud, lan):
    lan.script(Answer(text="Paris."))
    reply = ask(gateway)
    assert reply.status == 200
    said = reply.json
    assert said["object"] == "chat.completion"
    assert said["choices"][0]["message"]["content"] == "Paris."
    assert said["message"] == {"role": "assistant", "content": "Paris.", "tool_calls": []}
    assert said["provider"] == "lan"
    metrics = said["routing_metrics"]
    assert 0 <= metrics["complexity_score"] <= 1
    assert metrics["privacy_impact"] == "none"
    assert metrics["decision_factors"] == gateway.decision(reply)["reasons"]


def test_tool_calls_stand_in_the_message(gateway, cloud, lan):
    cloud.script(Answer(tool_calls=(ToolUse("look", {"at": "home"}, "call_1"),)))
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    said = ask(gateway, model="openai:gpt-4o", tools=[tool]).json
    [call] = said["message"]["tool_calls"]
    assert call["function"]["name"] == "look"
    assert said["message"]["tool_calls"] == said["choices"][0]["message"]["tool_calls"]
    assert said["message"]["content"] == said["choices"][0]["message"]["content"]


def test_the_first_chunk_of_a_stream_tells_it(gateway, cloud, lan):
    lan.script(Answer(text="one two three", pieces=4))
    told = chunks(ask(gateway, stream=True))
    assert told[0]["provider"] == "lan"
    assert set(told[0]["routing_metrics"]) == {"complexity_score", "privacy_impact", "decision_factors"}
    assert all("provider" not in chunk for chunk in told[1:])
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in told) == "one two three"


@pytest.mark.parametrize("stream", [{}, {"stream": False}, {"stream": None}, {"stream": True}])
def test_streaming_always_streams(gateway, cloud, lan, stream):
    reply = ask(gateway, path="streaming", **stream)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert chunks(reply)[0]["provider"] == "lan"
    assert lan.chats[-1].json["stream"] is True


def test_hybrid_is_local_where_that_will_do_and_cloud_where_not(gateway, cloud, lan):
    easy, hard = ask(gateway, path="hybrid"), ask(gateway, HARD, path="hybrid")
    assert easy.json["provider"] == "lan"
    assert "Mode hybrid: a local model will do." in easy.json["routing_metrics"]["decision_factors"]
    assert hard.json["provider"] == "openai", hard.json["routing_metrics"]
    assert any("no local model will do" in why for why in hard.json["routing_metrics"]["decision_factors"])


def test_hybrid_chooses_otherwise_than_the_policy_would(gateway, cloud, lan):
    wish = {"routing_preferences": {"priority": "quality"}}
    text = "Summarize in one line: the train left the station at noon and came back at one."
    best = ask(gateway, text, **wish).json
    here = ask(gateway, text, routing_preferences={"priority": "cost"}, mode="hybrid").json
    assert (best["provider"], here["provider"]) == ("openai", "lan")
    private = ask(gateway, HARD, path="hybrid", options={"prioritize_privacy": True}).json
    assert private["provider"] == "lan"  # who wants privacy takes what is here


def test_hybrid_falls_to_the_cloud_when_the_local_model_fails(gateway, cloud, lan):
    lan.script(Status(500))
    reply = ask(gateway, path="hybrid")
    assert reply.status == 200
    assert reply.headers["x-pointsman-reason"].startswith("fallback")
    assert reply.json["provider"] == "openai"
    assert reply.json["routing_metrics"]["decision_factors"][0].startswith("lan:llama3.1:8b failed")


def test_hybrid_never_takes_private_content_to_the_cloud(gateway, cloud, lan):
    lan.script(Status(500))
    error(ask(gateway, f"{HARD} My token is {SECRET}", path="hybrid"), 502, "provider_error")
    reply = ask(gateway, f"{HARD} My token is {SECRET}", path="hybrid")
    assert reply.json["provider"] == "lan"
    assert reply.json["routing_metrics"]["privacy_impact"] == "local_only"
    assert not cloud.chats


def test_mode_local_stays_here(gateway, cloud, lan):
    reply = ask(gateway, HARD, mode="local", options={"prioritize_speed": True})
    assert reply.json["provider"] == "lan"
    assert reply.json["routing_metrics"]["privacy_impact"] == "local_only"
    error(ask(gateway, model="openai:gpt-4o", mode="local"), 403, "validation_error")
    assert not cloud.chats


@pytest.mark.parametrize(
    ("fields", "priority"),
    [
        ({"options": {"prioritize_speed": True}}, "speed"),
        ({"options": {"prioritize_privacy": True, "prioritize_speed": True}}, "privacy"),
        ({"routing_preferences": {"latency_preference": "quality"}, "options": {"prioritize_speed": True}}, "quality"),
        ({"routing_preferences": {"priority": "cost"}, "options": {"prioritize_privacy": True}}, "cost"),
        ({"options": {"prioritize_speed": False, "prioritize_privacy": None}}, "balanced"),
        ({"mode": None, "options": None, "routing_preferences": None}, "balanced"),
    ],
)
def test_wishes_become_the_priority(gateway, cloud, lan, fields, priority):
    assert gateway.decision(ask(gateway, **fields))["signals"]["priority"] == priority


def test_a_forced_provider_answers(gateway, cloud, lan):
    assert ask(gateway, routing_preferences={"force_provider": "openai"}).json["provider"] == "openai"
    assert ask(gateway, HARD, routing_preferences={"force_provider": "lan"}).json["provider"] == "lan"
    assert ask(gateway, routing_preferences={"force_provider": None}).json["provider"] == "lan"
    reply = gateway.chat(EASY, routing_preferences={"force_provider": "openai"})  # and on /v1
    assert reply.headers["x-pointsman-provider"] == "openai"
    lan.script(Status(500))
    error(ask(gateway, routing_preferences={"force_provider": "lan"}), 502, "provider_error")
    assert len(cloud.chats) == 2


def test_a_provider_that_cannot_be_forced(gateway, cloud, lan):
    found = error(ask(gateway, routing_preferences={"force_provider": "grok"}), 400, "validation_error")
    assert "lan, openai" in found["message"]
    assert found["details"]["param"] == "routing_preferences.force_provider"
    wish = {"force_provider": "openai"}
    found = error(ask(gateway, model="lan:llama3.1:8b", routing_preferences=wish), 400, "validation_error")
    assert "openai does not serve" in found["message"]
    found = error(ask(gateway, f"is {SECRET} good?", routing_preferences=wish), 403, "validation_error")
    assert found["details"]["reason"] == "privacy_local_only"
    assert SECRET not in str(found)
    reply = gateway.chat(EASY, routing_preferences={"force_provider": "grok"})
    assert (reply.status, reply.json["error"]["type"]) == (400, "invalid_request_error")
    assert not cloud.chats


def test_what_the_settings_force_comes_first(settings, cloud, lan, tmp_path):
    tree = {**settings, "routing": {"force_provider": "lan"}}
    with running(tmp_path, tree) as gateway:
        found = error(ask(gateway, routing_preferences={"force_provider": "openai"}), 403, "auth_error")
        assert "routing.force_provider in the settings allows only lan" in found["message"]
        assert ask(gateway, routing_preferences={"force_provider": "lan"}).status == 200
        assert not cloud.chats


@pytest.mark.parametrize("path", ["completions", "streaming", "hybrid"])
def test_what_is_ours_is_not_sent_on(gateway, cloud, lan, path):
    reply = ask(
        gateway,
        path=path,
        routing_preferences={"force_provider": "openai", "latency_preference": "speed"},
        mode="hybrid",
        options={"prioritize_speed": True, "num_ctx": 4096},
        x_unknown={"kept": [1]},
    )
    assert reply.status == 200
    sent = cloud.chats[-1].json
    assert sent["options"] == {"num_ctx": 4096}
    assert sent["x_unknown"] == {"kept": [1]}
    assert not {name for name in OWN if name != "options"} & set(sent)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"mode": "sideways"}, "mode"),
        ({"mode": 3}, "mode"),
        ({"options": []}, "options"),
        ({"options": {"prioritize_speed": "yes"}}, "options.prioritize_speed"),
        ({"mode": "auto", "routing_preferences": {"mode": "local"}}, "mode"),
        ({"routing_preferences": {"force_provider": 1}}, "routing_preferences.force_provider"),
        ({"routing_preferences": {"privacy_level": "low"}}, "routing_preferences.privacy_level"),
        ({"routing_preferences": {"force": "openai"}}, "routing_preferences"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
    ],
)
def test_bad_input_is_named(gateway, cloud, lan, fields, param):
    found = error(ask(gateway, **fields), 400, "validation_error")
    assert found["details"]["param"] == param, found
    assert "sideways" not in found["message"]


def test_hybrid_knows_no_other_mode(gateway, cloud, lan):
    error(ask(gateway, path="hybrid", mode="local"), 400, "validation_error")
    error(ask(gateway, path="hybrid", routing_preferences={"mode": "auto"}), 400, "validation_error")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages":1}', b'{"model":"a","model":"b","messages":[1]}'])
def test_what_is_no_body(gateway, body):
    error(gateway.ask("POST", "/api/v1/chat/completions", body), 400, "validation_error")


def test_errors_of_providers(gateway, cloud, lan):
    cloud.script(Status(503))
    found = error(ask(gateway, model="openai:gpt-4o"), 502, "provider_error")
    assert found["details"]["upstream_status"] == 503
    error(ask(gateway, model="gpt-9000"), 404, "validation_error")
    cloud.script(Page(b"<html>", status=200))
    error(ask(gateway, model="openai:gpt-4o"), 502, "provider_error")


def test_a_stream_that_breaks_says_so_in_the_native_shape(gateway, cloud, lan):
    cloud.script(Reset(after_bytes=600, answer=Answer(text="word " * 50, pieces=50)))
    *said, last = frames(ask(gateway, model="openai:gpt-4o", stream=True))
    assert json.loads(said[0])["provider"] == "openai"
    found = json.loads(last)["error"]
    assert found["code"] == "provider_error"
    assert found["details"]["reason"] == "upstream_broken"


def test_a_caller_who_leaves_cancels_the_upstream_call(gateway, cloud, lan, background):
    cloud.script(Stall(after_bytes=600, answer=Answer(text="word " * 50, pieces=50)))
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    body = {"model": "openai:gpt-4o", "messages": [{"role": "user", "content": EASY}]}
    connection.request("POST", "/api/v1/chat/streaming", json.dumps(body), {"content-type": "application/json"})
    reply = connection.getresponse()
    assert reply.read(20)
    identifier = reply.headers["x-pointsman-decision"]
    reply.close()
    connection.close()
    begun = time.monotonic()
    assert gateway.record(identifier)["outcome"]["status"] == "cancelled"
    assert time.monotonic() - begun < 3


def test_the_official_sdk(gateway, cloud, lan):
    lan.script(Answer(text="Paris."), Answer(text="one two", pieces=3))
    with openai.OpenAI(base_url=f"{gateway.url}/api/v1", api_key="unused", max_retries=0, timeout=20) as client:
        messages = [{"role": "user", "content": EASY}]
        wishes = {"routing_preferences": {"latency_preference": "speed"}, "mode": "hybrid"}
        answer = client.chat.completions.create(model="auto", messages=messages, extra_body=wishes)
        assert answer.choices[0].message.content == "Paris."
        assert answer.provider == "lan"
        assert answer.message["content"] == "Paris."
        assert answer.routing_metrics["privacy_impact"] == "none"
        stream = list(client.chat.completions.create(model="auto", messages=messages, stream=True))
        assert stream[0].routing_metrics["decision_factors"]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "one two"
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="gpt-4oo", messages=messages)
        assert "gpt-4o" in caught.value.body["remediation"]["alternatives"]
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(
                model="openai:gpt-4o", messages=[{"role": "user", "content": f"is {SECRET} good?"}]
            )


def test_a_callers_own_key_goes_to_its_provider_and_nowhere_else(settings, cloud, lan, tmp_path):
    key = "sk-callers-own-0123456789abcdefghijkl"
    own = {"openai_api_key": key, "openai_org_id": "org-1"}
    with running(tmp_path, {**settings, "security": {"caller_credentials": "override"}}) as gateway:
        for path in ("completions", "streaming", "hybrid"):
            reply = ask(gateway, path=path, model="openai:gpt-4o", auth_override=own)
            assert reply.status == 200
            assert key.encode() not in reply.body
            seen = cloud.chats[-1]
            assert seen.headers["authorization"] == f"Bearer {key}"
            assert seen.headers["openai-organization"] == "org-1"
            assert "auth_override" not in seen.json
            assert key not in json.dumps(gateway.decision(reply))
        private = ask(gateway, auth_override=own)  # a key beside the request is no private content in it
        assert private.json["routing_metrics"]["privacy_impact"] == "none"
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and key.encode() in file.read_bytes()]
