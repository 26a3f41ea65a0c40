"""Distilling and GRPO from tables: beats every single model where the prompt tells which is better, as it is served."""

from __future__ import annotations

import numpy as np
import pytest

from pointsman.core.errors import InvalidRequest
from pointsman.core.features import VERSION
from pointsman.core.reward import RewardWeights
from pointsman.learn.table import Table
from pointsman.learn.trainers.tables import pose_table
from pointsman.learn.training import train_on_table
from pointsman.pipeline.decide import RulePolicy
from pointsman.pipeline.decide.learned.artefact import LearnedArtefact

from .planted import vector

BASE = LearnedArtefact(features=VERSION)


def table(count: int, seed: int, *, models: tuple[str, ...] = ("small", "large")) -> tuple[Table, dict[str, bytes]]:
    """Two models of about the same mean, each good at half of the prompts; which half the first component tells."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, 8))
    directions[:, 0] *= 3
    first = directions[:, 0] > 0
    chances = np.column_stack([np.where(first, 0.95, 0.15), np.where(first, 0.3, 0.95)])
    scores = (rng.random((count, 2)) < chances).astype(float)
    prompts = tuple(f"prompt {seed} {number}" for number in range(count))
    blank = np.full((count, len(models)), np.nan)
    made = Table(
        name="planted", prompts=prompts, ids=prompts, groups=prompts, categories=("",) * count, models=models,
        scores=scores[:, : len(models)], costs=blank, calls=blank, output_tokens=blank,
    )  # fmt: skip
    return made, {prompt: vector(direction) for prompt, direction in zip(prompts, directions, strict=True)}


@pytest.mark.parametrize("trainer", ["distill", "grpo"])
def test_it_beats_every_single_model_on_what_was_held_out(trainer):
    made, vectors = table(300, 1)
    trained = train_on_table(trainer, made, base=BASE, rules=RulePolicy(), read=vectors.__getitem__, seed=0)
    report = trained.report
    assert report.reward is not None
    assert report.best_single is not None
    assert report.oracle is not None
    assert report.reward > report.best_single + 0.4 * (report.oracle - report.best_single)
    assert report.held_out == 75
    assert report.rows == 300


def test_the_same_seed_makes_the_same_artefact():
    made, vectors = table(60, 2)
    first, second = (
        train_on_table("distill", made, base=BASE, rules=RulePolicy(), read=vectors.__getitem__, seed=3).artefact
        for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda made: made.of(["small"]), "one model only"),
        (lambda made: made.rows(np.arange(10)), "10 prompts that every model answered; at least 40"),
        (lambda made: (made.scores.fill(1.0), made)[1], "Every score of planted is 1"),
        (lambda made: (made.scores.fill(np.nan), made)[1], "0 prompts that every model answered"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(spoil, says):
    made, vectors = table(60, 4)
    with pytest.raises(InvalidRequest, match=says):
        train_on_table("distill", spoil(made), base=BASE, rules=RulePolicy(), read=vectors.__getitem__, seed=0)


def test_bandits_do_not_learn_from_tables():
    made, vectors = table(60, 5)
    with pytest.raises(InvalidRequest, match="of tables learn distill and grpo"):
        train_on_table("linucb", made, base=BASE, rules=RulePolicy(), read=vectors.__getitem__, seed=0)


def test_a_cost_takes_its_worth_from_the_reward():
    made, vectors = table(50, 6)
    made.costs[:, 0] = 0.01
    problem = pose_table(made, vectors.__getitem__, weights=RewardWeights(cost_factor=30.0))
    assert problem.rewards[:, 0] == pytest.approx(made.scores[:, 0] - 0.3)
    assert problem.rewards[:, 1] == pytest.approx(made.scores[:, 1])  # nothing is known of its cost
