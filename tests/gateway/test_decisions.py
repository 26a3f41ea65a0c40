"""Every answer says who gave it and why, and the log tells the whole decision."""

from __future__ import annotations

import pytest

from pointsman.testing.answers import Answer, HangUp, Reset, Status, Tokens

from .running import running

EASY = "What is the capital of France?"
HEADERS = ("decision", "model", "provider", "intent", "reason", "estimated-cost-usd")


def test_an_answer_carries_the_headers(gateway, lan):
    reply = gateway.chat(EASY, model="fast")
    assert reply.status == 200
    assert all(reply.headers[f"x-pointsman-{name}"] for name in HEADERS)
    assert reply.headers["x-pointsman-model"] == "lan:llama3.1:8b"
    assert reply.headers["x-pointsman-provider"] == "lan"


def test_auto_sends_an_easy_prompt_to_the_free_model(gateway, lan, cloud):
    reply = gateway.chat(EASY)
    assert reply.headers["x-pointsman-model"] == "lan:llama3.1:8b"
    assert lan.chats
    assert not cloud.chats


def test_quality_priority_prefers_a_stronger_model(gateway, cloud, lan):
    hard = (
        "Design a lock-free multi-producer queue with hazard pointers in C++20, prove that it is linearizable, and"
        " discuss memory reclamation, the ABA problem and the memory ordering of every atomic operation."
    )
    reply = gateway.chat(hard, headers={"x-pointsman-priority": "quality"})
    assert reply.headers["x-pointsman-provider"] == "openai"
    assert reply.headers["x-pointsman-model"] == "openai:gpt-4o"


def test_the_decision_tells_everything(gateway, lan):
    lan.script(Answer(usage=Tokens(prompt=12, completion=6)))
    record = gateway.decision(gateway.chat(EASY))
    assert record["model"] == "lan:llama3.1:8b"
    assert {candidate["model"] for candidate in record["candidates"]} == {
        "lan:llama3.1:8b",
        "openai:gpt-4o-mini",
        "openai:gpt-4o",
    }
    for candidate in record["candidates"]:
        assert 0 <= candidate["quality"] <= 1
        assert candidate["latency_seconds"] > 0
        assert candidate["cost_micro_usd"] is not None
    assert record["propensity"] == 1.0
    assert record["policy"].startswith("learned@")
    assert all(0 < candidate["uncertainty"] < 1 for candidate in record["candidates"])
    assert record["explored"] is False
    assert record["reasons"]
    assert record["signals"]["intent"]
    outcome = record["outcome"]
    assert (outcome["status"], outcome["model"]) == ("ok", "lan:llama3.1:8b")
    assert (outcome["prompt_tokens"], outcome["completion_tokens"], outcome["cost_micro_usd"]) == (12, 6, 0)
    assert outcome["seconds"] > 0


def test_nothing_of_the_prompt_is_kept(gateway, lan):
    gateway.decision(gateway.chat("The codeword is xylophone-in-the-rain."))
    for file in (gateway.folder / "data").rglob("*"):
        if file.is_file():
            assert b"xylophone" not in file.read_bytes(), file
    assert "xylophone" not in gateway.log_text


def test_route_decides_and_calls_nobody(gateway, lan, cloud):
    body = {"model": "auto", "messages": [{"role": "user", "content": EASY}]}
    reply = gateway.ask("POST", "/api/v1/route", body)
    assert reply.status == 200
    assert reply.json["model"] == "lan:llama3.1:8b"
    assert reply.json["candidates"]
    assert not lan.chats
    assert not cloud.chats


@pytest.mark.parametrize("path", ["/v1/feedback", "/api/v1/feedback"])
def test_feedback_by_decision_or_answer_id(gateway, lan, path):
    lan.script(Answer(id="chatcmpl-feedback"))
    reply = gateway.chat(EASY)
    decision = reply.headers["x-pointsman-decision"]
    gateway.record(decision)
    assert gateway.ask("POST", path, {"id": "chatcmpl-feedback", "thumb": "up"}).status == 200
    assert gateway.ask("POST", path, {"id": decision, "score": 0.95, "comment": "good"}).status == 200
    feedback = gateway.record(decision)["feedback"]
    assert feedback["score"] == 0.95
    assert gateway.ask("POST", path, {"id": "dec_unknown", "thumb": "up"}).status == 404
    assert gateway.ask("POST", path, {"id": decision, "score": 7}).status == 400


@pytest.mark.parametrize(
    "failure", [Status(500), Status(429), Status(503), Reset(), HangUp()], ids=["500", "429", "503", "reset", "hang-up"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_fallback_steps_in(gateway, lan, cloud, failure, stream):
    lan.script(*[failure] * 4)  # a reset of an idle connection is tried once more on a new one
    reply = gateway.chat(EASY, stream=stream)
    assert reply.status == 200
    assert b"Hello" in reply.body
    assert reply.headers["x-pointsman-model"].startswith("openai:")
    assert reply.headers["x-pointsman-reason"].startswith("fallback")
    outcome = gateway.decision(reply)["outcome"]
    assert [attempt["status"] for attempt in outcome["attempts"]] == ["error", "ok"]
    assert outcome["model"] == reply.headers["x-pointsman-model"]


def test_a_forced_model_is_not_replaced(gateway, lan, cloud):
    lan.script(Status(503))
    reply = gateway.chat(EASY, model="lan:llama3.1:8b")
    assert reply.status == 502
    assert not cloud.chats
    record = gateway.decision(reply)
    assert record["mode"] == "forced"
    assert record["outcome"]["status"] == "error"


def test_a_prompt_too_long_for_every_window_says_by_how_much(gateway):
    reply = gateway.chat("word " * 200_000)
    assert reply.status == 400
    error = reply.json["error"]
    assert error["code"] == "context_length_exceeded"
    assert any(char.isdigit() for char in error["message"])


def test_a_need_that_nothing_has_is_named(gateway):
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    reply = gateway.ask(
        "POST",
        "/v1/chat/completions",
        {"model": "lan:llama3.1:8b", "messages": [{"role": "user", "content": image}]},
    )
    assert reply.status in (200, 400)  # a named model may be asked for what its card does not know of
    reply = gateway.ask(
        "POST", "/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": image}]}
    )
    assert reply.headers["x-pointsman-provider"] == "openai"


def test_keys_see_their_own_decisions_only(tmp_path, settings, lan):
    keyed = {**settings, "server": {"api_keys": ["first-key", "second-key"]}}
    with running(tmp_path, keyed) as gateway:
        assert gateway.chat(EASY).status == 401
        first = {"Authorization": "Bearer first-key"}
        second = {"Authorization": "Bearer second-key"}
        decision = gateway.chat(EASY, headers=first).headers["x-pointsman-decision"]
        path = f"/api/v1/decisions/{decision}"
        assert gateway.ask("GET", path, headers=first).status == 200
        assert gateway.ask("GET", path, headers=second).status == 404
        assert gateway.ask("GET", path).status == 401
        thumb = {"id": decision, "thumb": "up"}
        assert gateway.ask("POST", "/v1/feedback", thumb, headers=second).status == 404
        assert gateway.ask("POST", "/v1/feedback", thumb, headers=first).status == 200
    assert "first-key" not in gateway.log_text
    for file in (tmp_path / "data").rglob("*"):
        assert not file.is_file() or b"first-key" not in file.read_bytes()


def test_force_provider_by_environment(tmp_path, settings, cloud):
    with running(tmp_path, settings, env={"FORCE_OPENAI": "true"}) as gateway:
        assert gateway.chat(EASY).headers["x-pointsman-provider"] == "openai"
