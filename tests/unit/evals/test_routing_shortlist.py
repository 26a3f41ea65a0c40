"""Choosing among many models: the shortlist, and when what the router says of their differences is played."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pointsman.evals.routing.frontier import Curve, expected_costs, over_singles, sweep
from pointsman.evals.routing.material import Sources
from pointsman.evals.routing.shortlist import MOST, believe, shortlist
from pointsman.evals.routing.spec import Spec

COUNT = 200
GOOD = {"cheap": (0.9, 0.2, 0.01), "dear": (0.7, 0.9, 1.0)}
"""P(success) on even prompts and on odd ones, and US dollars."""
BAD = {f"bad-{number}": (0.2, 0.2, 0.5) for number in range(MOST)}


def test_the_shortlist_is_the_hull_and_what_lies_least_below_it():
    costs = np.array([0.1, 1.0, 0.5, 0.5, 0.5, 0.6, 0.7, 2.0])
    scores = np.array([0.5, 0.9, 0.3, 0.65, 0.1, 0.6, 0.2, 0.85])
    assert shortlist(scores, costs).tolist() == [0, 1, 2, 3, 5, 7]
    assert shortlist(scores, None).tolist() == [0, 1, 2, 3, 5, 7]
    assert shortlist(scores[::-1], None).tolist() == [0, 2, 4, 5, 6, 7]


def test_a_hull_of_many_models_is_on_the_shortlist_whole():
    costs = np.arange(1.0, 10.0)
    assert shortlist(np.sqrt(costs), costs).tolist() == list(range(9))


class Parity:
    """Knows of the even and the odd prompts, which the text numbers."""

    def fit(self, prompts, scores, *, groups, rng):
        odd = parity(prompts)
        self.means_ = np.array([scores[odd == side].mean(axis=0) for side in (0, 1)])
        return self

    def predict(self, prompts):
        return self.means_[parity(prompts)]


class Guess:
    """Sure of itself, and knows nothing."""

    def fit(self, prompts, scores, *, groups, rng):
        self.models_, self.rng_ = scores.shape[1], rng
        return self

    def predict(self, prompts):
        return self.rng_.random((len(prompts), self.models_))


def parity(prompts) -> np.ndarray:
    return np.array([int(text.split()[-1]) % 2 for text in prompts.texts])


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Sources:
    return Sources(Spec(name="pool", data=write(tmp_path_factory.mktemp("pool") / "pool.jsonl")))


def write(path: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(COUNT):
        outcomes = {
            model: {"score": float(rng.random() < chances[number % 2]), "cost_usd": usd}
            for model, (*chances, usd) in {**GOOD, **BAD}.items()
        }
        row = {"dataset": "pool", "prompt": f"Task {seed} {number}", "category": "all", "outcomes": outcomes}
        lines.append(json.dumps({**row, "prompt_id": f"{seed}-{number}", "split_key": f"{seed}-{number}"}))
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def judged(sources: Sources, factory):
    """What is believed, and the area over the hull of single models."""
    table = sources.own.table
    plan = sources.plan(table.models, np.arange(len(table)))
    expected = expected_costs(plan, table)
    found = believe(sources, plan, factory, len(table.models), expected)
    means = np.empty_like(expected)
    for split in plan.splits:
        means[split.test] = split.scores.mean(axis=0)
    ones = np.ones((1, len(table)))
    own, singles = (
        sweep(chances, expected, table.costs, table.scores).means(ones) for chances in (found.playable, means)
    )
    return found, means, over_singles(singles, own)[0]


def test_what_is_known_of_the_prompts_is_played_on_the_shortlist_alone(sources):
    found, means, area = judged(sources, Parity)
    assert area > 0.05
    hidden = np.isneginf(found.playable)
    assert (hidden.sum(axis=1) == len(BAD) - (MOST - len(GOOD))).all()
    assert not hidden[:, [sources.own.table.models.index(model) for model in GOOD]].any()
    # and of those beside it, how hard the prompt is for the others is told
    assert ((found.predicted >= 0) & (found.predicted <= 1)).all()
    assert (np.abs(found.predicted - means)[hidden] > 0.01).all()


def test_what_does_not_pay_on_prompts_held_out_is_not_played(sources):
    found, means, area = judged(sources, Guess)
    assert (found.playable == means).all()
    assert area == 0.0


@pytest.mark.parametrize(("factory", "plays"), [(Parity, True), (Guess, False)])
def test_without_costs_the_best_are_listed_and_played_where_picking_pays(sources, factory, plays):
    table = sources.own.table
    plan = sources.plan(table.models, np.arange(len(table)))
    found = believe(sources, plan, factory, len(table.models))
    picked = table.scores[np.arange(len(table)), found.playable.argmax(axis=1)].mean()
    for split in plan.splits:
        average = split.scores.mean(axis=0)
        if not plays:
            assert (found.playable[split.test] == average).all()
        else:
            assert (np.isfinite(found.playable[split.test]).sum(axis=1) == MOST).all()
    assert (picked > table.scores.mean(axis=0).max() + 0.05) == plays


def test_with_few_prompts_there_are_single_models_only(tmp_path):
    data, train = write(tmp_path / "data/pool.jsonl"), write(tmp_path / "train/pool.jsonl", seed=1)
    train.write_text("".join(train.read_text().splitlines(keepends=True)[:25]))
    few = Sources(Spec(name="pool", data=data, train=train, held_out=True))
    found, means, area = judged(few, Parity)
    assert (found.playable == means).all()
    assert area == 0.0


def test_areas_are_those_between_the_lines_through_points_in_order_of_cost():
    singles = Curve(np.array([[1.0, 0.0]]), np.array([[0.8, 0.2]]))
    above = Curve(np.array([[0.0, 0.5, 1.0]]), np.array([[0.2, 0.7, 0.8]]))
    assert over_singles(singles, above)[0] == pytest.approx(0.1)
    assert over_singles(singles, singles)[0] == 0.0
