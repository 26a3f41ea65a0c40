"""`/api/v1/metrics`, `/metrics` and `/api/v1/health/details`: figures of what was really done."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pointsman.testing.answers import Answer, Stall, Status, Tokens
from waiting import until

from .running import Gateway, running

ADMIN, KEY = "pm-key-of-an-admin-0123456789", "pm-key-of-somebody-0123456789"
EASY = "What is the capital of France?"
PAID = Tokens(prompt=1000, completion=500, cached=400)


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def worked(settings: dict[str, Any], cloud_server, lan_server, tmp_path_factory):
    """A gateway that has answered: twice at home, by a fallback, forced and for money; that has refused and failed."""
    cloud_server.reset()
    lan_server.reset()
    tree = {**settings, "server": {"admin_keys": [ADMIN], "api_keys": [KEY]}}
    with running(tmp_path_factory.mktemp("worked"), tree) as gateway:
        gateway.headers = {"authorization": f"Bearer {ADMIN}"}
        empty = gateway.ask("GET", "/api/v1/metrics").json
        good = gateway.chat(EASY)
        bad = gateway.chat(EASY, stream=True)
        lan_server.script(Status(500))
        gateway.chat(EASY)
        cloud_server.script(Answer(text="a", usage=PAID), Status(400))
        paid = gateway.chat(EASY, model="openai:gpt-4o")
        gateway.chat(EASY, model="openai:gpt-4o")
        gateway.chat(EASY, model="nobody")
        for reply, thumb in ((good, "up"), (bad, "down"), (paid, "up")):
            said = {"id": reply.headers["x-pointsman-decision"], "thumb": thumb}
            assert gateway.ask("POST", "/api/v1/feedback", said).status == 200
        yield gateway, empty


def report(gateway: Gateway, path: str = "/api/v1/metrics") -> dict[str, Any]:
    def all_ended() -> dict[str, Any] | None:
        found = gateway.ask("GET", path).json
        return found if found["requests"]["total"] >= 6 and not found["requests"]["running"] else None

    found = until(all_ended)
    assert found is not None
    return found


def test_nothing_measured_is_null(worked):
    _, empty = worked
    assert empty["requests"]["total"] == 0
    assert empty["routing"]["accuracy"] == {"value": None, "judged": 0}
    assert empty["routing"]["shares"]["local"] is None
    assert set(empty["latency_seconds"].values()) == {None}
    assert empty["cache"] == {"hit_rate": None, "prompt_token_share": None}
    assert empty["savings"] is None
    assert empty["cost"] == {"micro_usd": 0, "unknown": 0}


def test_what_came_of_the_routing(worked):
    gateway, _ = worked
    found = report(gateway)
    assert found["complete"] is True
    counts = found["requests"]
    assert (counts["total"], counts["ok"], counts["error"], counts["refused"]) == (6, 4, 1, 1)
    assert counts["streamed"] == 1
    routing = found["routing"]
    assert routing["shares"]["models"]["lan:llama3.1:8b"] == 0.5
    assert routing["shares"]["providers"] == {"lan": 0.5, "openai": 0.5}
    assert routing["shares"]["local"] == 0.5
    assert sum(routing["shares"]["intents"].values()) == pytest.approx(1)
    assert routing["fallbacks"] == 1
    assert routing["accuracy"] == {"value": pytest.approx(2 / 3), "judged": 3}
    latency = found["latency_seconds"]
    assert 0 < latency["p50"] <= latency["p95"]
    assert 0 < latency["average"] <= latency["p95"]
    assert latency["first_byte_average"] == latency["first_byte_p95"] > 0
    assert found["tokens"]["cached"] == 400
    assert 0 < found["cache"]["prompt_token_share"] < 1


def test_cost_and_savings(worked):
    gateway, _ = worked
    found = report(gateway)
    paid = (600 * 2_500_000 + 400 * 1_250_000 + 500 * 10_000_000) // 1_000_000
    records = gateway.ask("GET", "/api/v1/decisions?limit=10").json["data"]
    assert any(record["cost_micro_usd"] == paid for record in records)
    assert found["cost"]["micro_usd"] == sum(record["cost_micro_usd"] or 0 for record in records)

    saved = baseline = 0
    for record in records:
        if record["status"] == "ok" and record["mode"] == "auto":
            decision = gateway.ask("GET", f"/api/v1/decisions/{record['id']}").json
            cost = {one["model"]: one["cost_micro_usd"] for one in decision["candidates"]}
            strongest = max(decision["candidates"], key=lambda one: one["quality"])["model"]
            assert strongest == "openai:gpt-4o"
            baseline += cost[strongest]
            saved += cost[strongest] - cost[record["answered_by"]]
    assert found["savings"] == {
        "micro_usd": saved, "low_micro_usd": None, "high_micro_usd": None, "baseline_micro_usd": baseline,
        "share": saved / baseline, "decisions": 3,
    }  # fmt: skip
    assert saved > 0


def test_how_far_back(worked):
    gateway, _ = worked
    report(gateway)
    assert gateway.ask("GET", "/api/v1/metrics?hours=1e-9").json["requests"]["total"] == 0
    for hours in ("0", "-1", "nan", "x", "1e9"):
        assert gateway.ask("GET", f"/api/v1/metrics?hours={hours}").status == 400


def test_prometheus_reads_the_same(worked):
    gateway, _ = worked
    report(gateway)
    answer = gateway.ask("GET", "/metrics")
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}

    def of(family: str, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in families[family].samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    total = ("pointsman_requests", "pointsman_requests_total")
    assert of(*total, provider="lan", model="lan:llama3.1:8b", status="ok") == 2
    assert of(*total, provider="openai", status="ok") == 2
    assert of(*total, model="openai:gpt-4o", status="error") == 1
    assert of(*total, provider="", model="", status="refused") == 1
    assert of(*total) == 6
    assert of("pointsman_active_requests", "pointsman_active_requests") == 0
    tokens = ("pointsman_tokens", "pointsman_tokens_total")
    assert of(*tokens, model="openai:gpt-4o", kind="prompt") == 1000
    assert of(*tokens, model="openai:gpt-4o", kind="completion") == 500
    assert of(*tokens, model="openai:gpt-4o", kind="cached") == 400
    assert of("pointsman_cost_dollars", "pointsman_cost_dollars_total", model="openai:gpt-4o") == 0.007
    seconds = "pointsman_request_seconds"
    assert of(seconds, f"{seconds}_count", provider="lan") == 2
    assert 0 < of(seconds, f"{seconds}_sum", provider="lan") < 10
    assert of(seconds, f"{seconds}_bucket", provider="lan", le="+Inf") == 2
    first = "pointsman_first_byte_seconds"
    assert of(first, f"{first}_count") == 1


def test_running_answers_are_counted(worked, cloud_server):
    gateway, _ = worked
    cloud_server.script(Stall(after_bytes=1500, answer=Answer(text="word " * 50, pieces=50)))
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    body = {"model": "openai:gpt-4o", "messages": [{"role": "user", "content": EASY}], "stream": True}
    sent = {**gateway.headers, "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), sent)
    reply = connection.getresponse()
    assert reply.status == 200
    assert reply.read(20)
    assert gateway.ask("GET", "/api/v1/health/details").json["active_requests"] == 1
    reply.close()
    connection.close()
    until(lambda: not gateway.ask("GET", "/api/v1/health/details").json["active_requests"])


def test_health_and_its_details(worked):
    gateway, _ = worked
    report(gateway)
    health, details = (gateway.ask("GET", f"/api/v1/health{path}").json for path in ("", "/details"))
    assert set(health) < set(details)
    assert (health["status"], health["providers"]["openai"]["connected"]) == ("ok", True)
    assert health["uptime"] > 0
    assert details["version"] == health["version"]
    assert details["process"]["pid"] == gateway.process.pid
    assert details["process"]["resident_bytes"] > 10_000_000
    assert 0 < details["process"]["tasks"] < 200
    assert details["models_by_provider"]["lan"] == {"models": 1, "unavailable": 0, "reason": None}
    assert details["models_by_provider"]["openai"] == {"models": 2, "unavailable": 0, "reason": None}
    assert details["requests"]["ok"] == 4
    assert details["policy"].startswith("learned@")
    assert details["changed_settings"] == []
    assert gateway.ask("GET", "/api/health").json == {"status": "ok"}
    assert gateway.ask("GET", "/docs").status == 200


def test_only_admins(worked):
    gateway, _ = worked
    mine = {"authorization": f"Bearer {KEY}"}
    for path in ("/api/v1/metrics", "/metrics", "/api/v1/health/details"):
        assert gateway.ask("GET", path, headers=mine).status == 403
    assert gateway.ask("GET", "/api/v1/health", headers=mine).status == 200
