"""The rule policy: utilities, weights and ties."""

from __future__ import annotations

from dataclasses import replace

import pytest
from deciding import CATALOG, anything, card, catalogs, signals
from hypothesis import given
from hypothesis import strategies as st

from pointsman.pipeline.decide.policy import WEIGHTS, RulePolicy
from pointsman.pipeline.decide.predict import predict


def rank(cards, what, **options):
    return RulePolicy(**options).rank(predict(cards, what), what)


@pytest.mark.parametrize(
    ("priority", "complexity", "model"),
    [
        ("balanced", 0.1, "openai:cheap"),
        ("balanced", 0.9, "openai:strong"),
        ("quality", 0.3, "openai:strong"),
        ("cost", 0.1, "ollama:home"),
        ("privacy", 0.3, "ollama:home"),
        ("speed", 0.1, "openai:cheap"),
    ],
)
def test_priorities(priority, complexity, model):
    assert rank(CATALOG, signals(priority=priority, complexity=complexity))[0].model == model


def test_strength_counts_for_more_above_the_threshold():
    weak = card("a:weak", quality=0.7, price_input=0, price_output=0)
    dear = card("b:dear", quality=0.9, price_input=0, price_output=60_000_000)
    what = signals(complexity=0.6, expected_output=256)
    assert rank([weak, dear], what, complexity_threshold=0.65)[0].model == "a:weak"
    assert rank([weak, dear], what, complexity_threshold=0.55)[0].model == "b:dear"


def test_the_utility_is_the_documented_sum():
    what = signals(prompt=1_000, expected_output=500)
    [arm] = predict([card("p:m", quality=0.8, price_input=2_000_000, price_output=8_000_000)], what)
    [candidate] = RulePolicy().rank([arm], what)
    assert arm.cost_micro_usd == 6_000
    assert candidate.utility == pytest.approx(0.8 - 30.0 * 0.006 - 0.004 * arm.latency_seconds - 0.02)
    assert candidate.propensity == 1.0


def test_ties_go_to_the_default_provider_then_the_price_then_the_id():
    same = {"quality": 0.5, "price_input": 1_000_000, "price_output": 1_000_000}
    twins = [card("b:m", **same), card("a:m", **same), card("c:m", **same)]
    assert [found.model for found in rank(twins, signals())] == ["a:m", "b:m", "c:m"]
    assert rank(twins, signals(), default_provider="c")[0].model == "c:m"
    free = {"tokens_per_second": 50.0, "quality": 0.0, "context_window": 10}
    weights = {"balanced": replace(WEIGHTS["balanced"], cost=0.0, latency=0.0)}
    priced = [card("a:m", price_input=9, price_output=9, **free), card("b:m", price_input=1, price_output=1, **free)]
    assert rank(priced, signals(prompt=100_000), weights=weights)[0].model == "b:m"


@given(catalogs(), anything())
def test_propensities_sum_to_one_and_the_first_was_picked(catalog, what):
    ranked = rank(catalog, what)
    assert sum(found.propensity for found in ranked) == 1.0
    assert ranked[0].propensity == 1.0
    assert [found.utility for found in ranked] == sorted((found.utility for found in ranked), reverse=True)


@given(catalogs(), anything(), st.randoms())
def test_the_order_of_the_catalog_does_not_matter(catalog, what, random):
    cards = list(catalog)
    random.shuffle(cards)
    assert rank(cards, what) == rank(catalog, what)


@given(catalogs(), anything(), st.integers(0, 500), st.integers(1, 500))
def test_raising_the_cost_weight_never_raises_the_cost_of_the_choice(catalog, what, low, more):
    arms = predict(catalog, what)
    costs = {arm.card.id: arm.weighed_micro_usd for arm in arms}
    chosen = []
    for weight in (low, low + more):
        weights = {what.priority: replace(WEIGHTS[what.priority], cost=float(weight))}
        chosen.append(costs[RulePolicy(weights=weights).rank(arms, what)[0].model])
    assert chosen[1] <= chosen[0]


@given(catalogs(plain=True), anything(), st.floats(0, 0.5), st.integers(0, 5_000_000), st.floats(0, 10))
def test_a_dominated_candidate_never_changes_the_choice(catalog, what, worse, dearer, slower):
    cards = list(catalog)
    best = rank(cards, what)[0].model
    original = next(found for found in cards if found.id == best)
    dominated = card(
        "zzz:dominated",
        local=original.local,
        quality=max(original.quality - worse, 0.0),
        price_input=original.price_input + dearer,
        price_output=original.price_output + dearer,
        tokens_per_second=original.tokens_per_second,
        first_token_seconds=(original.first_token_seconds if original.first_token_seconds is not None else 5.0)
        + slower,
    )
    assert rank([*cards, dominated], what)[0].model == best


def test_the_cheapest_model_that_will_do_the_job_gets_it():
    cheap = card("p:cheap", quality=0.85, price_input=100_000, price_output=400_000)
    strong = card("p:strong", quality=0.97, price_input=5_000_000, price_output=25_000_000)
    easy, hard = signals(complexity=0.1), signals(complexity=0.9)
    assert RulePolicy().rank(predict([strong, cheap], easy), easy)[0].model == "p:cheap"
    assert RulePolicy().rank(predict([strong, cheap], hard), hard)[0].model == "p:strong"


def test_privacy_as_a_priority_stays_on_the_machine_while_it_can():
    here = card("here:m", quality=0.1, local=True)
    there = card("p:strong", quality=0.97, price_input=100, price_output=100)
    for complexity in (0.1, 0.9):
        what = signals(complexity=complexity, priority="privacy")
        assert RulePolicy().rank(predict([there, here], what), what)[0].model == "here:m"
