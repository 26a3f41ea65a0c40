"""A model that fails is left alone for a while: `auto` goes elsewhere, who names it is told at once, a probe brings it
back."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pointsman.testing.answers import Page, Status
from waiting import until

from .responding import SECRET
from .running import Gateway, running

EASY = "What is the capital of France?"
LAN, CLOUD = "lan:llama3.1:8b", "openai:gpt-4o-mini"
ADMIN, KEY = "pm-key-of-an-admin-0123456789", "pm-key-of-somebody-0123456789"
KEYED = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


def breaking(settings: dict[str, Any], open_seconds: float = 600.0) -> dict[str, Any]:
    breaker = {"min_errors": 3, "open_seconds": open_seconds, "max_open_seconds": 600.0, "probes": 1}
    return {
        **settings,
        "execution": {"retries": 0, "breaker": breaker},
        "server": {"admin_keys": [ADMIN], "api_keys": [KEY]},
    }


def admin(gateway: Gateway) -> Gateway:
    gateway.headers = {"authorization": f"Bearer {ADMIN}"}
    return gateway


def metric(gateway: Gateway, name: str) -> dict[tuple[str, str], float]:
    text = gateway.ask("GET", "/metrics").body.decode()
    return {
        (sample.labels["scope"], sample.labels["name"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def circuits(gateway: Gateway) -> dict[str, str]:
    return {one["name"]: one["state"] for one in gateway.ask("GET", "/api/v1/health").json["circuits"]}


def test_auto_goes_elsewhere_until_a_probe_goes_well(tmp_path, settings, cloud, lan):
    with running(tmp_path, breaking(settings, open_seconds=4.0)) as gateway:
        admin(gateway)
        assert gateway.chat(EASY).headers["x-pointsman-model"] == LAN
        quota = b'{"error": {"message": "", "type": "insufficient_quota"}}'
        lan.script(Status(500), Page(b"<html>Sign in</html>"), Status(429, quota))
        for _ in range(3):
            reply = gateway.chat(EASY)
            assert reply.headers["x-pointsman-model"] != LAN
            assert reply.headers["x-pointsman-reason"].startswith("fallback")
        opened_at = time.monotonic()
        asked = len(lan.chats)
        record = gateway.decision(gateway.chat(EASY))
        [dropped] = [drop for drop in record["dropped"] if drop["model"] == LAN]
        if time.monotonic() - opened_at < 2.9:  # it stays open for three quarters of the time at least
            assert dropped["constraint"] == "unhealthy"
            assert dropped["detail"] == "its circuit is open: 3 of 4 calls failed in 60 s"
            assert len(lan.chats) == asked
        until(lambda: gateway.chat(EASY, model=LAN).status == 200)
        assert time.monotonic() - opened_at > 2.9
        assert len(lan.chats) == asked + 1
        assert circuits(gateway) == {}
        assert metric(gateway, "pointsman_breaker_state")["model", LAN] == 0
        assert metric(gateway, "pointsman_breaker_opened_total")["model", LAN] == 1
        assert "its circuit" not in str(gateway.decision(gateway.chat(EASY))["dropped"])


def test_who_names_it_is_told_at_once_and_no_more_than_that(tmp_path, settings, cloud, lan, background):
    with running(tmp_path, breaking(settings)) as gateway:
        admin(gateway)
        cloud.script(*[Status(400)] * 6)
        assert [gateway.chat(model=CLOUD).status for _ in range(6)] == [400] * 6
        assert circuits(gateway) == {}, "that was of the requests' own making"
        cloud.script(*[Status(500)] * 3)
        assert [gateway.chat(model=CLOUD).status for _ in range(3)] == [502] * 3
        asked = len(cloud.chats)
        for headers in ({}, KEYED):
            for stream in (False, True):
                reply = gateway.chat(model=CLOUD, headers=headers, stream=stream)
                assert reply.status == 503
                assert reply.json["error"]["code"] == "circuit_open"
                assert 0 < int(reply.headers["retry-after"]) <= 600
                assert str(cloud.port) not in reply.body.decode()
        assert len(cloud.chats) == asked
        assert gateway.chat(model="openai:gpt-4o").status == 200, "its neighbour is another matter"
        record = gateway.record(gateway.chat(EASY, headers=KEYED).headers["x-pointsman-decision"])
        [detail] = [drop["detail"] for drop in record["dropped"] if drop["model"] == CLOUD]
        assert detail == "calls to it failed of late, and it is left alone for a while"
        told = gateway.ask("GET", "/api/v1/health").json
        assert told["status"] == "degraded"
        [circuit] = told["circuits"]
        assert (circuit["scope"], circuit["name"], circuit["state"]) == ("model", CLOUD, "open")
        assert circuit["why"] == "3 of 3 calls failed in 60 s"
        assert 400 < circuit["seconds_left"] <= 600
        assert metric(gateway, "pointsman_breaker_state") == {
            ("model", CLOUD): 1, ("model", "openai:gpt-4o"): 0, ("model", LAN): 0,
            ("provider", "openai"): 0, ("provider", "lan"): 0,
        }  # fmt: skip
        models = {model["id"]: model["available"] for model in gateway.ask("GET", "/api/v1/models").json["data"]}
        assert models == {CLOUD: False, "openai:gpt-4o": True, LAN: True}
        change = {"execution": {"breaker": {"enabled": False}}}
        assert gateway.ask("POST", "/api/v1/config", change).status == 200
        assert gateway.chat(model=CLOUD).status == 200
        assert circuits(gateway) == {}
        assert gateway.ask("DELETE", "/api/v1/config").status == 200
        background.run(cloud.refuse())
        try:
            assert [gateway.chat(model=CLOUD).status for _ in range(3)] == [502] * 3
            assert gateway.chat(model="openai:gpt-4o").status == 503, "nobody can reach its provider"
            assert circuits(gateway)["openai"] == "open"
            nobody = gateway.chat(EASY, routing_preferences={"force_provider": "openai"})
            assert nobody.json["error"]["code"] == "no_healthy_model"
            assert 400 < int(nobody.headers["retry-after"]) <= 600, "until somebody may try"
            assert "3 calls in a row" in nobody.json["error"]["message"]
            body = {"model": "auto", "messages": [{"role": "user", "content": EASY}], "max_tokens": 9}
            body["routing_preferences"] = {"force_provider": "openai"}
            for path in ("/v1/chat/completions", "/api/v1/chat/completions", "/v1/messages"):
                nobody = gateway.ask("POST", path, body, headers=KEYED)
                assert nobody.status == 503, nobody.body
                assert 400 < int(nobody.headers["retry-after"]) <= 600
                told = nobody.body.decode()
                assert "left alone for a while" in told
                assert str(cloud.port) not in told
                assert "127.0.0.1" not in told
        finally:
            background.run(cloud.listen())


def test_a_provider_that_is_back_is_asked_at_once_and_until_then_privacy_holds(
    tmp_path, settings, lan_server, cloud, background
):
    lan_server.reset()
    lan_server.models = ("llama3.1:8b",)
    tree = breaking(settings)
    tree["providers"] = {**settings["providers"], "lan": {"base_url": lan_server.base_url, "local": True}}
    with running(tmp_path, tree) as gateway:
        admin(gateway)
        background.run(lan_server.refuse())
        try:
            assert [gateway.chat(model=LAN).status for _ in range(4)] == [502, 502, 502, 503]
            until(lambda: "lan is away" in gateway.log_text)
            private = {
                "model": "auto",
                "messages": [{"role": "user", "content": f"is {SECRET} good?"}],
                "max_tokens": 9,
            }
            for path in ("/v1/chat/completions", "/api/v1/chat/completions", "/v1/messages", "/api/chat"):
                kept = gateway.ask("POST", path, private)
                assert kept.status == 503, kept.body
                assert int(kept.headers["retry-after"]) > 0
                told = kept.body.decode()
                assert f"Every model that could answer is down: {LAN}" in told
                assert "Privacy leaves out" in told
                assert CLOUD in told
                assert "Start a local model that can do it, or remove the private content." in told
                assert SECRET not in told
            assert not cloud.chats
        finally:
            background.run(lan_server.listen())
        until(lambda: gateway.chat(model=LAN).status == 200)
    lan_server.models = ("scripted-model",)


def test_two_gateways_share_what_one_has_found_out(tmp_path, settings, cloud, lan, valkey_server):
    tree = breaking(settings)
    tree["state"] = {"url": valkey_server.url, "prefix": f"test-{uuid.uuid4().hex[:8]}", "timeout": 5.0}
    with running(tmp_path / "one", tree) as one, running(tmp_path / "two", tree) as other:
        admin(one), admin(other)
        cloud.script(*[Status(500)] * 3)
        for _ in range(3):
            one.chat(model=CLOUD)
        until(lambda: circuits(other) == {CLOUD: "open"})
        asked = len(cloud.chats)
        assert other.chat(model=CLOUD).status == 503
        assert len(cloud.chats) == asked
        assert metric(other, "pointsman_breaker_opened_total").get(("model", CLOUD), 0) == 0, "it opened elsewhere"
