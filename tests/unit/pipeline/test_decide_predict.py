"""Expected success, cost and time."""

from __future__ import annotations

import pytest
from deciding import CHEAP, HOME, STRONG, card, signals
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.signals import Intent
from pointsman.pipeline.decide.predict import TYPICAL, fit, latency, predict, success

unit = st.floats(0, 1)


def test_a_typical_request_succeeds_as_often_as_the_prior_says():
    assert success(0.7, TYPICAL) == pytest.approx(0.7)


@given(unit, unit, unit)
def test_success_never_rises_with_complexity(prior, one, other):
    low, high = sorted((one, other))
    assert 0.0 <= success(prior, high) <= success(prior, low) + 1e-12 <= 1.0 + 1e-9


@given(unit, unit, unit)
def test_success_never_falls_when_the_prior_rises(one, other, complexity):
    low, high = sorted((one, other))
    assert success(low, complexity) <= success(high, complexity) + 1e-12


def test_a_weak_model_loses_more_to_complexity_than_a_strong_one():
    weak = success(0.6, 0.2) - success(0.6, 0.8)
    strong = success(0.95, 0.2) - success(0.95, 0.8)
    assert weak > 1.5 * strong


def test_the_intent_has_its_own_prior():
    coder = card("p:coder", quality=0.4, qualities={"refactoring": 0.9})
    [coding] = predict([coder], signals(intent=Intent.REFACTORING))
    [other] = predict([coder], signals(intent=Intent.CREATIVE))
    assert (coding.quality, other.quality) == (pytest.approx(0.9), pytest.approx(0.4))


@pytest.mark.parametrize(
    ("window", "share"), [(10_000, 1.0), (2_064, 1.0), (1_564, 0.5), (1_064, 0.0), (500, 0.0), (None, 1.0)]
)
def test_a_tight_window_lowers_success_by_the_chance_that_the_prompt_fits(window, share):
    needs = signals(prompt_tokens_low=1_000, prompt_tokens_high=2_000).needs
    assert fit(card("p:m", context_window=window), needs) == pytest.approx(share)


def test_cost_is_whole_micro_dollars_of_prompt_and_every_choice():
    [arm] = predict([CHEAP], signals(prompt=2_000, expected_output=300, choices=2))
    assert arm.cost_micro_usd == 300 + 360
    assert arm.weighed_micro_usd == 660


def test_an_unknown_price_is_weighed_as_a_dear_one_and_reported_as_unknown():
    unknown, local = card("p:unknown"), card("q:unknown", local=True, price_input=None, price_output=None)
    [remote, own, dear] = predict([unknown, local, STRONG], signals(prompt=2_000, expected_output=300))
    assert remote.cost_micro_usd is None
    assert remote.weighed_micro_usd > dear.weighed_micro_usd
    assert (own.cost_micro_usd, own.weighed_micro_usd) == (None, 0)


def test_latency_adds_first_token_prefill_and_decode():
    fast = card("p:m", first_token_seconds=0.5, prefill_tokens_per_second=1_000.0, tokens_per_second=50.0)
    assert latency(fast, 2_000, 100) == pytest.approx(0.5 + 2.0 + 2.0)


@given(st.integers(0, 1_000_000), st.integers(0, 100_000))
def test_latency_grows_with_the_tokens(prompt, output):
    assert latency(HOME, prompt, output) < latency(HOME, prompt + 1_000, output + 1_000)
