"""Exploration: propensities are exact, the allowance bounds it, and some requests are never tried with."""

from __future__ import annotations

import math
import random
from collections import Counter

import msgspec
import numpy as np
import pytest
from deciding import card, signals
from hypothesis import given, settings
from hypothesis import strategies as st
from learning import DAY, NOW, asked, observed
from test_learned_policy import PLAIN, SURE, TRAINED, new, read, taught

from pointsman.core.catalog import Catalog
from pointsman.core.decision import Candidate
from pointsman.core.signals import Privacy
from pointsman.pipeline.decide import Decide, DecideRules, Explorer, RulePolicy
from pointsman.pipeline.decide.explore import BURST, Allowance
from pointsman.pipeline.decide.learned.artefact import Exploration
from pointsman.pipeline.decide.predict import predict
from pointsman.pipeline.decide.staged import Staged

FREE = [card(f"p:m{place}", quality=0.5 + place / 20, price_input=0, price_output=0, local=True) for place in range(5)]
AMPLE = Allowance(share=0.3, micro_usd=10**9)
RNG = np.random.default_rng(21)


def by(method: str, artefact=PLAIN, **fields):
    return msgspec.structs.replace(artefact, exploration=Exploration(method=method, **fields))


def decided(policy, explorer, what, cards=FREE, **wishes):
    return Decide(rules=DecideRules(), policy=policy, explorer=explorer)(
        "auto", what, catalog=Catalog(cards), unhealthy={}, key_id=None, now=NOW, stream=False, **wishes
    )


@pytest.mark.parametrize("method", ["thompson", "igw", "ucb"])
def test_logged_propensities_are_the_frequencies(method):
    policy = taught(new(by(method, SURE), FREE), FREE, 3)
    what = asked(RNG)
    explorer = Explorer(share=1.0, micro_usd_per_day=0, random=random.Random(5).random)
    every = Allowance(share=1.0, micro_usd=0)
    wanted = {one.model: one.propensity for one in policy.rank(predict(FREE, what), what, allowance=every)}
    assert sum(wanted.values()) == pytest.approx(1)
    draws = 20_000
    ranked = policy.rank(predict(FREE, what), what, allowance=every)
    counts: Counter[str] = Counter()
    for _ in range(draws):
        assert explorer.allowance(what, NOW) == every
        counts[explorer.draw(ranked).model] += 1
    for model, propensity in wanted.items():
        spread = math.sqrt(draws * propensity * (1 - propensity))
        assert abs(counts[model] - draws * propensity) <= 4.5 * spread + 1e-9, (model, propensity, counts[model])


def test_a_decision_logs_the_probability_with_which_its_model_was_picked():
    policy = new(by("thompson"), FREE)
    what = asked(RNG)
    explorer = Explorer(share=1.0, micro_usd_per_day=0, random=random.Random(2).random)
    seen: dict[str, float] = {}
    explored = 0
    for _ in range(300):
        decision = decided(policy, explorer, what)
        assert decision.plan[0] == decision.candidates[0].model == decision.model
        assert decision.propensity == decision.candidates[0].propensity
        assert sum(one.propensity for one in decision.candidates) == pytest.approx(1)
        assert seen.setdefault(decision.model, decision.propensity) == decision.propensity
        greedy = max(decision.candidates, key=lambda one: one.utility).model
        assert decision.explored == (decision.model != greedy)
        explored += decision.explored
        if decision.explored:
            assert decision.candidates[1].model == greedy
            assert f"chosen by chance to learn (probability {decision.propensity:.2%})" in decision.reasons[0]
            assert decision.reasons[1].startswith(f"Without chance it had been {greedy}, ")
            assert "give or take" in decision.reasons[0]
    assert 30 < explored < 290


@given(read(), st.sampled_from(["thompson", "igw", "ucb", "none"]), st.floats(0, 1), st.integers(0, 9))
@settings(max_examples=60)
def test_propensities_are_probabilities_whatever_comes(what, method, share, seed):
    cards = [card(f"p:m{place}", quality=place / 7, price_input=10**place, price_output=1) for place in range(8)]
    policy = taught(new(by(method, TRAINED), cards), cards, seed)
    ranked = policy.rank(predict(cards, what), what, allowance=Allowance(share=share, micro_usd=10**12))
    assert sum(one.propensity for one in ranked) == pytest.approx(1)
    assert all(0 <= one.propensity <= 1 for one in ranked)
    assert ranked[0].propensity >= 1 - share - 1e-9
    assert [one.model for one in ranked] == [one.model for one in policy.rank(predict(cards, what), what)]


@given(read(), st.randoms(), st.integers(0, 9))
@settings(max_examples=30)
def test_propensities_do_not_depend_on_the_order_of_the_catalog(what, shuffler, seed):
    policy = taught(new(by("thompson"), FREE), FREE, seed)
    cards = list(FREE)
    shuffler.shuffle(cards)
    found = [
        {one.model: one.propensity for one in policy.rank(predict(order, what), what, allowance=AMPLE)}
        for order in (cards, FREE)
    ]
    assert found[0] == found[1]


def test_who_may_be_the_best_is_tried_more():
    what = asked(RNG)
    untaught = new(by("thompson"), FREE).rank(predict(FREE, what), what, allowance=AMPLE)
    assert sum(one.propensity > 0 for one in untaught) >= 3
    sure = new(by("thompson", SURE), FREE)
    rng = np.random.default_rng(1)
    sure.bank.fold(
        [observed(place * 5000 + number, one.id, one.quality, asked(rng)) for number in range(600)
         for place, one in enumerate(FREE)], NOW,
    )  # fmt: skip
    ranked = sure.rank(predict(FREE, what), what, allowance=AMPLE)
    assert ranked[0].propensity > untaught[0].propensity


def test_arms_that_cost_more_than_is_left_are_not_tried():
    cards = [
        card("p:cheap", quality=0.7, price_input=0, price_output=0),
        card("p:dear", quality=0.7, price_input=10_000_000, price_output=10_000_000),
        card("p:unknown", quality=0.7),
    ]
    what = signals(priority="balanced", prompt=1_000)
    policy = new(by("igw"), cards)

    def tried(micro_usd: int) -> set[str]:
        ranked = policy.rank(predict(cards, what), what, allowance=Allowance(share=0.5, micro_usd=micro_usd))
        return {one.model for one in ranked if one.propensity}

    assert tried(0) == {"p:cheap"}
    assert tried(1_000_000) == {"p:cheap", "p:dear"}  # what the third would cost nobody knows


def test_an_allowance_is_never_less_than_nothing():
    explorer = Explorer(share=1.0, micro_usd_per_day=10, random=lambda: 0.999_999)
    unknown = Candidate(model="p:a", quality=1, cost_micro_usd=None, latency_seconds=1, utility=1, propensity=0.5)
    explorer.draw([unknown, msgspec.structs.replace(unknown, model="p:b", cost_micro_usd=4_000)])
    allowance = explorer.allowance(signals(priority="balanced"), NOW)
    assert allowance is not None
    assert allowance.micro_usd == 0


def test_arms_below_a_quality_floor_are_not_tried():
    what = msgspec.structs.replace(asked(RNG), quality_floor=0.02)
    ranked = new(by("igw"), FREE).rank(predict(FREE, what), what, allowance=AMPLE)
    assert [one.propensity for one in ranked] == [1.0, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("share", [0.02, 0.2, 0.9])
def test_tries_never_exceed_their_share_of_the_requests(share):
    policy = new(by("igw"), FREE)
    what = signals()
    arms = predict(FREE, what)
    explorer = Explorer(share=share, micro_usd_per_day=0, random=random.Random(9).random)
    tries = 0
    for number in range(1, 2001):
        allowance = explorer.allowance(what, NOW)
        ranked = policy.rank(arms, what, allowance=allowance)
        if allowance is not None:
            tries += explorer.draw(ranked) is not ranked[0]
        assert tries <= share * number + BURST
    assert tries > share * 2000 * 0.3


def test_money_for_tries_is_never_exceeded_and_grows_by_the_day():
    cards = [
        card("p:cheap", quality=0.7, price_input=0, price_output=0),
        card("p:dear", quality=0.7, price_input=100_000, price_output=100_000),
    ]
    what = signals(priority="speed", prompt=3_000)
    arms = predict(cards, what)
    policy = new(by("igw"), cards)
    budget = 20_000
    explorer = Explorer(share=1.0, micro_usd_per_day=budget, random=random.Random(4).random)
    spent = 0
    spent_by_day = []
    for day in range(3):
        for number in range(400):
            now = NOW + day * DAY + number * DAY / 400
            allowance = explorer.allowance(what, now)
            ranked = policy.rank(arms, what, allowance=allowance)
            picked = explorer.draw(ranked) if allowance is not None else ranked[0]
            spent += (picked.cost_micro_usd or 0) - (ranked[0].cost_micro_usd or 0)
            assert spent <= budget * (1 + day + number / 400) + 1
        spent_by_day.append(spent)
    assert spent_by_day[0] > budget / 2
    assert spent_by_day[2] > 2 * budget


def test_a_clock_that_jumps_back_gives_no_money():
    explorer = Explorer(share=1.0, micro_usd_per_day=1_000, random=lambda: 0.999_999)
    cards = [
        card("p:cheap", quality=0.7, price_input=0, price_output=0),
        card("p:dear", quality=0.7, price_input=100_000, price_output=100_000),
    ]
    what = signals(priority="cost", prompt=3_000)
    policy, arms = new(by("igw"), cards), predict(cards, what)
    for now in (NOW, NOW - 1e9, NOW - 2e9):
        allowance = explorer.allowance(what, now)
        if allowance is not None:
            explorer.draw(policy.rank(arms, what, allowance=allowance))
    left = explorer.allowance(what, NOW - 2e9)
    assert left is None or left.micro_usd < 1_000


@pytest.mark.parametrize(
    "what",
    [
        signals(priority="quality"),
        signals(privacy=Privacy(level="max", local_only=True)),
        msgspec.structs.replace(signals(), budget_tier="low"),
    ],
)
def test_nothing_is_tried_where_too_much_hangs_on_it(what):
    explorer = Explorer(share=1.0, micro_usd_per_day=10**9, random=lambda: 0.999_999)
    assert explorer.allowance(what, NOW) is None
    assert explorer.allowance(signals(), NOW) is not None


@pytest.mark.parametrize("wishes", [{"explore": False}, {"model": "p:m1"}, {"model": "m1"}])
def test_nothing_is_tried_with_who_asks_not_to_or_names_a_model(wishes):
    wishes = dict(wishes)
    model = wishes.pop("model", "auto")
    explorer = Explorer(share=1.0, micro_usd_per_day=10**9, random=lambda: 0.999_999)
    for names in ("override", "hint"):
        stage = Decide(rules=DecideRules(model_names=names), policy=new(by("igw"), FREE), explorer=explorer)
        decision = stage(
            model, signals(), catalog=Catalog(FREE), unhealthy={}, key_id=None, now=NOW, stream=False, **wishes
        )
        assert (decision.propensity, decision.explored) == (1.0, False)


def test_rules_never_explore_and_an_artefact_can_only_explore_less():
    what = signals()
    arms = predict(FREE, what)
    assert RulePolicy().rank(arms, what, allowance=AMPLE)[0].propensity == 1.0
    assert new(by("none")).rank(arms, what, allowance=AMPLE)[0].propensity == 1.0
    wary, plain, bold = (new(by("igw", share=share)).rank(arms, what, allowance=AMPLE) for share in (0.01, None, 1.0))
    assert wary[0].propensity == pytest.approx(0.99)
    assert plain == bold
    assert plain[0].propensity < 0.9


def test_what_a_staged_policy_takes_without_chance_is_not_called_a_try():
    staged = Staged(new(by("igw"), FREE), RulePolicy(version="mine@1"), share=0.5, draw=lambda: 0.9)
    never = Explorer(share=1.0, micro_usd_per_day=0, random=lambda: 0.0)
    decision = decided(staged, never, signals())
    assert not decision.explored
    assert "best of 5" in decision.reasons[0]
    always = Explorer(share=1.0, micro_usd_per_day=0, random=lambda: 0.999_999)
    decision = decided(staged, always, signals())
    assert decision.explored
    assert "chosen by chance" in decision.reasons[0]
    assert sum(one.propensity for one in decision.candidates) == pytest.approx(1)
