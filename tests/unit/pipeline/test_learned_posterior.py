"""What outcomes teach: the closed form against a batch solution, forgetting, replacing, and clocks that jump."""

from __future__ import annotations

import math
import random

import msgspec
import numpy as np
import pytest
from deciding import signals
from learning import DAY, NOW, asked, observed

from pointsman.core.features import decode
from pointsman.core.signals import Intent
from pointsman.pipeline.decide.learned import posterior as module
from pointsman.pipeline.decide.learned.artefact import Learned, Posterior, pack
from pointsman.pipeline.decide.learned.context import CONTEXT_WIDTH, contexts
from pointsman.pipeline.decide.learned.posterior import PosteriorBank

RNG = np.random.default_rng(3)
NUMBERS = Posterior(prior_sd=0.2, noise_sd=0.4, half_life_days=20.0)
MODELS = ("p:a", "p:b")


def new_bank(**fields) -> PosteriorBank:
    return PosteriorBank(NUMBERS, **{"expected": lambda several: [0.5] * len(several), **fields})


def some(count: int, seed: int = 1):
    """Observations of two models over sixty days, with weights."""
    rng = np.random.default_rng(seed)
    return [
        observed(
            number,
            MODELS[number % 2],
            float(rng.random()),
            asked(rng, complexity=float(rng.random()), intent=list(Intent)[number % 12]),
            at=NOW - 60 * DAY * float(rng.random()),
            weight=float(rng.random()),
        )
        for number in range(count)
    ]


def solved(observations, model: str, now: float = NOW) -> tuple[np.ndarray, np.ndarray]:
    """The weighted ridge regression of everything at once."""
    mine = [one for one in observations if one.model == model]
    phi = contexts([one.signals for one in mine])
    weights = np.array([one.weight * 2 ** (-max(now - one.at, 0) / (20 * DAY)) for one in mine]) / 0.4**2
    precision = np.eye(CONTEXT_WIDTH) / 0.2**2 + phi.T @ np.diag(weights) @ phi
    return np.linalg.solve(precision, phi.T @ (weights * [one.success - 0.5 for one in mine])), np.linalg.inv(precision)


def assert_knows(bank: PosteriorBank, observations, now: float = NOW) -> None:
    for model in MODELS:
        for found, wanted in zip(bank.posterior(model, now), solved(observations, model, now), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-10)


def test_the_closed_form_is_the_batch_solution():
    observations = some(60)
    bank = new_bank()
    for one in observations:
        bank.fold([one], NOW)
    assert_knows(bank, observations)
    assert bank.counts() == {"p:a": 30, "p:b": 30}
    later = NOW + 45 * DAY
    assert_knows(bank, observations, later)


def test_deviations_are_read_off_the_posterior():
    observations = some(60)
    bank = new_bank()
    bank.fold(observations, NOW)
    what = asked(RNG)
    [phi] = contexts([what])
    x = decode([what.features])[0]
    means, deviations = bank.deviation((*MODELS, "p:new"), what, NOW, x)
    for place, model in enumerate(MODELS):
        mean, covariance = solved(observations, model)
        assert means[place] == pytest.approx(phi @ mean, abs=1e-6)
        assert deviations[place] == pytest.approx(math.sqrt(phi @ covariance @ phi), rel=1e-5)
    assert means[2] == 0.0
    assert deviations[2] == pytest.approx(0.2 * np.linalg.norm(phi), rel=1e-5)


def test_nothing_learned_says_the_same_with_and_without_anything_of_others():
    what = signals(complexity=0.7, tools=True)
    alone = new_bank()
    assert alone.empty
    taught = new_bank()
    taught.fold(some(10), NOW)
    one, other = alone.deviation(("p:new",), what, NOW), taught.deviation(("p:new",), what, NOW)
    assert one[0] == other[0] == [0.0]
    assert one[1] == pytest.approx(other[1])


def test_the_order_does_not_matter_nor_the_batches():
    observations = some(40)
    one, other = new_bank(), new_bank()
    one.fold(observations, NOW)
    random.Random(2).shuffle(observations)
    for start in range(0, 40, 7):
        other.fold(observations[start : start + 7], NOW)
    for model in MODELS:
        for found, wanted in zip(one.posterior(model, NOW), other.posterior(model, NOW), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-11)


def test_folding_twice_is_folding_once():
    observations = some(30)
    bank = new_bank()
    bank.fold(observations, NOW)
    bank.fold(observations[:20], NOW)
    assert len(bank) == 30
    assert_knows(bank, observations)


def test_one_that_was_replaced_was_never_there():
    observations = some(30)
    bank = new_bank()
    bank.fold(observations, NOW)
    changed = [
        msgspec.structs.replace(one, success=1 - one.success, weight=0.5, model=MODELS[1]) for one in observations[:12]
    ]
    bank.fold(changed, NOW)
    assert_knows(bank, [*changed, *observations[12:]])


def test_one_that_is_forgotten_or_weighs_nothing_was_never_there():
    observations = some(30)
    bank = new_bank()
    bank.fold(observations, NOW)
    bank.forget([one.decision_id for one in observations[:5]])
    bank.fold([msgspec.structs.replace(one, weight=0.0) for one in observations[5:9]], NOW)
    assert_knows(bank, observations[9:])
    bank.forget(["dec_unknown", *(one.decision_id for one in observations)])
    assert len(bank) == 0
    what = signals()
    assert bank.deviation(MODELS, what, NOW)[1] == pytest.approx(new_bank().deviation(MODELS, what, NOW)[1])


def test_thousands_of_replacements_leave_no_error(monkeypatch):
    monkeypatch.setattr(module, "RESUM", 50)
    observations = some(20)
    bank = new_bank()
    bank.fold(observations, NOW)
    for turn in range(40):
        bank.fold([msgspec.structs.replace(one, success=turn % 2) for one in observations], NOW)
    bank.fold(observations, NOW)
    assert_knows(bank, observations)
    _, covariance = bank.posterior("p:a", NOW)
    np.testing.assert_array_equal(covariance, covariance.T)


def test_old_outcomes_fade_and_what_is_new_wins():
    what = signals()
    bank = new_bank()
    bank.fold([observed(number, "p:a", 1.0, what, at=NOW - 200 * DAY) for number in range(50)], NOW)
    bank.fold([observed(100 + number, "p:a", 0.0, what) for number in range(50)], NOW)
    [mean], [deviation] = bank.deviation(("p:a",), what, NOW)
    assert mean < -0.4
    [later], [wider] = bank.deviation(("p:a",), what, NOW + 400 * DAY)
    assert abs(later) < 0.01
    assert wider > 4 * deviation


def test_a_clock_that_jumps_harms_nothing():
    observations = some(20)
    ahead = [msgspec.structs.replace(one, at=NOW + 4000 * DAY) for one in observations[:10]]
    bank = new_bank()
    bank.fold(ahead, NOW + 4000 * DAY)  # the clock was wrong
    bank.fold(observations[10:], NOW)  # and is right again
    as_of_now = [msgspec.structs.replace(one, at=NOW) for one in ahead]
    assert_knows(bank, [*as_of_now, *observations[10:]])
    past = bank.deviation(MODELS, observations[0].signals, NOW - 9000 * DAY)
    assert np.isfinite(past).all()


def test_what_makes_no_sense_is_passed_over():
    good = some(10)
    what = signals()
    bad = [
        observed(100, "p:a", math.nan, what), observed(101, "p:a", 2.0, what),
        observed(102, "p:a", 1.0, what, at=math.inf),
        observed(103, "p:a", 1.0, what, weight=-1.0), observed(104, "p:a", 1.0, what, weight=math.nan),
    ]  # fmt: skip
    bank = new_bank()
    bank.fold([*bad, *good], NOW)
    assert_knows(bank, good)


def test_models_that_the_catalog_does_not_have_wait_for_it():
    here = {"p:a"}
    bank = new_bank(expected=lambda several: [0.5 if one.model in here else None for one in several])
    observations = some(20)
    bank.fold(observations, NOW)
    assert bank.counts() == {"p:a": 10}
    assert set(bank.waiting) == {"p:b"}
    bank.forget([observations[1].decision_id])
    here.add("p:b")
    bank.settle(NOW)
    assert not bank.waiting
    assert_knows(bank, [one for one in observations if one is not observations[1]])


def test_a_storm_is_bounded_and_the_latest_decisions_count(monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", 25)
    observations = some(120)
    bank = new_bank()
    for start in range(0, 120, 10):
        bank.fold(observations[start : start + 10], NOW)
        bank.fold(observations[start : start + 10], NOW)
    latest = sorted(observations, key=lambda one: one.at)[-25:]
    assert len(bank) == 25
    assert_knows(bank, latest)


def test_what_came_with_the_policy_counts_and_fades_and_is_not_learned_twice():
    then = NOW - 60 * DAY
    earlier = [msgspec.structs.replace(one, at=one.at - 60 * DAY) for one in some(20, seed=7)]
    later = [msgspec.structs.replace(one, decision_id=f"later {one.decision_id}") for one in some(20, seed=8)]
    taught = new_bank()
    taught.fold(earlier, then)
    state = {}
    for model in MODELS:
        mean, covariance = taught.posterior(model, then)
        precision = np.linalg.inv(covariance)
        learned = precision - np.eye(CONTEXT_WIDTH) / 0.2**2
        state[model] = Learned(precision=pack(learned.ravel()), shift=pack(precision @ mean), at=then)
    bank = new_bank(state=state)
    assert not bank.empty
    bank.fold([*later, *earlier], NOW)  # of which the earlier ones are in the state
    for model in MODELS:
        for now in (NOW, NOW + 30 * DAY):
            for found, wanted in zip(bank.posterior(model, now), solved([*earlier, *later], model, now), strict=True):
                np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
