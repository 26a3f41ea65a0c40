"""What feedback says of success, and what an answer was worth."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.outcome import Edit, Feedback, SuiteResult
from pointsman.core.reward import RewardWeights, reward, success_of


def said(**parts: Any) -> tuple[float, str]:
    return success_of(Feedback(decision_id="dec_1", **parts))


@pytest.mark.parametrize(
    ("parts", "success", "source"),
    [
        ({"tests": SuiteResult(passed=3, failed=1)}, 0.75, "tests"),
        ({"tests": SuiteResult(passed=0, failed=7)}, 0.0, "tests"),
        ({"tests": SuiteResult(passed=1_000_000, failed=0)}, 1.0, "tests"),
        ({"outcome": "success"}, 1.0, "feedback"),
        ({"outcome": "partial"}, 0.5, "feedback"),
        ({"outcome": "failure"}, 0.0, "feedback"),
        ({"score": 0.3}, 0.3, "feedback"),
        ({"edit": Edit(accepted=True)}, 1.0, "edit"),
        ({"edit": Edit(accepted=True, kept_share=0.25)}, 0.25, "edit"),
        ({"edit": Edit(accepted=False, kept_share=0.9)}, 0.0, "edit"),
        ({"thumb": "up"}, 1.0, "feedback"),
        ({"thumb": "down"}, 0.0, "feedback"),
    ],
)
def test_each_part_alone(parts: dict[str, Any], success: float, source: str):
    assert said(**parts) == (success, source)


def test_what_is_measured_counts_before_what_is_felt():
    parts: dict[str, Any] = {
        "tests": SuiteResult(passed=1, failed=3), "outcome": "success", "score": 0.7,
        "edit": Edit(accepted=True, kept_share=0.4), "thumb": "down",
    }  # fmt: skip
    found = []
    while parts:
        found.append(said(**parts)[0])
        del parts[next(iter(parts))]
    assert found == [0.25, 1.0, 0.7, 0.4, 0.0]


def test_a_run_without_tests_says_nothing():
    assert said(tests=SuiteResult(passed=0, failed=0), thumb="up") == (1.0, "feedback")
    with pytest.raises(ValueError, match="nothing"):
        said(tests=SuiteResult(passed=0, failed=0))


def test_a_reward_is_success_less_what_it_took():
    weights = RewardWeights(cost_factor=10, latency_penalty=0.01)
    assert reward(1.0, cost_micro_usd=50_000, seconds=20, weights=weights) == pytest.approx(1 - 0.5 - 0.2)
    assert reward(0.5, cost_micro_usd=None, seconds=None, weights=weights) == 0.5
    assert reward(1.0, cost_micro_usd=33_333, seconds=0) == pytest.approx(0.0, abs=1e-4), "three cents, by default"


@given(
    success=st.floats(0, 1), cost=st.integers(0, 10**9), seconds=st.floats(0, 1e5), more=st.floats(0, 1),
)  # fmt: skip
def test_a_reward_falls_with_cost_and_time_and_rises_with_success(
    success: float, cost: int, seconds: float, more: float
):
    base = reward(success, cost_micro_usd=cost, seconds=seconds)
    assert math.isfinite(base)
    assert reward(success, cost_micro_usd=cost + 1_000_000, seconds=seconds) < base
    assert reward(success, cost_micro_usd=cost, seconds=seconds + 60) < base
    assert reward(success + (1 - success) * more, cost_micro_usd=cost, seconds=seconds) >= base


@pytest.mark.parametrize(
    ("success", "cost", "seconds"),
    [(math.nan, 0, 0.0), (1.1, 0, 0.0), (-0.1, 0, 0.0), (0.5, -1, 0.0), (0.5, 0, -1.0), (0.5, 0, math.nan),
     (0.5, 0, math.inf)],
)  # fmt: skip
def test_what_is_no_outcome_is_refused(success: float, cost: int, seconds: float):
    with pytest.raises(ValueError, match="no outcome"):
        reward(success, cost_micro_usd=cost, seconds=seconds)
