"""The command that trains the policy that ships, on small tables of the same form."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from pointsman.core.features import VERSION
from pointsman.learn import default_policy
from pointsman.learn.default_policy import LIMIT, SOURCES, fit_three, main, table_weights
from pointsman.learn.families.logistic import sigmoid
from pointsman.pipeline.decide.learned.artefact import read_artefact

MODELS = {
    "routellm_mmlu": ("mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview"),
    "routellm_gsm8k": ("mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview"),
    "lcb_codegen_o1": ("O1-Preview-2024-09-12 (N=1)", "O1-Mini-2024-09-12 (N=1)"),
    "evalperf": ("one", "two", "three", "four"),
    "infibench": ("gpt-3.5-turbo", "Codestral-22B-v0.1", "gpt-4-0613"),
}


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "routing"
    folder.mkdir()
    for name, models in MODELS.items():
        lines = []
        for at in range(30):
            hard = at % 2
            prompt = f"{'prove a theorem of algebra' if hard else 'say a kind word'} number {at}"
            chances = np.linspace(0.45, 0.8, len(models)) - 0.25 * hard
            outcomes = {model: {"score": float(rng.uniform() < p)} for model, p in zip(models, chances, strict=True)}
            row = {
                "dataset": name,
                "prompt_id": str(at),
                "split_key": str(at),
                "prompt": prompt,
                "category": "",
                "outcomes": outcomes,
            }
            lines.append(json.dumps(row))
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_the_same_seed_makes_the_same_bytes(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_policy, "CENTRES", 8)
    for name in ("first.json", "second.json"):
        main(["--data", str(tables), "--output", str(tables / name), "--seed", "3"])
    first, second = ((tables / name).read_bytes() for name in ("first.json", "second.json"))
    assert first == second
    artefact = read_artefact(first)
    assert artefact.prior is not None
    assert len(artefact.prior.anchors) in (2, 3)
    assert set(artefact.heads) == {"mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview"}
    for source in SOURCES:
        assert source.name in artefact.note
        assert source.licence in artefact.note
    assert "30 prompts, 4 models" in artefact.note
    main(["--data", str(tables), "--output", str(tables / "third.json"), "--seed", "4"])
    assert (tables / "third.json").read_bytes() != first


def test_a_missing_table_is_named(tables: Path) -> None:
    (tables / "routing" / "evalperf.jsonl").unlink()
    with pytest.raises(SystemExit, match=r"evalperf\.jsonl\.gz"):
        main(["--data", str(tables), "--output", str(tables / "policy.json")])


def test_the_policy_that_ships_reads_and_names_its_sources() -> None:
    content = (files("pointsman.pipeline.decide") / "data" / "default_policy.json").read_text(encoding="utf-8")
    assert len(content) < LIMIT
    artefact = read_artefact(content)
    assert artefact.features == VERSION
    assert artefact.prior is not None
    assert artefact.prior.near is not None
    assert all(source.name in artefact.note for source in SOURCES)


def test_three_lines_are_found() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(900, 4))
    truth = {0: rows[:, 0] - 0.5, 1: 0.75 * rows[:, 0], 2: 0.5 * rows[:, 0] + 1.0}
    scores = np.stack([(rng.uniform(size=900) < sigmoid(truth[at])).astype(float) for at in range(3)], axis=1)
    scores[100:, 1] = np.nan
    found = fit_three(rows, scores, np.ones(900), 3.0)
    assert found.biases[0] < found.biases[1] < found.biases[2]
    assert found.weights[0, 0] > found.weights[2, 0] > 0.2
    assert np.abs(found.weights[:, 1:]).max() < 0.3


def test_each_table_weighs_as_the_root_of_its_length() -> None:
    weights = table_weights(np.repeat([0, 1], [400, 100]))
    assert weights.mean() == pytest.approx(1.0)
    assert weights[:400].sum() == pytest.approx(2 * weights[400:].sum())
