"""A promoted policy serves in every gateway within a second, and a rollback undoes it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from .running import Gateway, running

DEAR = "Prove that every planar graph has a vertex of degree at most five, step by step."
SECRET = "a secret that both gateways share, and nobody else"


@pytest.fixture
def data_plane() -> str:
    return "native"


def command(gateway: Gateway, *arguments: str, standard_input: str | None = None, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "--config", str(gateway.folder / "pointsman.yaml"), "policy", *arguments],
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
    while serving(gateway) != version:
        assert time.monotonic() - begun < 10, (version, gateway.log_text)
        time.sleep(0.02)
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

        assert "built-in rules" in command(other, "rollback", env=env)
        begun = time.monotonic()
        for gateway in (one, other):
            takes_over(gateway, built_in, begun)


def test_a_promotion_outlives_a_restart(tmp_path: Path, settings: dict[str, Any]):
    with running(tmp_path, settings) as gateway:
        command(gateway, "add", "mine", "-", "--promote", standard_input="{}", env={})
        takes_over(gateway, "mine@1", time.monotonic())
    with running(tmp_path, settings) as gateway:
        assert serving(gateway) == "mine@1"


@pytest.mark.parametrize(
    ("arguments", "content", "says"),
    [
        (("add", "mine", "-"), '{"weights": {"balanced": {"cost": -1}}}', "at least 0"),
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
