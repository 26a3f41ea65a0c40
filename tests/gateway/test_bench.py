"""The benchmark runs, counts and says so; its figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys


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
