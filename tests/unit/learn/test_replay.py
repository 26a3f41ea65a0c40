"""What another policy would have done with a log, whatever is wrong with the log."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from pointsman.core.decision import Candidate
from pointsman.core.errors import InvalidRequest
from pointsman.core.outcome import Attempt
from pointsman.core.reward import RewardWeights
from pointsman.core.signals import Conversation
from pointsman.learn.dataset import bandit, clusters_of, read_row, usable
from pointsman.learn.replay import choices, rebuilt, replay
from pointsman.pipeline.decide import LearnedPolicy, RulePolicy
from pointsman.pipeline.decide.learned.artefact import LearnedArtefact
from pointsman.providers.cards import card_for

from . import logs

CARDS = {model: card_for("openai", model.partition(":")[2], local=False) for model in (logs.CHEAP, logs.DEAR)}


class Always:
    """The model of this name, with certainty."""

    def __init__(self, model, propensity=1.0):
        self.model = model
        self.propensity = propensity

    version = "always@1"

    def rank(self, arms, signals, *, preferred=frozenset(), allowance=None):
        found = [
            Candidate(
                model=arm.card.id, quality=arm.quality, cost_micro_usd=arm.cost_micro_usd,
                latency_seconds=arm.latency_seconds, utility=0.0,
                propensity=self.propensity if arm.card.id == self.model else 1 - self.propensity,
            )
            for arm in arms
        ]  # fmt: skip
        return sorted(found, key=lambda one: -one.propensity)


def read(count=600, **changes):
    return [read_row(logs.row(*one)) for one in logs.log(count, **changes)]


def asked(decisions, policy, **changes):
    return replay(decisions, policy, cards=CARDS, rng=np.random.default_rng(0), since=0.0, until=1.0, **changes)


def of(report, measure, estimator="dr"):
    found = next(one for one in report.measures if one.measure == measure)
    return next(one for one in found.estimates if one.estimator == estimator)


def test_the_truth_is_found():
    """The dear model does 90 %, at 0.0055 dollars and four and a half seconds."""
    report = asked(read(), Always(logs.DEAR))
    for estimator in ("ips", "snips", "dr"):
        told = of(report, "success", estimator)
        assert told.low < 0.9 < told.high
        assert told.value == pytest.approx(0.9, abs=0.12)
    assert of(report, "cost").value == pytest.approx(0.00551, abs=0.0001)
    assert of(report, "seconds").value == pytest.approx(4.5, abs=0.1)
    cost = next(one for one in report.measures if one.measure == "cost")
    assert cost.observed == pytest.approx(0.7 * 0.00034 + 0.3 * 0.00551, rel=0.1)
    assert cost.predicted == pytest.approx(0.0055, rel=0.15)
    difference = next(one for one in report.measures if one.measure == "success").differences[2]
    assert 0 < difference.low < 0.21 < difference.high


def test_the_reward_is_success_less_cost_and_time():
    weights = RewardWeights(cost_factor=10.0, latency_penalty=0.01)
    report = asked(read(), Always(logs.CHEAP), weights=weights)
    success, cost, seconds = (of(report, name, "snips").value for name in ("success", "cost", "seconds"))
    assert of(report, "reward", "snips").value == pytest.approx(success - 10 * cost - 0.01 * seconds)


def test_shares_and_agreement():
    report = asked(read(), Always(logs.DEAR, 0.75))
    was, would = report.shares[logs.DEAR]
    assert would == pytest.approx(0.75)
    assert was == pytest.approx(0.3, abs=0.06)
    assert report.agreement == pytest.approx(was * 0.75 + (1 - was) * 0.25)
    assert report.incumbents == {"learned@1": 600}


def test_policies_are_asked_with_arms_as_they_were():
    decisions, _ = usable(read(20))
    for policy in (RulePolicy(), LearnedPolicy(LearnedArtefact(features=2), rules=RulePolicy())):
        target = choices(policy, decisions, (logs.DEAR, logs.CHEAP), CARDS)
        np.testing.assert_allclose(target.sum(axis=1), 1.0)
    arm = rebuilt(decisions[0].candidates[1], decisions[0], CARDS)
    assert (arm.cost_micro_usd, arm.latency_seconds) == (5_000, 4.0)
    assert arm.prior == CARDS[logs.DEAR].qualities.get("explanation", CARDS[logs.DEAR].quality)


def test_a_model_that_is_gone_has_the_success_that_was_logged():
    decisions, _ = usable(read(20, models=("old:one", "old:two")))
    for candidate in decisions[0].candidates:
        assert rebuilt(candidate, decisions[0], CARDS).quality == pytest.approx(candidate.quality)
    assert asked(decisions, RulePolicy()).gone == ("old:one", "old:two")


def test_an_empty_log_is_said():
    with pytest.raises(InvalidRequest, match="--since"):
        asked([], RulePolicy())


def test_forced_and_unfinished_decisions_are_left_out_and_counted():
    decisions = read(100)
    decisions += [msgspec.structs.replace(one, mode="forced") for one in read(5, seed=1)]
    decisions += [msgspec.structs.replace(one, status=None) for one in read(4, seed=2)]
    decisions += [msgspec.structs.replace(one, status="refused", model="") for one in read(3, seed=3)]
    report = asked(decisions, RulePolicy(), unreadable=2)
    assert report.decisions == 100
    assert report.left_out == {"the caller chose": 5, "not ended": 4, "refused before a choice": 3, "unreadable": 2}


@pytest.mark.parametrize("bad", [0.0, 1.7, -0.2, math.nan])
def test_a_propensity_that_is_none_leaves_the_decision_out(bad):
    decisions = read(50)
    one = decisions[7]
    broken = tuple(msgspec.structs.replace(candidate, propensity=bad) for candidate in one.candidates)
    decisions[7] = msgspec.structs.replace(one, candidates=broken)
    report = asked(decisions, Always(logs.CHEAP))
    assert (report.decisions, report.left_out) == (49, {"no propensity": 1})


def test_a_log_without_feedback_tells_cost_and_says_what_it_cannot():
    report = asked(read(judged=0.0), Always(logs.DEAR))
    assert report.judged == 0
    assert of(report, "success").value is None
    assert of(report, "cost").value == pytest.approx(0.00551, abs=0.0001)
    assert any("feedback" in warning for warning in report.warnings)


def test_an_incumbent_that_never_tried_cannot_tell_of_others():
    report = asked(read(dear=0.0), Always(logs.DEAR))
    assert of(report, "success").value is None
    assert of(report, "success").uncovered == 1.0
    assert (of(report, "cost").low, of(report, "cost").high) == (None, None)
    cost = next(one for one in report.measures if one.measure == "cost")
    assert cost.predicted == pytest.approx(0.0055, rel=0.2)  # which is called no proof


def test_an_error_is_a_failure_and_a_price_that_is_unknown_is_not_free():
    decisions = [msgspec.structs.replace(one, success=None, weight=0.0, status="error") for one in read(40)]
    log = bandit(decisions, "success")
    assert (log.rewards == 0.0).all()
    unknown = [msgspec.structs.replace(one, cost_micro_usd=None) for one in read(40)]
    assert np.isnan(bandit(unknown, "reward").rewards).all()
    assert np.isnan(bandit(unknown, "cost").rewards).all()
    free = bandit(unknown, "reward", weights=RewardWeights(cost_factor=0.0))
    assert np.isfinite(free.rewards).all()


def test_clusters():
    decisions = read(6)
    assert clusters_of(decisions, "conversation").tolist() == [0, 0, 1, 1, 2, 2]
    assert clusters_of(decisions, "decision") is None
    assert len(set(clusters_of(decisions, "day"))) == 1
    alone = [msgspec.structs.replace(one, conversation="") for one in decisions]
    assert len(set(clusters_of(alone, "conversation"))) == 6


def test_rows_of_before_and_damaged_rows():
    taken, ended, said = next(logs.log(1))
    row = logs.row(taken, ended, said)
    old = [{k: v for k, v in one.items() if k in ("model", "quality", "cost_micro_usd", "latency_seconds", "utility")}
           for one in msgspec.json.decode(row.candidates)]  # fmt: skip
    read_back = read_row(row._replace(candidates=msgspec.json.encode(old).decode(), conversation="", effort=None))
    assert read_back.candidates[0].propensity == 0.0
    assert usable([read_back])[1] == {"no propensity": 1}
    assert read_row(row._replace(candidates="[{")) is None
    assert read_row(row._replace(signals="null")) is None
    assert read_row(row._replace(success=math.nan)).success is None
    older = msgspec.structs.replace(taken.signals, features=b"\x00" * 300, conversation=Conversation(turn=2))
    kept = read_row(row._replace(signals=msgspec.json.encode(older).decode()))
    assert np.isfinite(bandit([kept], "success").contexts).all()


def test_how_a_cascade_and_a_splice_went_is_read():
    (taken, ended, said) = next(logs.log(1))

    def read(*attempts: Attempt) -> tuple[bool, float | None, float | None]:
        found = read_row(logs.row(taken, msgspec.structs.replace(ended, attempts=list(attempts)), said))
        return found.joint, found.verdict, found.rejected

    def attempt(model: str = taken.model, **fields: Any) -> Attempt:
        return Attempt(model=model, started_at=0.0, **fields)

    assert read(attempt()) == (False, None, None)
    assert read(attempt(confidence=0.8)) == (False, 0.8, None)
    kept_back = attempt(status="escalated", confidence=0.2)
    assert read(kept_back, attempt("another")) == (False, None, 0.2)
    assert read(attempt("another", status="error"), kept_back) == (False, 0.2, None), "it was told after all"
    assert read(attempt("another", status="escalated", confidence=0.2), attempt()) == (False, None, None)
    broke = attempt(status="error", first_byte_seconds=0.5)
    assert read(broke, attempt("another", went_on=True)) == (True, None, None)
    assert read(broke, attempt(went_on=True)) == (False, None, None), "it went on itself"
    assert read() == (False, None, None)


def test_hints_are_heard_again():
    heard = []

    class Listens(Always):
        def rank(self, arms, signals, *, preferred=frozenset(), allowance=None):
            heard.append(preferred)
            return super().rank(arms, signals)

    decisions = [msgspec.structs.replace(one, mode="hint", requested_model="gpt-4o") for one in read(3)]
    asked(decisions, Listens(logs.DEAR))
    assert set(heard) == {frozenset({logs.DEAR})}


def test_judged_answers_may_count_by_how_rarely_such_ones_are_judged():
    """The cheap model's are judged half as often: with the inverse each counts about twice."""
    rng = np.random.default_rng(0)
    decisions = [
        one
        if one.model == logs.DEAR or rng.random() < 0.5
        else msgspec.structs.replace(one, success=None, weight=0.0, source=None)
        for one in read()
    ]
    log = bandit(decisions, "success", inverse=True)
    dear = log.judged & (log.actions == log.arms.index(logs.DEAR))
    assert log.observation[log.judged & ~dear].mean() == pytest.approx(2.0, abs=0.2)
    assert log.observation[dear].mean() == pytest.approx(1.0, abs=0.05)
    report = asked(decisions, Always(logs.CHEAP), inverse=True, measures=("success",))
    assert report.warnings == ()
    assert of(report, "success").value == pytest.approx(0.6, abs=0.1)
