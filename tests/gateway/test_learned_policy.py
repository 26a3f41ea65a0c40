"""The policy that learns, through a gateway: what it tries, what a floor allows, and the priority of a key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from waiting import until

from .running import Gateway, running

EASY = "What is the capital of France?"


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    routing = {**settings["routing"], "exploration": {"share": 1.0, "daily": 5.0}}
    return {**settings, "routing": routing}


def command(gateway: Gateway, *arguments: str, standard_input: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pointsman", "--config", str(gateway.folder / "pointsman.yaml"), *arguments],
        input=standard_input, capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(gateway.folder)},
    )  # fmt: skip


def test_what_is_tried_is_logged_with_its_probability_and_told(gateway: Gateway, lan, cloud):
    records = [gateway.decision(gateway.chat(EASY)) for _ in range(40)]
    explored = [record for record in records if record["explored"]]
    assert 0 < len(explored) < 40
    for record in records:
        assert sum(candidate["propensity"] for candidate in record["candidates"]) == pytest.approx(1)
        assert record["propensity"] == record["candidates"][0]["propensity"]
        greedy = max(record["candidates"], key=lambda candidate: candidate["utility"])
        assert record["explored"] == (greedy["model"] != record["model"])
        assert record["outcome"]["model"] == record["plan"][0] == record["model"]
    [tried, *_] = explored
    assert "chosen by chance to learn" in tried["reasons"][0]
    assert tried["reasons"][1].startswith("Without chance it had been ")
    told = command(gateway, "why", tried["id"])
    assert "picked by chance, to learn" in told.stdout, told.stderr
    assert "±" in told.stdout


@pytest.mark.parametrize(
    "wishes",
    [{"explore": False}, {"priority": "quality"}, {"privacy_level": "max"}, {"quality_floor": 0.0}],
)
def test_who_does_not_want_to_be_tried_with_is_not(gateway: Gateway, lan, cloud, wishes):
    for _ in range(12):
        record = gateway.decision(gateway.chat(EASY, routing_preferences=wishes))
        assert (record["explored"], record["propensity"]) == (False, 1.0)


def test_what_is_only_asked_about_is_not_tried(gateway: Gateway):
    body = {"model": "auto", "messages": [{"role": "user", "content": EASY}]}
    assert not any(gateway.ask("POST", "/api/v1/route", body).json["explored"] for _ in range(12))


def test_a_quality_floor_takes_the_cheapest_within_it(gateway: Gateway, lan, cloud):
    free = gateway.decision(gateway.chat(EASY, routing_preferences={"quality_floor": 1.0, "priority": "quality"}))
    best = gateway.decision(gateway.chat(EASY, routing_preferences={"quality_floor": 0.0, "priority": "cost"}))
    assert free["model"] == "lan:llama3.1:8b"
    assert best["model"] == "openai:gpt-4o"
    assert any("quality floor" in reason for reason in best["reasons"])
    assert best["signals"]["quality_floor"] == 0.0
    refused = gateway.chat(EASY, routing_preferences={"quality_floor": 2})
    assert (refused.status, refused.json["error"]["param"]) == (400, "quality_floor")


@pytest.fixture
def open_gateway(tmp_path: Path, settings: dict[str, Any]) -> Iterator[Gateway]:
    with running(tmp_path, {**settings, "routing": {"priority": "speed"}}) as gateway:
        yield gateway


def test_a_key_has_a_priority_of_its_own(open_gateway: Gateway, lan, cloud):
    made = command(open_gateway, "keys", "create", "batch", "--priority", "cost", "--admin", "--json")
    token = json.loads(made.stdout)["token"]
    assert json.loads(made.stdout)["priority"] == "cost"
    open_gateway.headers = {"Authorization": f"Bearer {token}"}

    def priority(**fields: Any) -> str:
        return open_gateway.decision(open_gateway.chat(EASY, **fields))["signals"]["priority"]

    def becomes(wanted: str) -> None:
        until(lambda: priority() == wanted)

    becomes("cost")
    assert priority(routing_preferences={"priority": "quality"}) == "quality"
    assert priority(headers={"X-Pointsman-Priority": "privacy"}) == "privacy"
    changed = open_gateway.ask("PATCH", "/api/v1/keys/batch", {"priority": None})
    assert (changed.status, changed.json["priority"]) == (200, None)
    assert command(open_gateway, "keys", "update", "batch", "--priority", "best").returncode == 2
    becomes("speed")


def test_a_trained_policy_is_known_by_its_fields_and_a_broken_one_is_refused(open_gateway: Gateway):
    learned = json.dumps({"features": 10_000})
    refused = command(open_gateway, "policy", "add", "mine", "-", standard_input=learned)
    assert refused.returncode == 1
    assert "train it anew" in refused.stderr
    from pointsman.core.features import VERSION

    kept = command(open_gateway, "policy", "add", "mine", "-", standard_input=json.dumps({"features": VERSION}))
    assert "mine@1 is kept" in kept.stdout, kept.stderr
    listed = json.loads(command(open_gateway, "policy", "list", "--json").stdout)
    assert [policy["kind"] for policy in listed["policies"]] == ["learned"]


def test_settings_that_make_no_sense_are_refused_with_the_mend(tmp_path: Path):
    for wrong, says in (
        ("routing: {exploration: {share: 2}}", "between 0 and 1"),
        ("routing: {quality_floor: -0.1}", "between 0 and 1"),
        ("routing: {weights: {cheap: {cost: 1}}}", "is no priority"),
        ("routing: {weights: {balanced: {price: 1}}}", "is no weight"),
        ("routing: {weights: {balanced: {cost: -1}}}", "must be between 0 and"),
        ("routing: {policy: oracle}", "routing.policy"),
    ):
        config = tmp_path / "pointsman.yaml"
        config.write_text(wrong)
        done = subprocess.run(
            [sys.executable, "-m", "pointsman", "--config", str(config), "config", "show"],
            capture_output=True, text=True, timeout=60, check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode != 0, wrong
        assert says in done.stderr, (wrong, done.stderr)


def test_rules_alone_serve_when_the_settings_say_so_and_with_other_weights(tmp_path: Path, settings, lan, cloud):
    routing = {"policy": "rules", "weights": {"balanced": {"cost": 5000.0, "enough": 0.1, "hard": 0.0}}}
    with running(tmp_path, {**settings, "routing": routing}) as gateway:
        record = gateway.decision(gateway.chat("Prove that every planar graph has a vertex of degree at most five."))
        assert record["policy"].startswith("rules@")
        assert record["model"] == "lan:llama3.1:8b"
        changed = gateway.ask("POST", "/api/v1/config", {"routing": {"policy": "learned", "quality_floor": 0.0}})
        assert changed.status == 200, changed.body
        record = gateway.decision(gateway.chat(EASY))
        assert record["policy"].startswith("learned@")
        assert record["model"] == "openai:gpt-4o"
