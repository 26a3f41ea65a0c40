"""`pointsman bench faults`, short: every fault once in some dialect, and nothing happens that must not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pointsman.evals.faults.dialects import DIALECTS
from pointsman.evals.faults.faults import CONNECTIONS, FAULTS
from pointsman.evals.faults.verdicts import DEFECTS


@pytest.mark.timeout(180)
def test_every_fault_ends_in_an_answer_or_a_typed_error(tmp_path: Path):
    page = tmp_path / "page.md"
    options = ["--seed", "11", "--requests", "200", "--json", "--markdown", str(page)]
    command = [sys.executable, "-m", "pointsman", "bench", "faults", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    for part in told["parts"]:
        assert set(part["defects"]) == set(DEFECTS)
        assert not any(part["defects"].values()), (part["title"], part["defects"], part["samples"])
    assert done.returncode == 0, done.stderr
    faults, judged, outages, pool = told["parts"]
    assert {row["name"] for row in faults["by_fault"]} == {*FAULTS, *CONNECTIONS}
    assert set(faults["played"]) >= {name for name, fault in FAULTS.items() if not fault.apart}
    assert {row["name"].removesuffix(", streamed") for row in faults["by_dialect"]} == set(DIALECTS)
    # Each way to answer all the same was taken, whatever the machine's speed made of single requests.
    assert all(faults["ends"][end] > 0 for end in ("whole", "again", "fallback", "continued")), faults["ends"]
    assert faults["ends"]["refused"] + faults["ends"]["broken"] > 0, "some models have no other behind them"
    for part in (judged, outages, pool):
        answered = sum(part["ends"][end] for end in ("whole", "again", "fallback", "continued"))
        assert answered > part["requests"] / 2, part["ends"]
    text = page.read_text()
    assert all(f"| {name} |" in text for name in (*FAULTS, *CONNECTIONS, *DEFECTS))
