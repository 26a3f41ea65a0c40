"""A policy may serve when the log says that it is better, and the log says with which numbers it is not."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from pointsman.learn.differences import choices, numbers
from pointsman.learn.promotion import Gate, judge, judge_by_training
from pointsman.learn.training import train_on_log
from pointsman.pipeline.decide import RulePolicy
from pointsman.pipeline.decide.utility import WEIGHTS, Weights

from .test_trainers_logs import BASE, CARDS, RULES, log

THRIFTY = RulePolicy(
    version="thrifty@1", weights={name: Weights(cost=1e6, latency=0.0, enough=0.01, hard=0.0) for name in WEIGHTS}
)
LAVISH = RulePolicy(version="lavish@1", weights={name: Weights(cost=0.0, latency=0.0, hard=0.0) for name in WEIGHTS})


def gate(decisions, policy, *, margin: float = 0.0) -> Gate:
    return judge(decisions, policy, cards=CARDS, rng=np.random.default_rng(0), since=0.0, until=2e6, margin=margin)


def test_the_better_one_passes_and_the_worse_one_does_not():
    decisions, _ = log(600, 1)  # half and half: the large model earns 0.29 more a decision
    better, worse = gate(decisions, LAVISH), gate(decisions, THRIFTY)
    assert better.passed
    assert better.difference.low > 0
    assert f"{better.difference.low:+.3f}" in better.why
    assert not worse.passed
    assert worse.difference.high < 0
    assert "must be above 0" in worse.why
    assert better.incumbent == pytest.approx(0.675, abs=0.06)


def test_one_that_is_no_worse_passes_within_the_margin_alone():
    decisions, _ = log(600, 2, share=0.98)  # what was done is nearly what the candidate would do, and a little better
    assert not gate(decisions, THRIFTY).passed
    assert gate(decisions, THRIFTY, margin=0.1).passed


@pytest.mark.parametrize(("count", "passes"), [(400, True), (60, False)])
def test_a_version_that_has_seen_the_log_is_judged_by_what_was_held_out(count, passes):
    decisions, _ = log(count, 6)
    trained = train_on_log("thompson", decisions, base=BASE, rules=RULES, cards=CARDS, seed=0)
    found = judge_by_training("mine@1", trained.report)
    assert found.decisions == count // 4
    assert found.difference == trained.report.difference
    assert found.passed is passes
    assert "held out when it was trained" in found.why
    assert trained.report.until == decisions[-1].at


def test_of_what_had_no_chance_nothing_is_told():
    decisions = [
        msgspec.structs.replace(
            one,
            model="far:large",
            candidates=tuple(
                msgspec.structs.replace(arm, propensity=float(arm.model == "far:large")) for arm in one.candidates
            ),
        )
        for one in log(200, 3)[0]
    ]
    found = gate(decisions, THRIFTY)
    assert not found.passed
    assert "no chance in the log" in found.why


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda decisions: [], "holds no decision"),
        (lambda decisions: decisions[:20], "at least 30 are needed"),
        (
            lambda decisions: [msgspec.structs.replace(one, success=None, weight=0.0) for one in decisions],
            "send feedback",
        ),
        (lambda decisions: [msgspec.structs.replace(one, mode="forced") for one in decisions], "the caller chose"),
    ],
)
def test_where_the_log_cannot_tell_it_says_what_is_missing(spoil, says):
    found = gate(spoil(log(300, 4)[0]), LAVISH)
    assert not found.passed
    assert says in found.why
    msgspec.json.encode(found.numbers())


def test_numbers_that_differ_are_named_by_where_they_stand():
    before = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert numbers(before, before) == {}
    assert numbers(before, {"a": {"b": 2, "c": [1, 5]}, "e": 4}) == {
        "a.b": (1, 2), "a.c[1]": (2, 5), "d": (3, None), "e": (None, 4),
    }  # fmt: skip


def test_choices_that_differ_are_counted_with_what_they_cost():
    decisions, _ = log(50, 5)
    found = choices(decisions, LAVISH, THRIFTY, cards=CARDS)
    assert (found.decisions, found.changed, found.share) == (50, 50, 1.0)
    assert (found.before.micro_usd, found.after.micro_usd) == (4000, 0)
    assert (found.before.success, found.after.success) == pytest.approx((0.9, 0.5))
    assert [(move.before, move.after, move.decisions) for move in found.moves] == [("far:large", "lan:small", 50)]
