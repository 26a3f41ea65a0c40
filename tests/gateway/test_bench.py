"""The benchmark runs, counts and says so; its figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys

from pointsman.evals.gateway.profile import part_of


def test_the_gateway_benchmark_reports_every_case(tmp_path):
    report_file = tmp_path / "report.json"
    options = ["--rounds", "1", "--scale", "0.02", "--json", "--output", str(report_file)]
    command = [sys.executable, "-m", "pointsman", "bench", "gateway", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads(report_file.read_text())
    own = [row for row in report["rows"] if row["target"] == "pointsman"]
    assert len(own) == 5
    for row in own:
        assert row["errors"] == 0
        assert row["processor_ms"] > 0
        assert row["p99_ms"] >= row["p50_ms"] > 0
    assert report["start_seconds"]["pointsman"] > 0
    assert report["memory_mib"]["pointsman"] > 5


def test_the_profile_counts_steps_of_every_part():
    command = [sys.executable, "-m", "pointsman", "bench", "gateway", "--profile", "--scale", "0.02", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    pinned, auto, *_ = cases = json.loads(done.stdout)
    assert len(cases) == 5
    for case in cases:
        needed = ("server", "admit", "read", "understand", "decide", "execute", "provider", "way out", "record")
        assert all(case["steps"][part] > 50 for part in needed), case
        assert all(case["calls"][part] > 0 for part in needed), case
    assert pinned["steps"]["embed"] == 0 < auto["steps"]["embed"]  # where nothing is chosen nothing is embedded


def test_every_source_file_of_the_path_has_its_part():
    assert part_of("/x/src/pointsman/transport/server_protocol.py") == "server"
    assert part_of("/x/src/pointsman/transport/pool.py") == "way out"
    assert part_of("/x/src/pointsman/providers/static_embedding/pieces.py") == "embed"
    assert part_of("/x/site-packages/numpy/_core/fromnumeric.py") == "embed"
    assert part_of("/x/src/pointsman/providers/openai_compatible.py") == "provider"
    assert part_of("/usr/lib/python3.11/asyncio/tasks.py") == "others"
