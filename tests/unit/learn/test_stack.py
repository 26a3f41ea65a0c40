"""How a stack weighs its members, and what a predicted level says of each model."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pointsman.learn.families.base import Floats
from pointsman.learn.families.inputs import Inputs
from pointsman.learn.families.link import Link
from pointsman.learn.families.logistic import LogisticRegressor, sigmoid
from pointsman.learn.families.targets import Targets
from pointsman.learn.families.weights import even, pulled, weigh


def dealt(count: int) -> NDArray[np.int64]:
    return np.arange(count) % 5


def test_equal_weights_stay_where_others_are_not_surely_better() -> None:
    rng = np.random.default_rng(0)
    right = rng.normal(size=300)
    columns = right[:, None] / 2 + rng.normal(size=(300, 4))
    weights, _ = weigh(columns, right, dealt(300))
    assert weights == pytest.approx(even(4))


def test_a_member_that_knows_more_counts_more() -> None:
    rng = np.random.default_rng(1)
    right = rng.normal(size=300)
    columns = np.stack([right + 0.3 * rng.normal(size=300), rng.normal(size=300), rng.normal(size=300)], axis=1)
    weights, honest = weigh(columns, right, dealt(300))
    assert weights[0] > 0.7
    assert weights[1:].max() < 0.15
    assert ((right - honest) ** 2).mean() < ((right - columns @ even(3)) ** 2).mean()


def test_no_member_is_turned_round() -> None:
    # unpenalised least squares would give the second about −1
    rng = np.random.default_rng(2)
    right = rng.normal(size=200)
    columns = np.stack([right + rng.normal(size=200), -right + rng.normal(size=200)], axis=1)
    for strength in (30.0, 1.0, 1e-6):
        weights = pulled(columns, right, strength)
        assert weights[1] == pytest.approx(0.0)
        assert weights[0] > 0.4


def test_weights_are_at_the_minimum() -> None:
    rng = np.random.default_rng(3)
    columns, right = rng.normal(size=(80, 3)), rng.normal(size=80)
    right += columns @ [0.5, 0.4, 0.6]
    weights = pulled(columns, right, 40.0)
    size = 40.0 * (columns**2).mean(axis=0)
    slope = columns.T @ (columns @ weights - right) + size * (weights - 1 / 3)
    assert weights.min() > 0
    assert np.abs(slope).max() < 1e-4


def answered(level: Floats, rng: np.random.Generator) -> Floats:
    """(n, 2): a weak model that does easy prompts alone, and a strong one that fails at hard ones alone."""
    chances = sigmoid(4 * level[:, None] + np.array([-4.0, 4.0]))
    return (rng.uniform(size=chances.shape) < chances).astype(np.float64)


def test_the_gap_is_widest_between_easy_and_hard() -> None:
    rng = np.random.default_rng(4)
    level = rng.uniform(-2, 2, 600)
    targets = Targets().fit(answered(level, rng))
    link = Link().fit(level, targets, folds=dealt(600))
    made = targets.back(link.predict(np.array([-2.0, 0.0, 2.0])))
    gap = made[:, 1] - made[:, 0]
    assert gap[1] > 0.7
    assert gap[[0, 2]].max() < 0.4
    # out of fold as well it says more of the gap than the level does
    deviation = targets.values_[:, 1]
    assert abs(np.corrcoef(link.out_of_fold_[:, 1], deviation)[0, 1]) > 0.3 > abs(np.corrcoef(level, deviation)[0, 1])


def test_a_level_that_tells_nothing_gives_the_means() -> None:
    rng = np.random.default_rng(5)
    targets = Targets().fit((rng.uniform(size=(200, 2)) < [0.3, 0.8]).astype(np.float64))
    link = Link().fit(np.zeros(200), targets, folds=dealt(200))
    assert targets.back(link.predict(np.zeros(3))) == pytest.approx(np.tile(targets.mean_, (3, 1)), abs=0.01)


def test_a_line_for_each_model_is_judged_out_of_fold() -> None:
    rng = np.random.default_rng(6)
    structure = rng.normal(size=(240, 3))
    scores = (rng.uniform(size=(240, 2)) < sigmoid(structure[:, :2] * 2)).astype(np.float64)
    scores[::7, 0] = np.nan
    inputs = Inputs(
        texts=("",) * 240,
        embedding=np.zeros((240, 2)),
        structure=structure,
        attempt=np.zeros((240, 0)),
        traits=structure,
    )
    targets = Targets().fit(scores)
    fitted = LogisticRegressor().fit(inputs, targets, folds=dealt(240), rng=rng)
    errors = [((targets.values_ - made) ** 2).mean() for made in (fitted.predict(inputs), fitted.out_of_fold_)]
    assert errors[0] < errors[1] < targets.values_.var()
    made = targets.back(fitted.predict(inputs))
    assert np.corrcoef(made[:, 0], structure[:, 0])[0, 1] > 0.9
    assert np.corrcoef(made[:, 1], structure[:, 1])[0, 1] > 0.9
