"""`pointsman eval privacy` and `bench privacy`, and what the documentation says of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", *arguments], capture_output=True, text=True, timeout=100, check=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return json.loads(run("eval", "privacy", "--json"))


def test_the_figures_are_whole_and_good(figures):
    assert set(figures) == {"heldout", "known"}
    for part in figures.values():
        assert part["harmless"] >= 400
        assert part["harmless_left_alone"]["hits"] == part["harmless"]
        for name, row in part["classes"].items():
            assert row["recall"]["of"] >= 40, name
            assert row["recall"]["value"] >= 0.99, name
            assert row["recall"]["low"] <= row["recall"]["value"] <= row["recall"]["high"]
        assert min(row["recall"]["of"] for row in part["detectors"].values()) >= 12


def test_the_docs_publish_these_figures(figures):
    page = (DOCS / "reference/privacy-detection.md").read_text()
    for part, report in figures.items():
        for name, row in report["classes"].items():
            found, right = row["recall"], row["precision"]
            line = f"| {part} | {name} | {found['hits']} of {found['of']} | {right['hits']} of {right['of']} |"
            assert line in page, line


def test_other_seeds_give_other_texts_and_like_figures():
    report = json.loads(run("eval", "privacy", "--part", "heldout", "--variants", "2", "--seed", "7", "--json"))
    for name, row in report["heldout"]["classes"].items():
        assert row["recall"]["value"] >= 0.98, name


def test_for_people():
    shown = run("eval", "privacy", "--part", "known", "--variants", "1", "--verbose")
    assert re.search(r"secret +\d+/\d+", shown)
    assert "payment_card" in shown


def test_the_bench_compares_in_one_run():
    costs = {(row["text"], row["characters"]): row for row in json.loads(run("bench", "privacy", "--json"))}
    for size in (2_000, 100_000):
        row = costs["ordinary", size]
        assert row["prefilter"] <= 2 * row["detectors"]  # a part of it, on a machine that is busy with other tests
        assert row["detectors"] < row["standard_library"]
    assert costs["ordinary", 100_000]["detectors"] < costs["ordinary", 100_000]["standard_library"] / 5
