"""Judging tables: protocols, leaks, pairs, baselines and damaged files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pointsman.core.errors import InvalidRequest
from pointsman.evals.routing.baselines import BASELINES
from pointsman.evals.routing.baselines.descent import fit_logistic, sigmoid
from pointsman.evals.routing.judge import evaluate_dataset
from pointsman.evals.routing.pairs import choose_pair, read_pairs
from pointsman.evals.routing.plots import write_plots
from pointsman.evals.routing.report import markdown
from pointsman.evals.routing.run import merged, pairs_of, questions, tables_in
from pointsman.evals.routing.spec import Spec
from pointsman.learn.table import read_table

TOPICS = {
    "easy": ("Name the capital of France.", "Say hello in Spanish.", "Which colour is the sky?"),
    "hard": (
        "Prove that every finite integral domain is a field.",
        "Derive the Euler-Lagrange equation of this functional.",
        "Prove that the integral of this function converges.",
    ),
}


def write(path: Path, count: int = 90, *, models=("small-7b", "big-70b"), costs=False, calls=False, seed=0) -> Path:
    """Both models do the easy ones; the larger one does most of the hard ones. An attempt that fails is a long one."""
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(count):
        topic = ("easy", "hard")[number % 2]
        chance = {"small": 0.95 if topic == "easy" else 0.1, "big": 0.95, "mid": 0.9 if topic == "easy" else 0.5}
        outcomes = {}
        for model in models:
            kind = next(name for name in chance if name in model)
            cell = {"score": float(rng.random() < chance[kind])}
            if costs:
                cell["cost_usd"] = {"small": 0.01, "mid": 0.1, "big": 1.0}[kind] * float(rng.uniform(0.8, 1.2))
            if calls:
                cell["calls"] = float(rng.integers(5, 15) if cell["score"] else rng.integers(20, 60))
            outcomes[model] = cell
        text = "Do the task." if calls else f"{TOPICS[topic][number % 3]} ({number})"
        lines.append(
            json.dumps(
                {
                    "dataset": path.name.partition(".")[0], "prompt_id": f"{seed}-{number}",
                    "split_key": f"{seed}-{number}",
                    "prompt": text, "category": topic, "outcomes": outcomes,
                }
            )
        )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def spec(path: Path, **more) -> Spec:
    return Spec(name=path.name.partition(".")[0], data=path, bootstrap=100, **{"families": ("logistic",), **more})


def test_what_can_be_told_apart_is(tmp_path):
    result = evaluate_dataset(spec(write(tmp_path / "tasks.jsonl"), families=("logistic", "knn")))
    assert result["apgr"] > 0.65
    assert result["interval"]["apgr"][0] > 0.5
    assert result["cpt80"] < 65
    assert result["protocol"] == "before"
    assert "order by size" in result["notes"][0]
    (pair,) = result["pairs"]
    assert (pair["weak"], pair["strong"]) == ("small-7b", "big-70b")
    assert pair["baselines"]["random"]["apgr"] == 0.5
    assert pair["baselines"]["random"]["ours_less_this"]["apgr"]["significant"]
    assert pair["oracle_apgr"] > pair["apgr"]
    assert set(pair["baselines"]) == set(BASELINES) - {"logistic", "knn"}
    assert set(pair["families"]) == {"knn"}


def test_the_same_run_gives_the_same_figures_whatever_the_order_of_the_rows(tmp_path):
    path = write(tmp_path / "tasks.jsonl")
    first = evaluate_dataset(spec(path))
    assert evaluate_dataset(spec(path)) == first
    path.write_text("\n".join(reversed(path.read_text().splitlines())))
    again = evaluate_dataset(spec(path))
    assert again["apgr"] == pytest.approx(first["apgr"], abs=0.02)
    assert again["pairs"][0]["baselines"]["category"]["apgr"] == first["pairs"][0]["baselines"]["category"]["apgr"]
    assert evaluate_dataset(spec(path, seed=1))["apgr"] != first["apgr"]


def test_an_attempt_tells_what_the_text_does_not(tmp_path):
    path = write(tmp_path / "agents.jsonl", 150, models=("small", "mid", "big"), costs=True, calls=True)
    result = evaluate_dataset(spec(path, pairs=(("small", "big"),)))
    (pair,) = result["pairs"]
    assert result["protocol"] == pair["protocol"] == "after_attempt"
    assert pair["signals"] == ["calls", "cost_usd"]
    assert result["apgr"] == pair["after_attempt"]["apgr"] > pair["before"]["apgr"] + 0.1
    paid = pair["by_cost"]
    assert result["apgr_by_cost"] == paid["apgr"] < result["apgr"]  # the attempt is never free
    assert paid["baselines"]["random"]["apgr"] < 0.5 < paid["apgr"] < paid["oracle_apgr"]
    assert pair["before"]["by_cost"] is None
    assert "calls" in pair["after_attempt"]["baselines"]
    assert "calls" not in pair["before"]["baselines"]
    pool = result["pool"]
    assert pool["protocol"] == "after_attempt"
    assert result["hull_gain"] == pool["after_attempt"]["hull_gain"] > pool["before"]["hull_gain"]
    assert pool["after_attempt"]["hull_gain"] > 0.05
    assert pool["hull"]["models"][0] == "small"


def test_a_pool_without_anything_to_tell_apart_lies_on_the_hull(tmp_path):
    path = write(tmp_path / "agents.jsonl", 150, models=("small", "mid", "big"), costs=True)
    result = evaluate_dataset(spec(path, families=("random",)))
    assert (result["hull_gain"], result["interval"]["hull_gain"]) == (0.0, [0.0, 0.0])
    assert -0.05 < result["hull_gain_in_hindsight"] < 0.01
    assert result["pairs"][0]["apgr"] == 0.5
    assert "order by cost" in result["notes"][0]


def test_learned_from_a_training_part(tmp_path):
    train = write(tmp_path / "train/tasks.jsonl", seed=1)
    data = write(tmp_path / "data/tasks.jsonl", 12)
    result = evaluate_dataset(spec(data, train=train, held_out=True, pairs=(("small-7b", "big-70b"),)))
    assert result["pairs"][0]["learned_from"] == "the table's own training part"
    assert result["apgr"] > 0.65
    assert result["rows"] == 12


def test_prompts_that_are_judged_are_never_learned_from(tmp_path):
    data = write(tmp_path / "data/tasks.jsonl")
    train = write(tmp_path / "train/tasks.jsonl")  # the very same prompts
    result = evaluate_dataset(spec(data, train=train, held_out=True, pairs=(("small-7b", "big-70b"),)))
    assert result["pairs"][0]["learned_from"].startswith("the prior alone")
    assert result["apgr"] == 0.5


def rewritten(path: Path, target: Path, change) -> Path:
    """The table with every row changed by `change(number, row)`."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(json.dumps({**row, **change(number, row)}) + "\n" for number, row in enumerate(rows)))
    return target


@pytest.mark.parametrize("spelt", ["{}", "{}  \n", "\t{}", "\u00a0{}"])
def test_nor_are_those_of_the_same_text_under_another_key(tmp_path, spelt):
    data = write(tmp_path / "data/tasks.jsonl")
    train = rewritten(
        data,
        tmp_path / "train/tasks.jsonl",
        lambda number, row: {"split_key": f"z{number}", "prompt": spelt.format(row["prompt"].upper())},
    )
    result = evaluate_dataset(spec(data, train=train, held_out=True, pairs=(("small-7b", "big-70b"),)))
    assert result["pairs"][0]["learned_from"] == (
        "the prior alone: every training prompt with these models is judged too"
    )
    assert result["apgr"] == 0.5
    assert result["notes"] == [
        "90 of 90 training prompts of tasks are judged here and are not learned from (0 by their split_key, 90 by their"
        " text)"
    ]


def test_one_line_that_all_prompts_share_is_no_prompt_of_its_own(tmp_path):
    """Agents are all started with the same one; what their attempts tell is learned from."""
    data = write(tmp_path / "data/agents.jsonl", 60, models=("small", "big"), calls=True)
    train = write(tmp_path / "train/agents.jsonl", models=("small", "big"), calls=True, seed=1)
    result = evaluate_dataset(spec(data, train=train, held_out=True, pairs=(("small", "big"),)))
    assert result["pairs"][0]["learned_from"] == "the table's own training part"
    assert result["notes"] == []


@pytest.mark.parametrize("dear", [0.0, 0.01])
def test_a_pool_whose_cheapest_model_is_the_best_has_figures(tmp_path, dear):
    """Or in which all cost the same, or nothing: there is no range of costs to be judged over."""
    path = rewritten(
        write(tmp_path / "plain/pool.jsonl", 40, models=("small", "mid", "big")),
        tmp_path / "pool.jsonl",
        lambda number, row: {
            "outcomes": {
                model: {**cell, "cost_usd": min(dear, 0.001) if model == "big" else dear}
                for model, cell in row["outcomes"].items()
            }
        },
    )
    result = evaluate_dataset(spec(path))
    assert "error" not in result
    assert result["pairs"][0]["apgr"] > 0.5
    assert result["pool"]["hull"]["models"] == ["big"]
    assert (result["aiq"], result["pool"]["aiq_of_hull"]) == (None, None)
    assert result["regret"] is not None
    assert "| pool |" in markdown(merged({"pool": result}, {}, Spec(name="", data=tmp_path)))


def test_a_pool_that_fails_does_not_lose_the_pairs(tmp_path, monkeypatch):
    def fails(sources, counts):
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setattr("pointsman.evals.routing.judge.judge_pool", fails)
    result = evaluate_dataset(spec(write(tmp_path / "tasks.jsonl")))
    assert result["apgr"] > 0.65
    assert result["pool"] is None
    assert "ZeroDivisionError" in result["notes"][-1]


def test_two_groups_are_two_folds_and_tell_no_interval(tmp_path):
    two = rewritten(write(tmp_path / "plain/tasks.jsonl"), tmp_path / "tasks.jsonl",
                    lambda number, row: {"split_key": "ab"[number // 2 % 2]})  # fmt: skip
    for seed in range(5):
        result = evaluate_dataset(spec(two, seed=seed))
        assert result["pairs"][0]["learned_from"] == "cross-validation in 2 folds by group"
        assert result["apgr"] > 0.5
        assert result["interval"]["apgr"] is None
        assert result["notes"][0] == "2 groups of prompts: no interval can be told of fewer than 10"
    one = rewritten(two, tmp_path / "one.jsonl", lambda number, row: {"split_key": "a"})
    assert "all prompts are of one group" in evaluate_dataset(spec(one))["notes"][-1]


def test_a_table_of_which_every_part_is_left_out_is_not_judged(tmp_path):
    result = evaluate_dataset(spec(write(tmp_path / "tasks.jsonl", 8)))
    assert result["error"] == "No part of it can be judged."
    assert "cross-validation needs 20" in result["notes"][-1]


def test_a_table_without_a_training_part_learns_from_those_with_its_models(tmp_path):
    data = write(tmp_path / "data/other.jsonl", 30)
    near, far = (
        write(tmp_path / "train/tasks.jsonl", seed=1),
        write(tmp_path / "train/far.jsonl", models=("big", "mid")),
    )
    pairs = (("small-7b", "big-70b"),)
    moved = evaluate_dataset(spec(data, others=(near, far), held_out=True, pairs=pairs))
    assert moved["pairs"][0]["learned_from"] == "transfer from tasks"
    assert moved["apgr"] > 0.6
    alone = evaluate_dataset(spec(data, others=(far,), held_out=True, pairs=pairs))
    assert (alone["apgr"], alone["pairs"][0]["learned_from"]) == (
        0.5,
        "the prior alone: no training table has these models",
    )


def test_a_pair_that_is_not_there_is_noted_and_the_others_count(tmp_path):
    path = write(tmp_path / "tasks.jsonl")
    result = evaluate_dataset(spec(path, pairs=(("small-7b", "nobody"), ("small-7b", "big-70b"))))
    assert len(result["pairs"]) == 1
    assert "no outcomes of nobody" in result["notes"][0]
    none = evaluate_dataset(spec(path, pairs=(("small-7b", "nobody"),)))
    assert (none["apgr"], none["pairs"]) == (None, [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no prompt"),
        ("{}\n", "line 1"),
        ('{"dataset": ', "line 1"),
        (
            '{"dataset":"a","prompt_id":"1","split_key":"1","prompt":"p","category":"c","outcomes":{"m":{"score":2}}}',
            "not in [0, 1]",
        ),
        (
            '{"dataset":"a","prompt_id":"1","split_key":"1","prompt":"p","category":"c","outcomes":{"m":{"score":1}}}',
            "one model only",
        ),
    ],
)
def test_a_damaged_table_says_what_is_wrong(tmp_path, content, said):
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    assert said in evaluate_dataset(spec(path))["error"]


def test_damaged_compression_and_missing_files_too(tmp_path):
    path = tmp_path / "bad.jsonl.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00broken")
    assert "bad.jsonl.gz" in evaluate_dataset(spec(path))["error"]
    assert "cannot be read" in evaluate_dataset(spec(tmp_path / "none.jsonl"))["error"]


def test_too_few_prompts_to_cross_validate(tmp_path):
    result = evaluate_dataset(spec(write(tmp_path / "tasks.jsonl", 8)))
    assert result["apgr"] is None
    assert "cross-validation needs 20" in result["notes"][-1]
    pool = evaluate_dataset(spec(write(tmp_path / "pool.jsonl", 15, models=("small", "mid", "big"))))
    assert pool["pool"] is None
    assert pool["notes"][-1].startswith("the pool is left out")


def test_folders_and_their_pairs(tmp_path):
    with pytest.raises(InvalidRequest, match="no table"):
        tables_in(tmp_path)
    with pytest.raises(InvalidRequest, match="no folder"):
        tables_in(tmp_path / "nowhere")
    write(tmp_path / "routing/tasks.jsonl", 4)
    assert list(tables_in(tmp_path)) == ["tasks"] == list(tables_in(tmp_path / "routing"))
    assert pairs_of(tmp_path) == read_pairs()
    (tmp_path / "pairs.json").write_text('{"tasks": [["small-7b", "big-70b"]]}')
    base = Spec(name="", data=tmp_path)
    for folder in (tmp_path, tmp_path / "routing"):
        specs, _ = questions(folder, base=base)
        assert specs[0].pairs == (("small-7b", "big-70b"),)
    with pytest.raises(InvalidRequest, match="there are tasks"):
        questions(tmp_path, only=["task"], base=base)
    (tmp_path / "pairs.json").write_text('{"tasks": "small"}')
    with pytest.raises(InvalidRequest, match=r"pairs\.json"):
        pairs_of(tmp_path)


def test_pairs_are_chosen_by_cost_then_size_then_score(tmp_path):
    costed = read_table(write(tmp_path / "a.jsonl", models=("small", "mid", "big"), costs=True))
    assert choose_pair(costed).pair == ("small", "big")
    assert "cost" in choose_pair(costed).why
    plain = read_table(write(tmp_path / "b.jsonl", models=("small", "mid", "big")))
    assert choose_pair(plain).pair == ("small", "big")
    assert "no costs or sizes" in choose_pair(plain).why
    assert choose_pair(plain.of(["mid"])) is None


def test_learning_online_is_judged_by_regret(tmp_path):
    result = evaluate_dataset(spec(write(tmp_path / "tasks.jsonl", 400), online=True))
    (pair,) = result["online"]
    learners = pair["learners"]
    assert learners["router"]["regret"] < learners["random"]["regret"] - 3 * learners["random"]["standard_error"]
    assert learners["router"]["regret"] < pair["best_single"]["regret"]
    assert len(learners["router"]["course"]) == 101
    assert 0.4 < pair["price"] < 0.6


def test_a_run_can_be_told_in_markdown_and_drawn(tmp_path):
    agents = write(tmp_path / "agents.jsonl", 60, models=("small", "mid", "big<&>"), costs=True, calls=True)
    bad = tmp_path / "bad.jsonl"
    bad.write_text("")
    base = Spec(name="", data=tmp_path, families=("logistic", "knn"))
    results = {
        "agents": evaluate_dataset(spec(agents, families=("logistic", "knn"))),
        "bad": evaluate_dataset(spec(bad)),
    }
    text = markdown(merged(results, {}, base))
    assert "## Pools with costs" in text
    assert "## APGR of families" in text
    written = write_plots(results, tmp_path / "plots")
    assert {path.name for path in written} == {"agents-pgr-1.svg", "agents-pool.svg"}
    from xml.etree import ElementTree

    for path in written:
        assert len(list(ElementTree.parse(path).iter())) > 20


def test_logistic_regression_finds_the_minimum():
    rng = np.random.default_rng(4)
    inputs = rng.standard_normal((300, 3))
    scores = (rng.random((300, 2)) < sigmoid(inputs @ np.array([[1.0, 0], [0, -2], [0.5, 0]]))).astype(float)
    scores[rng.random((300, 2)) < 0.1] = np.nan
    weights = fit_logistic(inputs, scores, 0.01)
    for model in range(2):
        known = np.isfinite(scores[:, model])
        miss = sigmoid(inputs[known] @ weights[:3, model] + weights[3, model]) - scores[known, model]
        slope = inputs[known].T @ miss / known.sum() + 0.01 * weights[:3, model]
        assert np.abs(slope).max() < 2e-3
        assert abs(miss.mean()) < 2e-3


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_baselines_predict_probabilities_in_hard_cases(name):
    from pointsman.learn.families.base import Prompts
    from pointsman.learn.reading import PromptReader

    read = PromptReader()
    texts = ("", "a", "a", "\x00\U0001f600", "x" * 50_000, "¿Qué?")
    from pointsman.core.features import decode

    prompts = Prompts(texts=texts, features=decode([read(text) for text in texts]), categories=("a",) * 6)
    scores = np.array([[1.0, np.nan], [0, np.nan], [1, 0.5], [1, 1], [0, np.nan], [1, 1]])
    fitted = BASELINES[name]().fit(prompts, scores, groups=list("abcdef"), rng=np.random.default_rng(0))
    found = fitted.predict(prompts)
    assert found.shape == (6, 2)
    assert ((found >= 0) & (found <= 1)).all()


def test_what_was_learned_on_one_table_is_judged_on_others(tmp_path):
    learned = write(tmp_path / "routellm_mmlu.jsonl", models=("mixtral-8x7b-instruct-v0.1 small", "gpt-4 big"))
    asked = write(tmp_path / "other.jsonl", 40, seed=3)
    bad = tmp_path / "bad.jsonl"
    bad.write_text("")
    result = evaluate_dataset(
        spec(
            learned,
            pairs=(("mixtral-8x7b-instruct-v0.1 small", "gpt-4 big"),),
            transfer_to=((asked, ("small-7b", "big-70b")), (asked, ("small-7b", "nobody")), (bad, ("a", "b"))),
        )
    )
    assert result["routellm_mmlu → other.jsonl"]["error"] == "other has no outcomes of nobody."
    assert "holds no prompt" in result["routellm_mmlu → bad.jsonl"]["error"]
    moved = result["routellm_mmlu → other"]
    assert moved["rows"] == 40
    assert moved["apgr"] > 0.65
    assert set(moved["others"]) == {"knn"}
    base = Spec(name="", data=tmp_path, families=("logistic",))
    assert "## Learned elsewhere" in markdown(merged({}, {"learned on routellm_mmlu": result}, base))


def test_a_pool_of_models_that_no_training_table_has_is_left_out(tmp_path):
    data = write(tmp_path / "data/tasks.jsonl", 30, models=("small", "mid", "big"))
    result = evaluate_dataset(spec(data, others=(), held_out=True))
    assert (result["apgr"], result["pool"]) == (0.5, None)
    assert "cannot choose" in result["notes"][-1]
