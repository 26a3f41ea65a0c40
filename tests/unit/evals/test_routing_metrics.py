"""PGR, APGR, CPT, the hull and AIQ against tables small enough to be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pointsman.evals.routing.hull import aiq, gain_over, vertices
from pointsman.evals.routing.judged import Judged
from pointsman.evals.routing.metrics import Pair, brier, calibration_error, curves, figures, grid_apgr
from pointsman.evals.routing.resampling import folds_of, interval, resampled, within


def once(rank, pair):
    apgr, cpt50, cpt80 = figures(np.asarray(rank, float), pair, np.ones((1, len(rank))))
    return float(apgr[0]), float(cpt50[0]), float(cpt80[0])


HALF = Pair(weak=np.array([0.0, 0, 1, 1]), strong=np.ones(4))
"""The strong model is worth something on the first two prompts."""


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        ([4, 3, 2, 1], (0.75, 25, 40)),  # the right half first: PGR is 1 from a half on
        ([1, 2, 3, 4], (0.25, 75, 90)),  # and last
        ([7, 7, 7, 7], (0.5, 50, 80)),  # no telling apart
        ([2, 1, 2, 1], (0.5, 50, 80)),  # ties of two that are worth as much together
    ],
)
def test_figures_of_a_table_worked_out_by_hand(rank, expected):
    assert once(rank, HALF) == pytest.approx(expected)


def test_an_oracle_passes_one_where_the_strong_model_is_sometimes_worse():
    pair = Pair(weak=np.array([0.0, 0, 0, 1]), strong=np.array([1.0, 1, 1, 0]))
    assert once([4, 3, 2, 1], pair)[0] == pytest.approx((0.25 + 0.75 + 1.25 + 1.25) / 4)
    assert once([4, 3, 2, 1], pair)[1:] == pytest.approx((25, 40))


def test_a_strong_model_that_is_no_better_has_no_figures():
    assert np.isnan(once([1, 2], Pair(weak=np.ones(2), strong=np.ones(2)))).all()
    assert np.isnan(once([1, 2], Pair(weak=np.ones(2), strong=np.zeros(2)))).all()


def test_weights_are_repetitions():
    rng = np.random.default_rng(3)
    rank, weak, strong = rng.integers(0, 5, 30).astype(float), rng.random(30), rng.random(30) + 0.2
    times = rng.integers(0, 4, 30)
    weighted = figures(rank, Pair(weak=weak, strong=strong), times[None].astype(float))
    again = np.repeat(np.arange(30), times)
    repeated = figures(rank[again], Pair(weak=weak[again], strong=strong[again]), np.ones((1, len(again))))
    assert np.allclose(weighted, repeated)


def routellm(rank, pair):
    """As `routellm/evals/evaluate.py` does it: thresholds at deciles, AUC by trapezoid, less that of the weak model."""
    order = np.argsort(-rank)
    shares, accuracies = [], []
    for tenth in range(11):
        strong = order[: round(len(rank) * tenth / 10)]
        answers = pair.weak.copy()
        answers[strong] = pair.strong[strong]
        shares.append(len(strong) / len(rank))
        accuracies.append(answers.mean())
    weak, strong = pair.weak.mean(), pair.strong.mean()
    return (np.trapezoid(accuracies, shares) - weak) / (strong - weak)


def test_the_grid_form_is_what_routellm_reckons_and_the_exact_one_is_close():
    rng = np.random.default_rng(5)
    weak = (rng.random(1000) < 0.6).astype(float)
    strong = (rng.random(1000) < 0.85).astype(float)
    pair = Pair(weak=weak, strong=strong)
    rank = strong - weak + rng.standard_normal(1000)
    assert grid_apgr(rank, pair) == pytest.approx(routellm(rank, pair), abs=1e-9)
    assert once(rank, pair)[0] == pytest.approx(routellm(rank, pair), abs=0.02)


def test_in_a_cascade_the_weak_run_is_paid_for_and_the_area_ends_at_the_strong_models_cost():
    pair = Pair(weak=HALF.weak, strong=HALF.strong, weak_cost=np.ones(4), strong_cost=np.full(4, 3.0))
    found = curves(np.array([4.0, 3, 2, 1]), pair, np.ones((1, 4)))
    assert found.shares[0].tolist() == [0, 0.375, 0.75, 1.125, 1.5]  # all escalated: (1 + 3 − 1) / (3 − 1)
    assert once([4, 3, 2, 1], pair)[0] == pytest.approx(0.75 / 2 + 0.25)
    assert once([1, 1, 1, 1], pair)[0] == pytest.approx(1 / 3)  # PGR = x / 1.5
    assert once([4, 3, 2, 1], pair)[1] == pytest.approx(37.5)


def test_calibration():
    predicted, scores = np.array([[0.25, 0.75]] * 4), np.array([[0.0, 1], [1, 1], [0, 1], [0, np.nan]])
    assert calibration_error(predicted, scores) == pytest.approx((0 * 4 + 0.25 * 3) / 7)
    assert brier(predicted, scores) == pytest.approx((0.0625 * 3 + 0.5625 + 0.0625 * 3) / 7)
    assert calibration_error(np.full((4, 1), 1.0), np.ones((4, 1))) == 0


COSTS, SCORES = np.array([1.0, 2, 3, 5, 5]), np.array([0.2, 0.6, 0.5, 0.8, 0.7])


def test_the_hull_goes_from_the_cheapest_to_the_best():
    assert vertices(COSTS, SCORES).tolist() == [0, 1, 3]
    assert vertices(np.array([1.0, 2]), np.array([0.9, 0.3])).tolist() == [0]  # the cheapest is the best
    assert vertices(np.array([1.0, 1]), np.array([0.1, 0.3])).tolist() == [1]
    assert vertices(np.array([1.0, 2, 3]), np.array([0.1, 0.2, 0.9])).tolist() == [0, 2]  # below the straight line


def test_aiq_is_the_mean_under_the_hull():
    whole = (0.2 + 0.6) / 2 * 1 + (0.6 + 0.8) / 2 * 3
    assert aiq(COSTS, SCORES, 1, 5) == pytest.approx(whole / 4)
    assert aiq(np.array([1.0]), np.array([0.5]), 1, 5) == pytest.approx(0.5)  # what is not spent is kept
    assert aiq(np.array([3.0]), np.array([0.5]), 1, 5) == pytest.approx(0.25)  # nothing for less than 3


def test_the_gain_over_the_hull_counts_no_more_than_both_span():
    hull = np.array([0.0, 4]), np.array([0.0, 0.8])
    assert gain_over(*hull, *hull) == pytest.approx(0)
    assert gain_over(*hull, np.array([0.0, 4]), np.array([0.1, 0.9])) == pytest.approx(0.1)
    assert gain_over(*hull, np.array([0.0, 2]), np.array([0.1, 0.5])) == pytest.approx(0.05)  # half of the range
    assert gain_over(*hull, np.array([5.0, 9]), np.array([0.9, 0.9])) == 0
    assert gain_over(*hull, np.array([4.0, 0]), np.array([0.7, -0.1])) == pytest.approx(-0.1)


def test_folds_hang_on_the_group_alone():
    groups = [f"group {number // 2}" for number in range(200)]
    found = folds_of(groups, 5, 0)
    assert (found[::2] == found[1::2]).all()
    assert set(found) == set(range(5))
    assert folds_of(groups[::-1], 5, 0).tolist() == found[::-1].tolist()
    assert folds_of(groups[50:60], 5, 0).tolist() == found[50:60].tolist()
    assert folds_of(groups, 5, 1).tolist() != found.tolist()


def test_the_bootstrap_draws_whole_groups_and_the_same_ones_again():
    groups = ["a", "b", "b", "c", "d"]
    counts = resampled(groups, 500, 7)
    assert (counts[:, 1] == counts[:, 2]).all()
    assert (counts[:, [0, 1, 3, 4]].sum(axis=1) == 4).all()
    assert np.array_equal(counts, resampled(groups, 500, 7))
    assert not np.array_equal(counts, resampled(groups, 500, 8))


def test_intervals_cover_and_say_when_there_is_none():
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(200):
        sample = rng.random(80)
        counts = resampled([str(number) for number in range(80)], 300, int(rng.integers(1e6)))
        low, high = interval(counts @ sample / counts.sum(axis=1))
        covered += low <= 0.5 <= high
    assert 178 <= covered <= 199  # 95 % of 200, give or take four standard errors
    assert interval(np.array([np.nan] * 3 + [1.0] * 7)) is None


def test_differences_are_paired():
    rng = np.random.default_rng(2)
    luck = rng.standard_normal(1000)
    one = Judged({"apgr": 0.60}, {"apgr": 0.60 + luck})
    other = Judged({"apgr": 0.55}, {"apgr": 0.55 + luck})
    found = one.less(other)["apgr"]
    assert found["significant"]
    assert found["value"] == pytest.approx(0.05)
    assert found["interval"] == pytest.approx([0.05, 0.05])
    assert not one.less(Judged({"apgr": 0.55}, {"apgr": 0.55 + luck[::-1]}))["apgr"]["significant"]


def test_places_are_within_the_fold():
    places = within(np.array([0.1, 0.2, 0.2, 9.0, 8.0]), np.array([0, 0, 0, 1, 1]))
    assert places == pytest.approx([0.5 / 3, 2 / 3, 2 / 3, 0.75, 0.25])
