"""A language model tells the intent where nothing else is sure: asked once, not waited for, shown nothing private."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pointsman.core.signals import Intent
from pointsman.evals.intent.by_model import sample
from pointsman.testing.answers import Answer, Page, SeenRequest, Stall, Status, Tokens
from pointsman.testing.upstream import ScriptedUpstream

from .running import Gateway, running
from .ways_out import CANARIES, disguises, spellings

TELLER = "openai:teller"
UNSURE = "colourless green ideas sleep, number"
"""Rules and classifier say `general`."""


@pytest.fixture
def data_plane() -> str:
    return "native"


@pytest.fixture(autouse=True)
def well_again(cloud: ScriptedUpstream, lan: ScriptedUpstream) -> None:
    cloud.default = lan.default = Answer()


def says(label: str) -> Answer:
    return Answer(text=f"[[ ## intent ## ]]\n{label}\n\n[[ ## completed ## ]]")


def tree(cloud: ScriptedUpstream, lan: ScriptedUpstream, *, price: float = 0, **routing: Any) -> dict[str, Any]:
    return {
        "providers": {
            "openai": {
                "base_url": cloud.base_url, "api_key": "k", "models": ["teller"],
                "prices": {"teller": {"input": price, "output": price}},
            },
            "lan": {"base_url": lan.base_url, "local": True, "models": ["llama3.1:8b"]},
            "ollama": {"enabled": False},
        },
        "routing": {"intent_model": TELLER, "force_provider": None, "intent_timeout": 5.0, **routing},
        "learning": {"judge": {"share": 1.0, "model": TELLER}},
        "limits": {"connect_timeout": 2.0},
    }  # fmt: skip


def ask(gateway: Gateway, text: str, **fields: Any) -> dict[str, Any]:
    """The signals of a request."""
    reply = gateway.chat(text, **{"model": "auto", **fields})
    assert reply.status == 200, reply.body
    signals: dict[str, Any] = gateway.decision(reply)["signals"]
    return signals


def asked(upstream: ScriptedUpstream) -> list[SeenRequest]:
    """The calls that asked for an intent."""
    return [request for request in upstream.chats if b"what the user wants done" in request.body]


def results(gateway: Gateway) -> dict[str, float]:
    lines = gateway.ask("GET", "/metrics").body.decode().splitlines()
    found = [line.split() for line in lines if line.startswith("pointsman_intents_total{")]
    return {name.split('"')[1]: float(value) for name, value in found}


@pytest.fixture(scope="module")
def gateway(cloud_server, lan_server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("told"), tree(cloud_server, lan_server)) as gateway:
        yield gateway


def test_it_is_asked_once_for_a_message_and_its_word_holds(gateway: Gateway, cloud, lan):
    cloud.default = says("math")
    signals = ask(gateway, f"{UNSURE} one")
    assert (signals["intent"], signals["intent_source"], signals["intent_confidence"]) == ("math", "model", 0.0)
    (call,) = asked(cloud)
    assert f"{UNSURE} one" in call.json["messages"][-1]["content"]
    assert (call.json["temperature"], call.json["max_tokens"]) == (0, 32)
    # An agent goes on with its work: the same turn of the user, and the results of tools behind it.
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [
        {"role": "user", "content": f"{UNSURE} one"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
    ]
    assert ask(gateway, "", messages=history)["intent"] == "math"
    preview = {"model": "auto", "messages": history[:1]}
    told = gateway.ask("POST", "/api/v1/route", preview).json
    assert told["signals"]["intent_source"] == "model"
    assert len(asked(cloud)) == 1
    with sqlite3.connect(gateway.folder / "data" / "pointsman.sqlite3") as connection:
        rows = connection.execute("SELECT mode, model FROM decisions WHERE key_id = 'intent'").fetchall()
    assert rows == [("forced", TELLER)]


def test_requests_that_come_together_ask_once(gateway: Gateway, cloud, lan):
    cloud.default = says("creative")
    with ThreadPoolExecutor(6) as threads:
        intents = [one["intent"] for one in threads.map(lambda _: ask(gateway, f"{UNSURE} six"), range(6))]
    assert intents == ["creative"] * 6
    assert len(asked(cloud)) == 1


def test_nobody_is_asked_where_it_would_change_nothing(gateway: Gateway, cloud, lan):
    cloud.default = says("math")
    sure = ask(gateway, "Please write unit tests for the parser with pytest.")
    assert (sure["intent"], sure["intent_source"] != "model") == ("tests", True)
    assert ask(gateway, f"{UNSURE} two", model="lan:llama3.1:8b")["intent_source"] == "rules"
    preview = {"model": "auto", "messages": [{"role": "user", "content": f"{UNSURE} three"}]}
    assert gateway.ask("POST", "/api/v1/route", preview).json["signals"]["intent"] == "general"
    assert asked(cloud) == []


@pytest.mark.parametrize(
    ("answer", "result", "name"),
    [
        (says("poetry"), "unreadable", "label"),
        (Answer(text="It might be math, or not."), "unreadable", "form"),
        (Page(b"<html>", "text/html"), "failed", "page"),
        (Status(500), "failed", "status"),
        (says("general"), "unsure", "doubt"),
    ],
)
def test_what_says_nothing_leaves_the_other_word_and_is_remembered(
    gateway: Gateway, cloud, lan, answer: Any, result: str, name: str
):
    before = results(gateway).get(result, 0)
    cloud.default = says("math")
    assert ask(gateway, f"{UNSURE} before {name}")["intent"] == "math"  # failures do not add up to a pause
    cloud.requests.clear()
    cloud.default = answer
    for _ in range(2):
        signals = ask(gateway, f"{UNSURE} of {name}")
        assert (signals["intent"], signals["intent_source"]) == ("general", "classifier")
    assert len(asked(cloud)) == 1
    assert results(gateway)[result] == before + 1


def test_nothing_private_is_shown_to_it_whatever_its_disguise(gateway: Gateway, cloud, lan):
    cloud.default = says("math")
    sent = 0
    for canary in CANARIES.values():
        for body in disguises(canary).values():
            reply = gateway.ask("POST", "/v1/chat/completions", {"model": "auto", **body})
            assert reply.status in (200, 400, 403), reply.body
            sent += 1
        assert not [form for form in spellings(canary) for seen in cloud.requests if form in seen.body]
    assert sent > 100
    before = len(asked(cloud))
    ask(gateway, f"{UNSURE} to jane.doe@acme-corp.com")  # noted only, at level standard
    ask(gateway, f"{UNSURE} max", headers={"x-pointsman-privacy": "max"})
    ask(gateway, f"{UNSURE} local", routing_preferences={"force_provider": "lan"})
    assert len(asked(cloud)) == before
    assert results(gateway)["private"] >= 3
    ask(gateway, f"{UNSURE} seventeen")
    assert len(asked(cloud)) == before + 1


def test_a_local_model_sees_private_asks_and_the_call_stays_local(tmp_path: Path, cloud, lan):
    lan.default = says("math")
    settings = tree(cloud, lan, intent_model="lan:llama3.1:8b", fallbacks={"lan:llama3.1:8b": [TELLER]})
    secret = CANARIES["token"]
    with running(tmp_path, settings) as gateway:
        assert ask(gateway, f"{UNSURE} {secret}")["intent_source"] == "model"
        assert len([request for request in asked(lan) if secret.encode() in request.body]) == 1
        lan.default = Status(500)
        gateway.chat(f"{UNSURE} once more {secret}", model="auto")
        assert not [request for request in cloud.requests if secret.encode() in request.body]
        logged = _own_decisions(gateway)
        assert logged
        assert all(entry["plan"] == ["lan:llama3.1:8b"] for entry in logged)


def _own_decisions(gateway: Gateway) -> list[dict[str, Any]]:
    gateway.ask("GET", "/api/v1/decisions?limit=1")  # reads after what was queued is written
    with sqlite3.connect(gateway.folder / "data" / "pointsman.sqlite3") as connection:
        rows = connection.execute("SELECT id FROM decisions WHERE key_id = 'intent'").fetchall()
    return [gateway.record(identifier) for (identifier,) in rows]


def test_nobody_waits_longer_than_the_settings_say(tmp_path: Path, cloud, lan):
    cloud.default = Stall()
    with running(tmp_path, tree(cloud, lan, intent_timeout=0.2)) as gateway:
        for number in range(5):
            signals = ask(gateway, f"{UNSURE} stalls {number}")
            assert (signals["intent"], signals["intent_source"]) == ("general", "classifier")
        assert results(gateway) == {"timeout": 3, "paused": 2}
        assert gateway.log_text.count("Intents are told without a language model") == 1
        assert [one["outcome"]["status"] for one in _own_decisions(gateway)] == ["cancelled"] * 3


@pytest.mark.parametrize(
    ("cap", "budgets"),
    [(40_000, {"hard": True, "daily": 50}), (40_000, {"hard": False, "daily": 50}), (1_000_000, {"daily": 0.04})],
    ids=["its own", "its own, where budgets warn", "everybody's"],
)
def test_it_costs_no_more_than_its_cap_or_everybodys(tmp_path: Path, cloud, lan, cap: int, budgets: dict[str, Any]):
    """Ten dollars a million tokens: an answer of 200 costs two thousand micro-dollars, and far more is reserved."""
    cloud.default = Answer(text="[[ ## intent ## ]]\nmath", usage=Tokens(prompt=100, completion=100))
    settings = {**tree(cloud, lan, price=10, intent_micro_usd_per_day=cap), "budgets": budgets}
    del settings["learning"]
    hard = budgets.get("hard", True)
    with running(tmp_path, settings) as gateway:
        sources = [
            ask(gateway, f"{UNSURE} costs {number}", routing_preferences={"priority": "cost"})["intent_source"]
            for number in range(25)
        ]
        assert sources[0] == "model"
        assert sources[-1] == "classifier"
        spent = sum((entry["outcome"] or {}).get("cost_micro_usd") or 0 for entry in _own_decisions(gateway))
        assert 2_000 <= spent <= (40_000 if hard else 42_000)


def test_a_model_that_is_not_free_is_asked_only_within_a_cap(tmp_path: Path, cloud, lan):
    with running(tmp_path, tree(cloud, lan, price=10)) as gateway:
        assert ask(gateway, f"{UNSURE} paid")["intent_source"] == "classifier"
        assert asked(cloud) == []
        assert results(gateway) == {"unpaid": 1}
        assert "routing.intent_micro_usd_per_day" in gateway.log_text


def test_it_may_be_named_while_the_gateway_runs(tmp_path: Path, cloud, lan):
    cloud.default = says("math")
    with running(tmp_path, tree(cloud, lan, intent_model=None)) as gateway:
        assert ask(gateway, f"{UNSURE} live")["intent_source"] == "classifier"
        assert results(gateway) == {}
        change = gateway.ask("POST", "/api/v1/config", {"routing": {"intent_model": TELLER}})
        assert change.status == 200, change.body
        assert ask(gateway, f"{UNSURE} live")["intent_source"] == "model"
        assert gateway.ask("POST", "/api/v1/config", {"routing": {"intent_model": "openai:gone"}}).status == 200
        assert ask(gateway, f"{UNSURE} gone")["intent_source"] == "classifier"
        assert results(gateway) == {"told": 1, "away": 1}
        refused = gateway.ask("POST", "/api/v1/config", {"routing": {"intent_model": "auto"}})
        assert (refused.status, "routing.intent_model" in str(refused.json)) == (400, True)


def test_a_model_that_completes_text_is_asked_for_the_next_word(tmp_path: Path, cloud, lan):
    """OpenAI's instruct model does; a program in the data folder is asked as it was optimised, in a chat."""
    words = {" math": -0.2, " other": -2.0, " the": -3.0}
    choice = {"text": " math", "index": 0, "logprobs": {"top_logprobs": [words]}, "finish_reason": "length"}
    cloud.default = Page(json.dumps({"id": "c", "choices": [choice]}).encode(), "application/json")
    settings = tree(cloud, lan, intent_model="openai:gpt-3.5-turbo-instruct", intent_micro_usd_per_day=100_000)
    settings["providers"]["openai"]["models"].append("gpt-3.5-turbo-instruct")
    with running(tmp_path, settings) as gateway:
        signals = ask(gateway, f"{UNSURE} next")
        seen = [
            request for request in cloud.requests if request.path.endswith("/completions") and request.method == "POST"
        ]
        assert (signals["intent"], signals["intent_source"]) == ("math", "model"), gateway.log_text
        (call,) = [request.json for request in seen if "prompt" in request.json]
        assert call["prompt"].endswith(f"Message: {UNSURE} next\nFiled under:")
        assert (call["max_tokens"], call["logprobs"]) == (1, 5)


def test_development_mode_keeps_asks_at_home_but_for_those_that_may_leave(tmp_path: Path, cloud, lan):
    """What is asked of the model holds words of its own, which a pattern may match; the caller's are what counts."""
    cloud.default = says("math")
    settings = tree(cloud, lan, development={"enabled": True, "allow": ["respond with", "#cloud"]})
    with running(tmp_path, settings) as gateway:
        assert ask(gateway, f"{UNSURE} at home")["intent_source"] == "classifier"
        assert asked(cloud) == []
        assert results(gateway) == {"private": 1}
        ask(gateway, f"{UNSURE} #cloud")
        assert len(asked(cloud)) == 1


def test_eval_intent_asks_as_serving_does(gateway: Gateway, cloud, lan):
    limit = 7
    cloud.default = says("math")
    command = [sys.executable, "-m", "pointsman", "--config", str(gateway.folder / "pointsman.yaml")]
    done = subprocess.run(
        [*command, "eval", "intent", "--model", TELLER, "--limit", str(limit), "--json"],
        capture_output=True, text=True, timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": str(gateway.folder), "LANG": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    asks = sample(limit, seed=7)
    rows = {row["method"]: row for row in told["rows"]}
    assert (told["form"], told["asks"], told["no_answer"]) == ("chat", limit, 0)
    assert rows["model"]["right"] == sum(ask.intent is Intent.MATH for ask in asks)
    assert len(asked(cloud)) == limit
    assert len({ask.group for ask in sample(60, seed=7)}) == 60
