"""The learned policy keeps what the rules promise, and chooses by what was learned."""

from __future__ import annotations

import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from deciding import CATALOG, anything, card, catalogs, signals
from hypothesis import given, settings
from hypothesis import strategies as st
from learning import NOW, PLAIN, anchor, asked, features, observed, prior, unit

from pointsman.core.features import VERSION
from pointsman.core.signals import Intent
from pointsman.pipeline.decide import LearnedPolicy, RulePolicy
from pointsman.pipeline.decide.floor import within
from pointsman.pipeline.decide.hybrid import rank_local_first
from pointsman.pipeline.decide.learned.artefact import LearnedArtefact, Posterior
from pointsman.pipeline.decide.learned.policy import BUILT_IN_VERSION
from pointsman.pipeline.decide.policy import BUILT_IN_VERSION as RULES
from pointsman.pipeline.decide.predict import predict
from pointsman.pipeline.decide.utility import WEIGHTS

TRAINED = LearnedArtefact(
    features=VERSION,
    prior=prior(anchor(-2.0, digits=-3.0, lines=1.0), anchor(0.5, questions=2.0), anchor(2.0, digits=2.0)),
)
SURE = LearnedArtefact(features=VERSION, posterior=Posterior(prior_sd=0.3, noise_sd=0.3))


def new(artefact=PLAIN, cards=(), *, rules: RulePolicy | None = None, **fields) -> LearnedPolicy:
    by_id = {one.id: one for one in cards}
    return LearnedPolicy(
        artefact, rules=rules or RulePolicy(), **{"card_of": by_id.get, "clock": lambda: NOW, **fields}
    )


@st.composite
def read(draw: st.DrawFn):
    """The signals of any request that was read."""
    rng = np.random.default_rng(draw(st.integers(0, 1_000)))
    what = draw(anything())
    return msgspec.structs.replace(
        what,
        features=features(unit(rng), draw(st.floats(0, 1))),
        budget_tier=draw(st.sampled_from(["high", "medium", "low"])),
    )


def taught(policy: LearnedPolicy, catalog, seed: int) -> LearnedPolicy:
    """The policy after some outcomes, good and bad ones by model."""
    rng = np.random.default_rng(seed)
    policy.bank.fold(
        [
            observed(number, one.id, float(rng.random() < 0.1 + 0.8 * rng.random()), asked(rng))
            for number, one in enumerate([*catalog] * 3)
        ],
        NOW,
    )
    return policy


@given(catalogs(), anything(), st.booleans(), st.sampled_from([frozenset(), frozenset({"openai:m1", "ollama:m2"})]))
@settings(max_examples=30)
def test_untaught_it_ranks_as_the_rules_do(catalog, what, unread, preferred):
    if not unread:
        what = msgspec.structs.replace(what, features=features(np.eye(256)[3]))
    arms = predict(catalog, what)
    wanted = RulePolicy(default_provider="openai").rank(arms, what, preferred=preferred)
    found = new(rules=RulePolicy(default_provider="openai")).rank(arms, what, preferred=preferred)
    assert [msgspec.structs.replace(one, uncertainty=0.0) for one in found] == wanted
    assert all(one.uncertainty > 0 for one in found)


@given(catalogs(), read(), st.integers(0, 9), st.randoms())
@settings(max_examples=25)
def test_the_order_of_the_catalog_does_not_matter(catalog, what, seed, random):
    policy = taught(new(TRAINED, catalog), catalog, seed)
    cards = list(catalog)
    random.shuffle(cards)
    one, other = policy.rank(predict(cards, what), what), policy.rank(predict(catalog, what), what)
    assert [candidate.model for candidate in one] == [candidate.model for candidate in other]


@given(catalogs(), read(), st.integers(0, 9), st.integers(0, 500), st.integers(1, 500))
@settings(max_examples=25)
def test_raising_the_cost_weight_never_raises_the_cost_of_the_choice(catalog, what, seed, low, more):
    arms = predict(catalog, what)
    costs = {arm.card.id: arm.weighed_micro_usd for arm in arms}
    chosen = []
    for weight in (low, low + more):
        weights = {what.priority: replace(WEIGHTS[what.priority], cost=float(weight))}
        policy = taught(new(TRAINED, catalog, rules=RulePolicy(weights=weights)), catalog, seed)
        chosen.append(costs[policy.rank(arms, what)[0].model])
    assert chosen[1] <= chosen[0]


@given(catalogs(plain=True), read(), st.floats(0, 0.5), st.integers(0, 5_000_000))
@settings(max_examples=25)
def test_a_dominated_candidate_never_changes_the_choice(catalog, what, worse, dearer):
    cards = list(catalog)
    best = new(TRAINED).rank(predict(cards, what), what)[0].model
    original = next(found for found in cards if found.id == best)
    dominated = msgspec.structs.replace(
        original,
        id="zzz:dominated",
        provider="zzz",
        quality=max(original.quality - worse, 0.0),
        price_input=original.price_input + dearer,
        price_output=original.price_output + dearer,
    )
    assert new(TRAINED).rank(predict([*cards, dominated], what), what)[0].model == best


def test_what_was_observed_moves_the_choice_for_such_requests_and_back():
    weak, strong = card("p:weak", quality=0.5, price_input=0, price_output=0), card("p:strong", quality=0.9)
    strong = msgspec.structs.replace(strong, price_input=0, price_output=0)
    policy = new(SURE, [weak, strong])
    maths, writing = signals(intent=Intent.MATH), signals(intent=Intent.CREATIVE)

    def chosen(what) -> str:
        return policy.rank(predict([weak, strong], what), what)[0].model

    assert chosen(maths) == chosen(writing) == "p:strong"
    policy.bank.fold([observed(number, "p:strong", 0.0, maths) for number in range(30)], NOW)
    policy.bank.fold([observed(100 + number, "p:weak", 1.0, maths) for number in range(30)], NOW)
    policy.bank.fold([observed(200 + number, "p:strong", 1.0, writing) for number in range(30)], NOW)
    assert (chosen(maths), chosen(writing)) == ("p:weak", "p:strong")
    first = policy.rank(predict([weak, strong], maths), maths)[0]
    assert first.quality > 0.75
    assert first.uncertainty < new(SURE).rank(predict([weak, strong], maths), maths)[0].uncertainty / 2
    policy.bank.forget([f"dec_{number}" for number in range(300)])
    assert chosen(maths) == "p:strong"


def test_a_model_that_is_gone_while_arms_of_it_are_in_the_log_harms_nothing():
    policy = new(SURE, CATALOG)
    rng = np.random.default_rng(1)
    policy.bank.fold([observed(number, "gone:model", 0.0, asked(rng)) for number in range(20)], NOW)
    what = asked(rng)
    wanted = [one.model for one in RulePolicy().rank(predict(CATALOG, what), what)]
    assert [one.model for one in policy.rank(predict(CATALOG, what), what)] == wanted
    assert policy.bank.counts() == {}


def test_a_model_that_comes_back_brings_what_was_observed_of_it():
    known = {one.id: one for one in CATALOG if one.id != "openai:strong"}
    policy = new(SURE, card_of=known.get)
    what = signals(priority="quality")
    policy.bank.fold([observed(number, "openai:strong", 0.0, what) for number in range(30)], NOW)
    known["openai:strong"] = CATALOG.get("openai:strong")
    ranked = policy.rank(predict(CATALOG, what), what)
    assert next(one for one in ranked if one.model == "openai:strong").quality < 0.4
    assert ranked[0].model == "anthropic:rival"


@pytest.mark.parametrize("complexity", [float("nan"), float("inf"), -1e300])
def test_what_is_no_number_never_reaches_a_prediction(complexity):
    policy = taught(new(TRAINED, CATALOG), CATALOG, 1)
    rng = np.random.default_rng(4)
    arms = predict(CATALOG, asked(rng))
    what = asked(rng)
    broken = msgspec.structs.replace(what, complexity=msgspec.structs.replace(what.complexity, score=complexity))
    for candidate in policy.rank(arms, broken):
        assert 0 <= candidate.quality <= 1
        assert 0 <= candidate.uncertainty < 10


@pytest.mark.parametrize("vector", [b"\x01short", bytes(300), b"\xff" * 280])
def test_a_vector_of_another_version_counts_as_none(vector):
    what = signals()
    arms = predict(CATALOG, what)
    other = msgspec.structs.replace(what, features=vector)
    policy = taught(new(TRAINED, CATALOG), CATALOG, 1)
    assert policy.rank(arms, other) == policy.rank(arms, what)


def test_where_numpy_cannot_be_loaded_the_rules_serve_and_the_log_says_so(monkeypatch, caplog):
    what = asked(np.random.default_rng(1))
    arms = predict(CATALOG, what)
    policy = new(TRAINED)
    assert policy.version == BUILT_IN_VERSION == "learned@1"
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert policy.rank(arms, what) == RulePolicy().rank(arms, what)
    assert policy.version == RULES == "rules@2"
    assert "rules@2 serves in the place of learned@1" in caplog.text
    assert policy.rank(arms, what) == RulePolicy().rank(arms, what)


def test_within_a_floor_the_cheapest_goes_first():
    cards = [
        card("p:poor", quality=0.60, price_input=0, price_output=0),
        card("p:good", quality=0.90, price_input=1_000_000, price_output=1_000_000),
        card("p:best", quality=0.91, price_input=9_000_000, price_output=9_000_000),
    ]
    what = signals(priority="quality", complexity=0.3)
    policy = new(SURE, cards)
    policy.bank.fold(
        [observed(3 * number + place, one.id, one.quality, what) for number in range(2000)
         for place, one in enumerate(cards)], NOW,
    )  # fmt: skip

    def chosen(floor: float | None, which=policy) -> str:
        asks = msgspec.structs.replace(what, quality_floor=floor)
        return which.rank(predict(cards, asks), asks)[0].model

    assert chosen(0.0) == "p:best"
    assert chosen(0.03) == "p:good"
    assert chosen(0.4) == "p:poor"
    assert chosen(0.03, new(SURE, cards)) == "p:best"  # nothing was observed: nobody can be that sure
    assert chosen(0.03, RulePolicy()) == "p:good"
    promised = LearnedArtefact(features=VERSION, posterior=SURE.posterior, floor=0.03)
    other = new(promised, cards)
    other.bank = policy.bank
    assert chosen(None, other) == "p:good"
    assert chosen(0.0, other) == "p:best"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.3)), min_size=1, max_size=8), st.floats(0, 1))
def test_a_floor_allows_the_best_and_what_is_surely_near_it(beliefs, floor):
    qualities, deviations = [one for one, _ in beliefs], [one for _, one in beliefs]
    allowed = within(floor, qualities, deviations)
    assert qualities.index(max(qualities)) in allowed
    assert all(qualities[place] >= max(qualities) - floor - 1e-12 for place in allowed)
    assert allowed <= within(min(floor + 0.1, 1.0), qualities, deviations)


def test_a_floor_holds_on_average_when_outcomes_are_drawn():
    """Arms differ by less and more than the floor; where one is allowed, its true success is rarely further below."""
    rng = np.random.default_rng(8)
    wrong = allowed = 0
    for _ in range(400):
        truths = [0.9, 0.9 - 0.2 * rng.random()]
        beliefs = [(truth + rng.normal() * 0.03, 0.03) for truth in truths]
        places = within(0.1, [quality for quality, _ in beliefs], [deviation for _, deviation in beliefs])
        best = int(beliefs[1][0] > beliefs[0][0])
        for place in places - {best}:
            allowed += 1
            wrong += truths[place] < truths[best] - 0.1
    assert allowed > 5
    assert wrong / 400 < 0.05


def test_local_first_asks_what_was_learned_whether_a_local_model_will_do():
    here, there = card("home:m", quality=0.7, local=True), card("p:m", quality=0.8, price_input=1, price_output=1)
    what = signals()
    policy = new(SURE, [here, there])
    arms = predict([here, there], what)
    assert rank_local_first(policy, arms, what, preferred=frozenset())[0].model == "home:m"
    policy.bank.fold([observed(number, "home:m", 0.0, what) for number in range(100)], NOW)
    assert rank_local_first(policy, arms, what, preferred=frozenset())[0].model == "p:m"


def test_where_its_numbers_fail_a_request_the_rules_rank_it_and_the_log_says_so_once(caplog):
    policy = new(SURE, [card("a"), card("b")])
    what = asked(np.random.default_rng(1))
    policy.bank.fold([observed(1, "lan:a", 1.0, what), observed(2, "a", 1.0, what)], NOW)
    arms = predict([card("a"), card("b")], what)
    expected = RulePolicy().rank(arms, what)

    def fail(*_):
        raise np.linalg.LinAlgError("Singular matrix")

    policy.bank.deviation = fail
    assert policy.rank(arms, what) == expected == policy.rank(arms, what)
    assert [record.getMessage() for record in caplog.records] == [
        f"{policy.version} could not rank a request, so {RULES} did."
    ]
    del policy.bank.deviation
    assert policy.rank(arms, what) != expected
