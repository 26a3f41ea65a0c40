"""`pointsman eval routing` on sixty prompts of two published tables."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[1] / "data" / "routing"


def run(*arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "eval", "routing", *arguments], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode == 0) == ok, done.stderr
    return done


def test_figures_as_json_with_plots_from_two_processes(tmp_path):
    done = run(
        "--data", str(SAMPLE), "--bootstrap", "50", "--folds", "2", "--jobs", "2", "--json",
        "--plots", str(tmp_path / "plots"), "--markdown", str(tmp_path / "tables.md"),
    )  # fmt: skip
    found = json.loads(done.stdout)["datasets"]
    assert list(found) == ["evalperf", "routellm_gsm8k"]
    pair = found["routellm_gsm8k"]["pairs"][0]
    assert (pair["weak"], pair["strong"], pair["rows"]) == ("mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview", 60)
    for result in found.values():
        low, high = result["interval"]["apgr"]
        assert low <= result["apgr"] <= high
        assert {"random", "knn", "category", "logistic", "linucb", "words"} <= set(result["baselines"])
    assert found["evalperf"]["pool"]["models"] == 5
    assert "| evalperf | " in (tmp_path / "tables.md").read_text()
    assert "2/2" in done.stderr
    assert len(list((tmp_path / "plots").glob("*.svg"))) == 2


def test_a_bad_table_does_not_stop_the_others(tmp_path):
    shutil.copy(SAMPLE / "evalperf.jsonl.gz", tmp_path)
    (tmp_path / "broken.jsonl").write_text("{\n")
    done = run("--data", str(tmp_path), "--bootstrap", "20", "--families", "logistic", "--jobs", "1")
    assert "broken.jsonl, line 1" in done.stdout
    assert "evalperf" in done.stdout
    assert "APGR beside the baselines'" in done.stdout
    done = run("--data", str(tmp_path), "--datasets", "broken", "--json", ok=False)
    assert "line 1" in json.loads(done.stdout)["datasets"]["broken"]["error"]
    assert "no table could be judged" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", str(SAMPLE), "--datasets", "evalpref"], "there are evalperf, routellm_gsm8k"),
        (["--data", str(SAMPLE), "--families", "oracle"], "There is no family oracle"),
        (["--data", str(SAMPLE.parent / "transcripts")], "There is no table in"),
        (["--data", str(SAMPLE / "nowhere")], "does not exist"),
        (["--data", str(SAMPLE), "--bootstrap", "1"], "--bootstrap"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, said):
    assert said in " ".join(run(*arguments, ok=False).stderr.split())


@pytest.mark.parametrize(("option", "name"), [("--markdown", "nowhere/page.md"), ("--plots", "taken/plots")])
def test_a_place_that_cannot_be_written_is_said_before_the_work(tmp_path, option, name):
    (tmp_path / "taken").write_text("")
    done = run("--data", str(SAMPLE), option, str(tmp_path / name), ok=False)
    assert "cannot be written" in done.stderr
    assert "1/2" not in done.stderr


def test_a_table_that_has_nothing_to_judge_is_said_and_fails(tmp_path):
    rows = gzip.decompress((SAMPLE / "evalperf.jsonl.gz").read_bytes()).splitlines(keepends=True)
    (tmp_path / "evalperf.jsonl").write_bytes(b"".join(rows[:8]))
    done = run("--data", str(tmp_path), "--bootstrap", "20", "--markdown", str(tmp_path / "page.md"), ok=False)
    assert "evalperf: No part of it can be judged." in done.stderr
    assert "no table could be judged" in done.stderr
    assert "a cross-validation needs 20" in " ".join(done.stdout.split())


@pytest.mark.skipif("POINTSMAN_ROUTING_DATA" not in os.environ, reason="the public tables are not here")
def test_a_whole_public_table():
    data = os.environ["POINTSMAN_ROUTING_DATA"]
    done = run("--data", data, "--datasets", "routellm_gsm8k", "--json", "--jobs", "1")
    found = json.loads(done.stdout)["datasets"]["routellm_gsm8k"]
    assert found["rows"] > 800
    assert found["apgr"] > 0.55
    assert found["baselines"]["random"]["ours_less_this"]["apgr"]["significant"]
