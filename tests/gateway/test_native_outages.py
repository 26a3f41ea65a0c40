"""A cloud model is away: its equivalents, a configured chain or the strongest stand in; for a named model only where
that is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from pointsman.testing.answers import Status
from pointsman.testing.upstream import ScriptedUpstream

from .running import Background, Gateway, Reply, running

SECRET = "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"
EASY = "What is the capital of France?"


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def other(background: Background):
    """Another local engine."""
    upstream = ScriptedUpstream()
    background.run(upstream.__aenter__())
    yield upstream
    background.run(upstream.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def settings(settings: dict[str, Any], other: ScriptedUpstream) -> dict[str, Any]:
    """`lan` has an equivalent of gpt-4o-mini; `den` has none, and a smaller model."""
    den = {"base_url": other.base_url, "local": True, "models": ["qwen2.5:7b", "smollm2:135m"]}
    return {**settings, "providers": {**settings["providers"], "den": den}}


@pytest.fixture
def gateway(gateway: Gateway):
    yield gateway
    assert gateway.ask("DELETE", "/api/v1/config").status == 200


def change(gateway: Gateway, **routing: Any) -> None:
    reply = gateway.ask("POST", "/api/v1/config", {"routing": routing})
    assert reply.status == 200, reply.body


def stepped_in(reply: Reply, model: str, for_model: str) -> None:
    assert reply.status == 200, reply.body
    assert reply.headers["x-pointsman-model"] == model
    assert reply.headers["x-pointsman-reason"].startswith(f"fallback: {for_model} failed")


def test_a_local_equivalent_answers_when_the_cloud_is_down(gateway, cloud, lan, background):
    change(gateway, force_provider=None, priority="quality", max_attempts=3)
    first = gateway.chat(EASY)
    chosen = first.headers["x-pointsman-model"]
    assert chosen.startswith("openai:")
    plan = gateway.decision(first)["plan"]
    assert plan[1] == "lan:llama3.1:8b" if chosen.endswith("mini") else plan[1].split(":")[0] in ("lan", "den")
    background.run(cloud.refuse())
    try:
        reply = gateway.chat(EASY)
        stepped_in(reply, plan[1], chosen)
        streamed = gateway.chat(EASY, stream=True)
        assert streamed.headers["x-pointsman-provider"] in ("lan", "den")
        assert streamed.body.endswith(b"data: [DONE]\n\n")
        native = gateway.ask(
            "POST",
            "/api/v1/chat/completions",
            {"model": "auto", "messages": [{"role": "user", "content": EASY}]},
        )
        assert native.json["routing_metrics"]["decision_factors"][0].startswith(f"{chosen} failed, and {plan[1]}")
    finally:
        background.run(cloud.listen())


def test_the_settings_name_equivalents(gateway, cloud, lan, other):
    change(gateway, priority="quality", equivalents={"openai:gpt-4o": ["den:smollm2:135m"], "gpt-4o-mini": []})
    reply = gateway.chat(EASY)
    assert reply.headers["x-pointsman-model"] == "openai:gpt-4o"
    assert gateway.decision(reply)["plan"][:2] == ["openai:gpt-4o", "den:smollm2:135m"]
    told = {model["id"]: model["equivalents"] for model in gateway.ask("GET", "/api/v1/models").json["data"]}
    assert told["openai:gpt-4o"] == ["den:smollm2:135m"]
    assert told["openai:gpt-4o-mini"] == []
    cloud.script(Status(503))
    stepped_in(gateway.chat(EASY), "den:smollm2:135m", "openai:gpt-4o")


def test_a_chain_takes_the_place_of_everything(gateway, cloud, lan, other):
    change(gateway, priority="quality", fallbacks={"openai:gpt-4o": ["den:qwen2.5:7b", "den:smollm2:135m"]})
    assert gateway.decision(gateway.chat(EASY))["plan"] == ["openai:gpt-4o", "den:qwen2.5:7b", "den:smollm2:135m"]
    other.reset()
    cloud.script(Status(500))
    other.script(Status(500))
    stepped_in(gateway.chat(EASY), "den:smollm2:135m", "openai:gpt-4o")


def test_the_strongest_is_the_last_resort(gateway, cloud, lan, other):
    change(gateway, priority="cost", max_attempts=2)
    plan = gateway.decision(gateway.chat(EASY))["plan"]
    assert plan[-1] == "openai:gpt-4o"
    assert plan[0].split(":")[0] in ("lan", "den")


def test_a_named_model_answers_itself_or_not_at_all(gateway, cloud, lan, other):
    cloud.script(Status(503))
    reply = gateway.chat(EASY, model="openai:gpt-4o")
    assert reply.status == 502
    assert not lan.chats
    change(gateway, named_stand_ins=True, equivalents={"gpt-4o": ["lan:llama3.1:8b"]})
    for name in ("openai:gpt-4o", "gpt-4o"):
        cloud.script(Status(503))
        stepped_in(gateway.chat(EASY, model=name), "lan:llama3.1:8b", "openai:gpt-4o")
    change(gateway, fallbacks={"openai:gpt-4o": ["den:qwen2.5:7b"]})  # a chain comes first
    cloud.script(Status(503))
    stepped_in(gateway.chat(EASY, model="openai:gpt-4o"), "den:qwen2.5:7b", "openai:gpt-4o")


def test_no_stand_in_lets_private_content_out(gateway, cloud, lan, other):
    change(gateway, named_stand_ins=True, equivalents={"llama3.1:8b": ["openai:gpt-4o-mini"]})
    lan.script(Status(500))
    stepped_in(gateway.chat(EASY, model="lan:llama3.1:8b"), "openai:gpt-4o-mini", "lan:llama3.1:8b")
    cloud.reset()
    lan.script(Status(500))
    assert gateway.chat(f"is {SECRET} good?", model="lan:llama3.1:8b").status == 502
    assert not cloud.chats


def test_the_settings_file_says_the_same(settings, cloud_server, lan, tmp_path):
    tree = {**settings, "routing": {"named_stand_ins": True, "equivalents": {"gpt-4o": ["lan:llama3.1:8b"]}}}
    with running(tmp_path, tree) as gateway:
        cloud_server.script(Status(503))
        stepped_in(gateway.chat(EASY, model="openai:gpt-4o"), "lan:llama3.1:8b", "openai:gpt-4o")
