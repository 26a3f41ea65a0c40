"""The benchmark runs, counts and says so; its figures are not judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from pointsman.evals.gateway.cases import CASES
from pointsman.evals.gateway.profile import part_of
from pointsman.evals.gateway.report import Row, compared, goals


def test_the_gateway_benchmark_reports_every_case(tmp_path):
    report_file, page = tmp_path / "report.json", tmp_path / "page.md"
    options = ["--targets", "pointsman,portkey", "--tls", "--workers", "2", "--rounds", "1", "--scale", "0.01"]
    writes = ["--json", "--output", str(report_file), "--markdown", str(page)]
    command = [sys.executable, "-m", "pointsman", "bench", "gateway", *options, *writes]
    environment = {**os.environ, "POINTSMAN_CACHE_DIR": str(tmp_path / "cache")}  # where no peer is installed
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads(report_file.read_text())
    assert {row["target"] for row in report["rows"]} == {"pointsman", "pointsman, auto"}
    assert len(report["rows"]) == 8
    assert [row["case"] for row in report["direct"]] == [case.name for case in CASES]
    for row in report["rows"]:
        assert row["errors"] == 0
        assert row["processor_ms"] > 0
        assert row["p99_ms"] >= row["p95_ms"] >= row["p50_ms"] > 0
        assert all(row["requests_per_second"][connections] > 0 for connections in ("1", "10", "64"))
    [own] = report["gateways"]
    assert 0 < own["listens_seconds"] <= own["answers_seconds"]
    assert own["memory_mib"] > 10  # of two processes
    assert "--install" in report["skipped"]["portkey"]
    assert report["goals"] == []  # they are for one worker and no TLS
    told = page.read_text()
    assert all(f"## {case.name}" in told for case in CASES)
    assert "portkey is not installed" in told.lower()
    assert (tmp_path / "page.svg").read_text().count("<rect") == 9  # eight bars and what they stand on


def test_the_profile_counts_steps_of_every_part():
    command = [sys.executable, "-m", "pointsman", "bench", "gateway", "--profile", "--scale", "0.02", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    pinned, auto, *_, stream, apart = cases = json.loads(done.stdout)
    assert len(cases) == 6
    for case in cases:
        needed = ("server", "admit", "read", "understand", "decide", "execute", "provider", "way out", "record")
        assert all(case["steps"][part] > 50 for part in needed), case
        assert all(case["calls"][part] > 0 for part in needed), case
    assert pinned["steps"]["embed"] == 0 < auto["steps"]["embed"]  # where nothing is chosen nothing is embedded
    assert apart["calls"]["way out"] > stream["calls"]["way out"]  # chunks that come alone pass alone


def test_every_source_file_of_the_path_has_its_part():
    assert part_of("/x/src/pointsman/transport/server_protocol.py") == "server"
    assert part_of("/x/src/pointsman/transport/pool.py") == "way out"
    assert part_of("/x/src/pointsman/providers/static_embedding/pieces.py") == "embed"
    assert part_of("/x/site-packages/numpy/_core/fromnumeric.py") == "embed"
    assert part_of("/x/src/pointsman/providers/openai_compatible.py") == "provider"
    assert part_of("/usr/lib/python3.11/asyncio/tasks.py") == "others"


def row(target: str, processor: float, **more: object) -> Row:
    common = dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "added_p50_ms", "added_p95_ms", "added_p99_ms"), 1.0)
    fields = {"case": "2 KB", "added_first_byte_ms": 1.0, "requests_per_second": {"1": 1.0}, "requests": 1000}
    return Row(target=target, processor_ms=processor, **{"errors": 0, **common, **fields, **more})


def test_ratios_are_to_the_floor_and_to_the_best_peer_that_answers():
    rows = [
        row("nginx", 0.02), row("pointsman", 0.3), row("slow", 4.0), row("quick", 0.2), row("broken", 0.01, errors=11),
    ]  # fmt: skip
    found = {one.target: one for one in compared(rows, ["slow", "quick", "broken"])}
    assert (found["pointsman"].processor_ratio, found["pointsman"].peer_ratio) == (15.0, 1.5)
    assert found["quick"].peer_ratio == 1.0
    assert found["broken"].peer_ratio is None
    assert compared(rows[1:2], [])[0].processor_ratio is None


def test_goals_say_which_are_missed():
    found = {goal.what: goal for goal in goals([row("pointsman", 0.3), row("pointsman, auto", 0.5)], [])}
    assert not found["Processor time of a pinned request of 2 KB"].met
    assert found["Processor time of an `auto` request of 2 KB"].met
    assert list(goals([row("pointsman", 0.1, errors=100)], [])) == []


def test_goals_are_held_to_what_the_peers_took():
    rows = [row("pointsman", 0.3), row("nginx", 0.012), row("portkey", 6.0), row("litellm", 42.0)]
    (pinned,) = [goal for goal in goals(rows, []) if goal.what.startswith("Processor time of a pinned request of 2 KB")]
    assert pinned.held_to_peers == 0.3  # half, one and a half, and twice as much: their median
    assert goals(rows[:1], [])[0].held_to_peers is None
    rows[2] = row("portkey", 6.0, errors=100)  # errors are quickly told
    assert goals(rows, [])[0].held_to_peers == 0.25
