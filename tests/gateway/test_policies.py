"""A promoted policy serves in every gateway within a second, and a rollback undoes it."""

from __future__ import annotations

import itertools
import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from waiting import until

from .running import Gateway, running

DEAR = "Prove that every planar graph has a vertex of degree at most five, step by step."
SECRET = "a secret that both gateways share, and nobody else"


@pytest.fixture
def data_plane() -> str:
    return "native"


def command(gateway: Gateway, *arguments: str, standard_input: str | None = None, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "--config", str(gateway.folder / "pointsman.yaml"), "policies", *arguments],
        input=standard_input, capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(gateway.folder), **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def serving(gateway: Gateway) -> str:
    body = {"model": "auto", "messages": [{"role": "user", "content": DEAR}]}
    return gateway.ask("POST", "/api/v1/route", body).json["policy"]


def takes_over(gateway: Gateway, version: str, begun: float) -> float:
    """Seconds since `begun` until the gateway decides with a version."""
    until(lambda: serving(gateway) == version, lambda: gateway.log_text, every=0.02)
    return time.monotonic() - begun


def test_a_promotion_and_its_rollback_reach_every_gateway(tmp_path: Path, settings: dict[str, Any], postgres_url: str):
    env = {"DATABASE_URL": postgres_url, "POINTSMAN_SECRET_KEY": SECRET}
    thrifty = json.dumps({"weights": {"balanced": {"cost": 5000.0, "hard": 0.0, "enough": 0.1}}})
    with running(tmp_path / "a", settings, env=env) as one, running(tmp_path / "b", settings, env=env) as other:
        built_in = serving(one)
        assert built_in == serving(other)
        assert built_in.startswith("learned@")

        said = command(one, "add", "thrifty", "-", "--note", "for a lean month", "--promote", standard_input=thrifty,
                       env=env)  # fmt: skip
        assert "thrifty@1" in said
        begun = time.monotonic()
        took = [takes_over(gateway, "thrifty@1", begun) for gateway in (one, other)]
        assert max(took) < 2, took  # it looks every 0.4 s; the rest is a busy machine

        answer = other.chat(DEAR)
        decision = other.decision(answer)
        assert decision["policy"] == "thrifty@1"
        assert decision["model"] == "lan:llama3.1:8b"  # with such weights nothing that costs is worth it

        command(other, "add", "thrifty", "-", standard_input="{}", env=env)
        listed = json.loads(command(other, "list", "--json", env=env))
        assert listed["serving"] == "thrifty@1"
        assert {policy["version"] for policy in listed["policies"]} == {"thrifty@1", "thrifty@2"}

        assert "built-in policy" in command(other, "rollback", env=env)
        begun = time.monotonic()
        for gateway in (one, other):
            takes_over(gateway, built_in, begun)


def test_a_promotion_outlives_a_restart(tmp_path: Path, settings: dict[str, Any]):
    with running(tmp_path, settings) as gateway:
        command(gateway, "add", "mine", "-", "--promote", standard_input="{}", env={})
        takes_over(gateway, "mine@1", time.monotonic())
    with running(tmp_path, settings) as gateway:
        assert serving(gateway) == "mine@1"


THRIFTY = json.dumps({"weights": {"balanced": {"cost": 5000.0, "hard": 0.0, "enough": 0.1}}})


def metric(gateway: Gateway, name: str) -> float:
    text = gateway.ask("GET", "/metrics").body.decode()
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(name)))


def test_a_staged_policy_takes_its_share_and_a_live_drop_takes_it_back(tmp_path: Path, settings: dict[str, Any]):
    with running(tmp_path, settings) as gateway:
        built_in = serving(gateway)
        command(gateway, "add", "worse", "-", standard_input=THRIFTY, env={})
        command(gateway, "promote", "worse@1", "--share", "0.5", env={})
        until(lambda: "worse@1 takes 50 %" in gateway.log_text, lambda: gateway.log_text)

        def conversation(number: int) -> dict[str, Any]:
            body = {"model": "auto", "messages": [{"role": "user", "content": f"{DEAR} Take number {number}."}]}
            return gateway.ask("POST", "/api/v1/route", body).json

        routed = [conversation(number)["policy"] for number in range(60)]
        shares = Counter(routed)
        assert set(shares) == {built_in, "worse@1"}
        assert 15 <= shares["worse@1"] <= 45
        assert routed[:10] == [conversation(number)["policy"] for number in range(10)]  # conversations stay

        numbers = itertools.count(1)

        def rolled_back_after_another() -> bool:
            number = next(numbers)
            answer = gateway.chat(f"{DEAR} Take number {number}.")
            decision = gateway.decision(answer)
            assert sum(one["propensity"] for one in decision["candidates"]) == pytest.approx(1)
            outcome = "failure" if decision["policy"] == "worse@1" else "success"
            judged = gateway.ask("POST", "/v1/feedback", {"id": decision["id"], "outcome": outcome})
            assert judged.status == 200
            return "Rolled worse@1 back" in gateway.log_text

        until(rolled_back_after_another, lambda: gateway.log_text, every=0)
        until(lambda: {conversation(number)["policy"] for number in range(20)} == {built_in}, lambda: gateway.log_text)
        [latest, *_] = json.loads(command(gateway, "history", "--json", env={}))
        assert (latest["action"], latest["version"], latest["by"]) == ("rolled_back", "worse@1", "the gateway")
        assert "judged good: 0.0%" in latest["reason"]
        assert latest["detail"]["candidate_mean"] == 0
        assert metric(gateway, "pointsman_policy_rollbacks_total") == 1


def test_a_shadow_chooses_beside_the_requests_and_changes_nothing(tmp_path: Path, settings: dict[str, Any]):
    with running(tmp_path, settings) as gateway:
        built_in = serving(gateway)
        command(gateway, "add", "thrifty", "-", standard_input=THRIFTY, env={})
        command(gateway, "shadow", "thrifty@1", env={})
        time.sleep(1.0)  # that what follows is decided after it was heard of
        decisions = [gateway.decision(gateway.chat(f"{DEAR} Take number {number}.")) for number in range(5)]
        assert {decision["policy"] for decision in decisions} == {built_in}

        def shadowed() -> list[dict[str, Any]]:
            return json.loads(command(gateway, "list", "--json", env={}))["shadowed"]

        until(lambda: metric(gateway, "pointsman_shadow_choices_total") == 5, lambda: gateway.log_text)
        [summary] = shadowed()
        assert (summary["version"], summary["decisions"]) == ("thrifty@1", 5)
        agreeing = sum(decision["model"] == "lan:llama3.1:8b" for decision in decisions)
        assert summary["agreement"] == pytest.approx(agreeing / 5)
        assert summary["cost_micro_usd"] <= summary["actual_micro_usd"]
        assert metric(gateway, "pointsman_shadow_errors_total") == 0

        command(gateway, "shadow", "thrifty@1", "--off", env={})
        refused = command_fails(gateway, "promote", "thrifty@1")
        assert "thrifty@1 is not promoted" in refused
        assert "--force" in refused
        command(gateway, "promote", "thrifty@1", "--force", "--reason", "for a lean month", env={})
        takes_over(gateway, "thrifty@1", time.monotonic())
        [latest, *_] = json.loads(command(gateway, "history", "--json", env={}))
        assert latest["reason"].startswith("for a lean month; forced: ")
        told = json.loads(command(gateway, "diff", "rules", "thrifty@1", "--json", env={}))
        assert told["numbers"]["weights.balanced.cost"] == [30.0, 5000.0]
        assert told["choices"]["decisions"] == 5


def test_one_that_cannot_be_read_leaves_the_last_good_one(tmp_path: Path, settings: dict[str, Any]):
    with running(tmp_path, settings) as gateway:
        built_in = serving(gateway)
        command(gateway, "add", "mine", "-", standard_input="{}", env={})
        with closing(sqlite3.connect(gateway.folder / "data" / "pointsman.sqlite3")) as connection, connection:
            connection.execute("UPDATE policies SET kind = 'network', artefact = '{\"features\": 1}'")
        command(gateway, "promote", "mine@1", "--share", "0.5", env={})
        until(lambda: "The policy mine@1 cannot be used" in gateway.log_text, lambda: gateway.log_text)
        assert {serving(gateway) for _ in range(5)} == {built_in}
        assert "not a network" in command_fails(gateway, "promote", "mine@1", "--force")


def test_a_promoted_one_that_cannot_be_loaded_leaves_the_one_before_it_after_a_restart_too(
    tmp_path: Path, settings: dict[str, Any]
):
    def damage(gateway: Gateway, change: str) -> None:
        with closing(sqlite3.connect(gateway.folder / "data" / "pointsman.sqlite3")) as connection, connection:
            connection.execute(change)

    with running(tmp_path, settings) as gateway:
        built_in = serving(gateway)
        for name in ("good", "bad"):
            told = json.loads(command(gateway, "add", name, "-", "--promote", "--json", standard_input="{}", env={}))
            assert told == {"version": f"{name}@1", "promoted": True}
        until(lambda: serving(gateway) == "bad@1", lambda: gateway.log_text)
        damage(gateway, "UPDATE policies SET kind = 'network', artefact = '{\"features\": 1' WHERE name = 'bad'")
    with running(tmp_path, settings) as gateway:
        assert serving(gateway) == "good@1"
        assert "bad@1 cannot serve; good@1 does" in gateway.log_text
        details = gateway.ask("GET", "/api/v1/health/details").json
        assert (details["policy"], list(details["unusable_policies"])) == ("good@1", ["bad@1"])
        assert 'pointsman_policy_unusable{version="bad@1"} 1.0' in gateway.ask("GET", "/metrics").body.decode()
        listed = json.loads(command(gateway, "list", "--json", env={}))
        assert (listed["serving"], listed["promoted"], list(listed["unusable"])) == ("good@1", "bad@1", ["bad@1"])
        assert "cannot be used" in command(gateway, "list", env={})
        damage(gateway, "DELETE FROM policies")
    with running(tmp_path, settings) as gateway:  # it starts all the same
        assert serving(gateway) == built_in
        assert json.loads(command(gateway, "list", "--json", env={}))["serving"] is None
        assert json.loads(command(gateway, "rollback", "--json", env={})) == {"serving": "good@1"}


def command_fails(gateway: Gateway, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "--config", str(gateway.folder / "pointsman.yaml"), "policies", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(gateway.folder)},
    )  # fmt: skip
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "content", "says"),
    [
        (("add", "mine", "-"), '{"weights": {"balanced": {"cost": -1}}}', "between 0 and"),
        (("add", "mine", "-"), "not json", "not a policy"),
        (("add", "rules", "-"), "{}", "not rules"),
        (("add", "../etc", "-"), "{}", "letters, digits"),
        (("promote", "mine@7"), None, "no policy 'mine@7'"),
        (("show", "mine@7"), None, "no policy 'mine@7'"),
        (("rollback",), None, "nothing to roll back"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_mend(tmp_path: Path, arguments, content, says):
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "policy", *arguments],
        input=content, capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "POINTSMAN_DATA_DIR": str(tmp_path / "data")},
    )  # fmt: skip
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
