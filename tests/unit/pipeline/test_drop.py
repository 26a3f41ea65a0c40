"""A sequential test of a drop: it may be looked at after every outcome, finds what is there, and rarely what is not."""

from __future__ import annotations

import random

import pytest

from pointsman.pipeline.decide.drop import Outcome, judge

RISK = 0.05


def outcomes(candidate: float, other: float, count: int, rng: random.Random, *, share: float = 0.5) -> list[Outcome]:
    found = []
    for order in range(count):
        mine = rng.random() < share
        found.append(Outcome(order, mine, float(rng.random() < (candidate if mine else other))))
    return found


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_looking_after_every_outcome_accuses_few_that_are_no_worse(level):
    rng = random.Random(1)
    # `worse` is told of the highest wealth that there ever was, so that this is what a look after each would have told
    accused = sum(judge(outcomes(level, level, 400, rng), tolerance=0.0, risk=RISK).worse for _ in range(300))
    assert accused <= 300 * RISK


def test_a_worse_one_within_the_tolerance_is_borne():
    rng = random.Random(2)
    accused = sum(judge(outcomes(0.86, 0.9, 400, rng), tolerance=0.05, risk=RISK).worse for _ in range(100))
    assert accused <= 100 * RISK


@pytest.mark.parametrize(("share", "count"), [(0.5, 80), (0.1, 400)])
def test_a_planted_drop_is_found(share, count):
    rng = random.Random(3)
    found = sum(judge(outcomes(0.2, 0.9, count, rng, share=share), tolerance=0.05, risk=RISK).worse for _ in range(50))
    assert found >= 48


def test_it_says_what_it_saw():
    verdict = judge([Outcome(0, True, 1.0), Outcome(1, False, 0.0), Outcome(2, False, 1.0)], tolerance=0.1, risk=RISK)
    assert not verdict.worse
    assert (verdict.candidates, verdict.others) == (1, 2)
    assert (verdict.candidate_mean, verdict.other_mean) == (1.0, 0.5)
    assert verdict.wealth >= 1


def test_nothing_is_said_of_nothing():
    assert not judge([], tolerance=0.1, risk=RISK).worse
    assert not judge([Outcome(n, True, 0.0) for n in range(50)], tolerance=0.1, risk=RISK).worse
