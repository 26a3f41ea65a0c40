"""Mixed traffic leaves a gateway as it was: the soak of `pointsman bench soak`, for as long as CI can wait.

It must notice what it looks for: the same comparison finds a gateway that keeps anything.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from pointsman.evals.soak.held import Held
from pointsman.evals.soak.verdict import MEBIBYTE, changes, growth_per_hour

AT_REST = Held(
    seconds=0.0, requests=500, memory=100 * MEBIBYTE, memory_of_all=120 * MEBIBYTE, processes=2, descriptors=30,
    callers=0, upstreams=3, threads=8, tasks=18, active=0,
)  # fmt: skip


@pytest.mark.timeout(150)
def test_a_short_soak_leaves_nothing_behind():
    options = ["--minutes", "0.3", "--warm-up", "8", "--rate", "25", "--every", "6", "--prompts", "10", "--json"]
    command = [sys.executable, "-m", "pointsman", "bench", "soak", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=140)
    assert done.returncode == 0, (done.stdout, done.stderr)
    report = json.loads(done.stdout)
    assert report["kept"] is True
    assert report["failures"] == {}
    assert report["ended"].keys() == {"ok", "error", "left"}
    assert report["ended"]["ok"] > 150
    assert len(report["samples"]) >= 5
    assert {change["name"] for change in report["changes"]} >= {"memory MiB", "descriptors", "threads", "tasks"}


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"memory": 106 * MEBIBYTE}, "memory MiB"),
        ({"memory_of_all": 127 * MEBIBYTE}, "memory of all processes MiB"),
        ({"processes": 3}, "processes"),
        ({"descriptors": 33}, "descriptors"),
        ({"callers": 3}, "connections of callers"),
        ({"upstreams": 40}, "connections to upstreams"),
        ({"threads": 11}, "threads"),
        ({"tasks": 21}, "tasks"),
        ({"active": 1}, "answers under way"),
    ],
)
def test_what_is_kept_is_found(more, found):
    after = dataclasses.replace(AT_REST, **more)
    assert [change.name for change in changes(AT_REST, after, callers=32) if not change.kept] == [found]


def test_what_is_back_is_no_leak():
    close = {"memory": 104 * MEBIBYTE, "descriptors": 32, "upstreams": 32, "threads": 6, "tasks": 19}
    after = dataclasses.replace(AT_REST, **close)
    assert all(change.kept for change in changes(AT_REST, after, callers=32))


def test_growth_is_that_of_the_second_half():
    sizes = [60, 70, 80, 90, 100, 101, 150, 103, 104]  # MiB, ten minutes apart; one is a spike
    samples = [
        dataclasses.replace(AT_REST, seconds=600.0 * at, memory=size * MEBIBYTE) for at, size in enumerate(sizes)
    ]
    assert growth_per_hour(samples) == 6.0
    assert growth_per_hour(samples[:1]) == 0.0
