"""No cap is exceeded where requests cost money twice: hedged, escalated, or gone on with by another model."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("way", "streams"), [("hedge", True), ("escalation", False), ("splice", True)])
def test_the_promise_holds_where_a_second_model_is_asked(way, streams, tmp_path):
    options = ["--twice", way, "--requests", "30", "--affordable", "45", *(["--streams"] if streams else [])]
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "bench", "budget", *options, "--json"],
        capture_output=True, text=True, timeout=180, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["way"] == way
    assert 0 < found["second_calls"] < 30, "money is short for some of them"
    assert found["billed_micro_usd"] <= found["recorded_micro_usd"] <= found["cap_micro_usd"]
    assert found["cap_micro_usd"] - found["billed_micro_usd"] < 10_000, "all of it was spent"
    assert found["failed"] == found["overspent_micro_usd"] == 0


def test_leaving_is_measured_apart(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "bench", "budget", "--twice", "hedge", "--cancel", "0.5"],
        capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "apart" in done.stderr
