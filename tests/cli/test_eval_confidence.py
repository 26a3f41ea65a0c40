"""`pointsman eval confidence`: figures from kept evidence, and what the documentation says of them."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EVIDENCE = ROOT / "tests/data/confidence.jsonl.gz"


def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "eval", "confidence", *arguments],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("confidence")


@pytest.fixture(scope="module")
def report(files: Path) -> dict[str, Any]:
    made, again = str(files / "model.json"), str(files / "again.jsonl.gz")
    done = run("--evidence", str(EVIDENCE), "--json", "--fit", made, "--save-evidence", again)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def short(model: str) -> str:
    return model.removeprefix("embedded:")


def told(figure: dict[str, Any]) -> str:
    """A row of the page."""
    area = "–"
    if figure["auc"] is not None:
        area = f"{figure['auc']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"
    cells = [figure["name"].replace("embedded:", ""), short(figure["model"]), str(figure["answers"])]
    cells += [f"{figure['right']:.0%}", area]
    if figure["ece"] is not None:
        cells += [f"{figure['ece']:.3f}", f"{figure['brier']:.3f}"]
    return f"| {' | '.join(cells)} |"


def test_the_page_publishes_these_figures(report):
    page = (ROOT / "docs/explanation/escalation.md").read_text(encoding="utf-8")
    for figure in (*report["figures"], *report["carried"]):
        if figure["answers"] >= 30:
            assert told(figure) in page, told(figure)
    for cascade in report["cascades"]:
        if cascade["tasks"] < 30:
            continue
        heads = f"{short(cascade['weak'])} ({cascade['weak_alone']:.0%}) → {short(cascade['strong'])}"
        assert heads in page, heads
        for step in cascade["steps"]:
            row = f"{step['escalated']:.0%} | {step['threshold']:.2f} | {step['quality']:.0%} | {step['by_chance']:.0%}"
            assert f"| {row} |" in page, row


def test_what_is_said_is_nearly_so(report):
    """Confidence is worth something: on the models with answers enough, whole answers are told apart and calibrated."""
    whole = {figure["model"]: figure for figure in report["figures"] if figure["name"] == "whole, all"}
    best = whole["embedded:qwen2.5-coder:0.5b"]
    assert best["answers"] >= 100
    assert best["low"] > 0.6
    assert best["ece"] < 0.15


def test_what_was_learned_and_read_is_written(report, files):
    made, shipped = (
        json.loads(path.read_text())
        for path in (files / "model.json", ROOT / "src/pointsman/pipeline/execute/confidence/model.json")
    )
    assert made["trained_on"] == shipped["trained_on"]
    assert (files / "again.jsonl.gz").read_bytes() == EVIDENCE.read_bytes()


def test_for_people(tmp_path):
    few = tmp_path / "few.jsonl"
    few.write_bytes(b"\n".join(gzip.decompress(EVIDENCE.read_bytes()).splitlines()[:150]) + b"\n")
    shown = run("--evidence", str(few)).stdout
    assert "whole, no log-probabilities" in shown
    assert "code_worst alone" in shown


def test_what_does_not_go_together(tmp_path):
    assert "--evidence is judged alone" in run("--evidence", str(EVIDENCE), "-m", "auto", code=2).stderr
    nothing = tmp_path / "none.jsonl"
    assert "too few executed answers" in run("--answers", str(nothing), code=1).stderr
    assert not nothing.exists()
