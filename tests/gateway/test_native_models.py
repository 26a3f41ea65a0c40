"""`/api/v1/models`: facts, measurements and recommendations."""

from __future__ import annotations

from typing import Any

import pytest

from pointsman.testing.answers import Answer, Status, Tokens
from waiting import until

from .running import Gateway, running

ADMIN = "pm-key-of-an-admin-0123456789"
FIELDS = {
    "id", "provider", "name", "local", "available", "routable", "aliases", "capabilities", "context_window",
    "max_output", "recommended_use", "strengths", "recommended_temperature", "price", "equivalents", "parameters",
    "licence", "measured",
}  # fmt: skip


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def settings(settings: dict[str, Any], cloud_server) -> dict[str, Any]:
    openai = {**settings["providers"]["openai"], "models": ["gpt-4o-mini", "gpt-4o", "text-embedding-3-small"]}
    return {**settings, "providers": {**settings["providers"], "openai": openai}}


def recommended(gateway: Gateway, **query: str) -> dict[str, Any]:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    reply = gateway.ask("GET", f"/api/v1/models/recommend?{asked}")
    assert reply.status == 200, reply.body
    return reply.json


def test_every_model_with_all_that_is_known(gateway, cloud, lan):
    reply = gateway.ask("GET", "/api/v1/models")
    assert reply.status == 200
    models = {model["id"]: model for model in reply.json["data"]}
    assert set(models) == {
        "openai:gpt-4o", "openai:gpt-4o-mini", "openai:text-embedding-3-small", "lan:llama3.1:8b",
    }  # fmt: skip
    assert all(set(model) == FIELDS for model in models.values())
    llama, mini = models["lan:llama3.1:8b"], models["openai:gpt-4o-mini"]
    assert (llama["local"], llama["aliases"], llama["recommended_temperature"]) == (True, ["fast"], 0.6)
    assert mini["price"] == {"input": 150_000, "cached_input": 75_000, "output": 600_000}
    assert "lan:llama3.1:8b" in mini["equivalents"]
    assert mini["context_window"] == 128_000
    assert "conversation" in mini["recommended_use"]
    assert "math" not in mini["recommended_use"]
    assert llama["recommended_use"]
    assert models["openai:text-embedding-3-small"]["recommended_use"] == ["embeddings"]


def test_one_model_by_id_name_or_alias(gateway):
    by = [gateway.ask("GET", f"/api/v1/models/{name}").json for name in ("lan:llama3.1:8b", "llama3.1:8b", "fast")]
    assert by[0]["id"] == "lan:llama3.1:8b"
    assert by[1] == by[2] == by[0]
    reply = gateway.ask("GET", "/api/v1/models/gpt-4oo")
    assert reply.status == 404
    found = reply.json["error"]
    assert found["code"] == "validation_error"
    assert "gpt-4o" in found["remediation"]["alternatives"]
    assert found["remediation"]["fallback_available"] is True


def test_speeds_are_measured(gateway, cloud, lan):
    name = "openai:gpt-4o"
    assert gateway.ask("GET", f"/api/v1/models/{name}").json["measured"] is None
    cloud.script(
        Answer(text="one two three", usage=Tokens(prompt=10, completion=30)),
        Answer(text="one two three", pieces=3, usage=Tokens(prompt=10, completion=30)),
        Status(400),
    )
    gateway.chat(model=name)
    gateway.chat(model=name, stream=True, stream_options={"include_usage": True})
    gateway.chat(model=name)  # failed: not measured

    def known() -> dict[str, Any]:
        return gateway.ask("GET", f"/api/v1/models/{name}").json["measured"] or {"requests": 0}

    until(lambda: known()["requests"] >= 2)
    measured = known()
    assert measured["requests"] == 2
    assert 0 < measured["response_time_seconds"] < 5
    assert 0 < measured["first_byte_seconds"] <= 5
    assert measured["tokens_per_second"] > 0


def test_what_is_recommended_follows_use_and_tier(gateway):
    best, cheap = (
        recommended(gateway, use_case="coding", performance_tier="high"),
        recommended(gateway, use_case="coding", performance_tier="low"),
    )
    assert (best["recommended"], best["priority"]) == ("openai:gpt-4o", "quality")
    assert (cheap["recommended"], cheap["priority"]) == ("lan:llama3.1:8b", "cost")
    first = best["data"][0]
    assert "the strongest that can do it" in first["why"]
    assert 0 < first["expected_success"] <= 1
    assert first["expected_cost_micro_usd"] > 0
    assert {one["model"] for one in best["data"]} == {"openai:gpt-4o", "openai:gpt-4o-mini", "lan:llama3.1:8b"}
    assert recommended(gateway, use_case="Coding", performance_tier="QUALITY")["recommended"] == "openai:gpt-4o"
    assert len(recommended(gateway, limit="1")["data"]) == 1


def test_what_cannot_do_it_is_not_recommended(gateway):
    assert {one["model"] for one in recommended(gateway, use_case="vision")["data"]} == {
        "openai:gpt-4o", "openai:gpt-4o-mini",
    }  # fmt: skip
    assert {one["local"] for one in recommended(gateway, use_case="private", performance_tier="high")["data"]} == {True}


@pytest.mark.parametrize(
    ("query", "param"),
    [("use_case=juggling", "use_case"), ("performance_tier=best", "performance_tier"), ("limit=0", "limit")],
)
def test_choices_are_named(gateway, query, param):
    reply = gateway.ask("GET", f"/api/v1/models/recommend?{query}")
    assert reply.status == 400
    found = reply.json["error"]
    assert found["details"]["param"] == param
    assert param == "limit" or "one of" in found["message"]
    assert "juggling" not in found["message"]


def test_a_confined_key_sees_its_own(settings, tmp_path):
    admin = {"authorization": f"Bearer {ADMIN}"}
    with running(tmp_path, {**settings, "server": {"admin_keys": [ADMIN]}}) as gateway:
        wish = {"name": "narrow", "models": ["lan:*"]}
        token = gateway.ask("POST", "/api/v1/keys", wish, headers=admin).json["token"]
        gateway.headers = {"authorization": f"Bearer {token}"}
        assert [model["id"] for model in gateway.ask("GET", "/api/v1/models").json["data"]] == ["lan:llama3.1:8b"]
        assert gateway.ask("GET", "/api/v1/models/gpt-4o").status == 403
        assert [one["model"] for one in recommended(gateway, performance_tier="high")["data"]] == ["lan:llama3.1:8b"]
        assert recommended(gateway, use_case="vision")["recommended"] is None
        forced = {"routing_preferences": {"force_provider": "openai"}}
        found = gateway.chat("hi", **forced).json["error"]
        assert found["message"].endswith("there are: lan.")


def test_a_model_that_is_away_is_told(settings, cloud, lan_server, background, tmp_path):
    lan_server.models = ("llama3.1:8b",)
    lan_asked = {"base_url": lan_server.base_url, "local": True}  # no list of models: it is asked
    tree = {**settings, "providers": {**settings["providers"], "lan": lan_asked}}
    with running(tmp_path, tree) as gateway:
        assert gateway.ask("GET", "/api/v1/models/fast").json["available"] is True
        background.run(lan_server.refuse())
        try:

            def seen_to_be_away() -> bool:
                gateway.chat(model="lan:llama3.1:8b")
                return not gateway.ask("GET", "/api/v1/models/fast").json["available"]

            until(seen_to_be_away)
            assert recommended(gateway, use_case="private")["recommended"] is None
        finally:
            background.run(lan_server.listen())
            lan_server.models = ("scripted-model",)
