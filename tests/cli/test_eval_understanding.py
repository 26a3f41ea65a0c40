"""`pointsman eval intent`, `eval robustness` and `bench decide`: whole figures, and what they promise."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def run(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return json.loads(done.stdout)


def test_eval_intent_judges_the_rules_and_the_classifier_on_the_projects_own_asks():
    figures = run("eval", "intent")
    assert set(figures) == {"own_known", "own_heldout"}
    heldout = {row["method"]: row for row in figures["own_heldout"]["rows"]}
    assert set(heldout) == {"rules", "majority", "with classifier"}
    assert figures["own_heldout"]["unseen"]
    assert not figures["own_known"]["unseen"]
    for row in heldout.values():
        accuracy = row["accuracy"]
        assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
        assert 0 <= row["ece"] <= 1
    assert heldout["with classifier"]["accuracy"]["value"] > heldout["rules"]["accuracy"]["value"]
    assert heldout["rules"]["gain"]["value"] == 0


def test_eval_robustness_shows_that_orders_to_the_router_win_little():
    figures = run("eval", "robustness", "--policy", "rules", "--paid")
    assert {"paraphrases", "neutral: courtesies", "stuffing: terms"} <= set(figures)
    for kind in ("injections: all", "heldout: all", "later: all", "afterwards: all"):
        assert figures[kind]["same_model"] >= 0.95
        assert figures[kind]["cost_percent"] < 5 < figures["stuffing: terms"]["cost_percent"]
    assert abs(figures["neutral: courtesies"]["cost_percent"]) < 5
    for row in figures.values():
        assert row["low"] <= row["cost_percent"] <= row["high"]


def test_bench_decide_tells_every_part_fresh_and_remembered():
    (row,) = run("bench", "decide", "--prompts", "20", "--bytes", "500", "--models", "5", "--policy", "rules")
    parts = {part["part"]: part for part in row["parts"]}
    assert set(parts) == {
        "ask", "intent", "complexity", "features", "candidates", "policy", "decide", "total", "understand"
    }  # fmt: skip
    assert all(0 < part["median"] <= part["p95"] for part in parts.values())
    assert parts["total"]["median"] >= parts["features"]["median"]
    assert row["policy"] == "rules@2"
    assert row["models"] == 5
    assert row["peak_kib"] > 0
    assert {part["part"] for part in row["remembered"]} == {"understand", "decide", "total"}
