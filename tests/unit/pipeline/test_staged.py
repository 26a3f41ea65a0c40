"""Two policies at once: shares as set, conversations that stay, and logged propensities that equal the frequencies."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from deciding import CATALOG, signals

from pointsman.pipeline.decide import DecideRules, RulePolicy
from pointsman.pipeline.decide.explore import Explorer
from pointsman.pipeline.decide.stage import Decide
from pointsman.pipeline.decide.staged import Staged, turn_of
from pointsman.pipeline.decide.utility import WEIGHTS, Weights

THRIFTY = {name: Weights(cost=1e6, latency=0.0, enough=0.01, hard=0.0) for name in WEIGHTS}
LAVISH = {name: Weights(cost=0.0, latency=0.0, hard=0.0) for name in WEIGHTS}


def staged(share: float, seed: int = 0) -> Staged:
    return Staged(
        RulePolicy(version="lavish@1", weights=LAVISH),
        RulePolicy(version="thrifty@1", weights=THRIFTY),
        share=share,
        draw=random.Random(seed).random,
    )


def test_conversations_go_to_the_candidate_as_often_as_its_share_and_stay_there():
    policy = staged(0.3)
    turns = {f"conversation {number}": policy.turn(f"conversation {number}") for number in range(3000)}
    taken = sum(turn.policy.version == "thrifty@1" for turn in turns.values())
    assert taken / 3000 == pytest.approx(0.3, abs=0.03)
    for name, turn in list(turns.items())[:50]:
        assert policy.turn(name).policy is turn.policy
        assert turn.share == (0.3 if turn.policy.version == "thrifty@1" else 0.7)


def test_another_trial_draws_anew():
    first = staged(0.5)
    other = Staged(first.serving, RulePolicy(version="thrifty@2", weights=THRIFTY), share=0.5)
    same = sum(
        (first.turn(str(n)).policy is first.serving) == (other.turn(str(n)).policy is other.serving)
        for n in range(2000)
    )
    assert 850 < same < 1150


def test_without_a_trial_one_policy_takes_everything():
    policy = RulePolicy()
    assert turn_of(policy, "any") == (policy, None, 1.0)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_logged_propensities_equal_the_frequencies(share):
    decide = Decide(
        rules=DecideRules(),
        policy=staged(share),
        explorer=Explorer(share=0.2, micro_usd_per_day=10**9, random=random.Random(1).random),
    )
    chosen, policies, propensities = Counter(), Counter(), Counter()
    rounds = 3000
    for number in range(rounds):
        decision = decide(
            "auto", signals(), catalog=CATALOG, unhealthy={}, key_id=None, now=1000.0 + number, stream=False
        )
        chosen[decision.model] += 1
        policies[decision.policy] += 1
        assert sum(candidate.propensity for candidate in decision.candidates) == pytest.approx(1)
        assert decision.propensity > 0
        for candidate in decision.candidates:
            propensities[candidate.model] += candidate.propensity / rounds
    assert policies["thrifty@1"] / rounds == pytest.approx(share, abs=0.03)
    assert len(chosen) > 1
    for model, count in chosen.items():
        assert count / rounds == pytest.approx(propensities[model], abs=0.03)


def test_asked_as_a_policy_it_is_the_one_that_serves():
    policy = staged(0.5)
    assert policy.version == "lavish@1"
