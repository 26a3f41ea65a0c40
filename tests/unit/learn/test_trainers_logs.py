"""Learning from the log: posteriors and networks that earn more than what was done, and an honest word on how much."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import InvalidRequest
from pointsman.core.features import VERSION
from pointsman.core.reward import RewardWeights
from pointsman.learn.logged import Logged
from pointsman.learn.trainers.logs import pose_log
from pointsman.learn.training import train_on_log
from pointsman.pipeline.decide import RulePolicy, load_policy
from pointsman.pipeline.decide.learned.artefact import LearnedArtefact
from pointsman.pipeline.decide.replay import arm_again

from .planted import COSTS, MODELS, PER_DOLLAR, asked, candidates

BASE = LearnedArtefact(features=VERSION)
RULES = RulePolicy()
CARDS = {
    "lan:small": ModelCard(id="lan:small", provider="lan", name="small", local=True, quality=0.5),
    "far:large": ModelCard(id="far:large", provider="far", name="large", quality=0.9),
}


NOW = 1_001_000.0


def log(count: int, seed: int, *, share: float = 0.5) -> tuple[list[Logged], np.ndarray]:
    """Decisions of a policy that takes the small model with a share of chance; (count, 2) what each would have done."""
    rng = np.random.default_rng(seed)
    found, success = asked(count, rng)
    decisions = []
    for number, signals in enumerate(found):
        column = int(rng.random() > share)
        arms = [
            msgspec.structs.replace(one, propensity=chance)
            for one, chance in zip(candidates(), (share, 1 - share), strict=True)
        ]
        decisions.append(
            Logged(
                id=f"dec_{seed}_{number}", at=1_000_000.0 + number, key_id=None, model=MODELS[column],
                answered_by=MODELS[column], mode="auto", policy="rules@2", propensity=arms[column].propensity,
                candidates=tuple(arms), signals=signals, status="ok", success=float(success[number, column]),
                weight=1.0, cost_micro_usd=COSTS[column], seconds=0.0,
            )
        )  # fmt: skip
    return decisions, success


def earned(kind: str, artefact: str, decisions: list[Logged], success: np.ndarray) -> np.ndarray:
    """What a policy's choices earn; the models are rebuilt as serving has them."""
    policy = load_policy(kind, artefact, version="x@1", base=RULES, card_of=CARDS.get, clock=lambda: NOW)
    rewards = success - PER_DOLLAR * np.array(COSTS) / 1e6
    got = []
    for row, decision in enumerate(decisions):
        arms = [arm_again(one, decision.signals, CARDS[one.model]) for one in decision.candidates]
        got.append(rewards[row, MODELS.index(policy.rank(arms, decision.signals)[0].model)])
    return np.array(got)


@pytest.mark.parametrize("trainer", ["linucb", "thompson", "grpo"])
def test_it_beats_every_single_model(trainer):
    decisions, _ = log(500, 1)
    trained = train_on_log(trainer, decisions, base=BASE, rules=RULES, cards=CARDS, seed=0)
    unseen, success = log(200, 2)
    rewards = success - PER_DOLLAR * np.array(COSTS) / 1e6
    best = rewards.mean(axis=0).max()
    got = earned(trained.kind, trained.artefact, unseen, success)
    assert got.mean() > best + 0.02
    report = trained.report
    assert (report.rows, report.judged, report.held_out) == (500, 500, 125)
    assert report.difference is not None
    assert report.difference.low is not None
    assert report.difference.high is not None
    assert report.difference.low < report.difference.high


def test_methods_differ_in_how_they_explore():
    decisions, _ = log(80, 3)
    kinds = {
        trainer: msgspec.json.decode(
            train_on_log(trainer, decisions, base=BASE, rules=RULES, cards=CARDS, seed=0).artefact
        )
        for trainer in ("linucb", "thompson")
    }
    assert kinds["linucb"]["exploration"]["method"] == "ucb"
    assert kinds["thompson"]["exploration"]["method"] == "thompson"
    assert kinds["linucb"]["state"] == kinds["thompson"]["state"]


def test_what_was_learned_is_not_learned_twice():
    from pointsman.learn.training import observed

    decisions, _ = log(80, 4)
    trained = train_on_log("thompson", decisions, base=BASE, rules=RULES, cards=CARDS, seed=0)
    policy = load_policy("learned", trained.artefact, version="x@1", base=RULES, card_of=CARDS.get,
                         clock=lambda: 1_000_100.0)  # fmt: skip
    probe = decisions[0]
    arms = [arm_again(one, probe.signals, CARDS[one.model]) for one in probe.candidates]
    before = policy.predict(arms, probe.signals)
    policy.bank.fold(observed(decisions), 1_000_100.0)
    assert policy.predict(arms, probe.signals) == before
    (seen,) = observed([probe])
    later = msgspec.structs.replace(seen, decision_id="dec_new", at=1_000_090.0, success=0.0)
    policy.bank.fold([later], 1_000_100.0)
    assert policy.predict(arms, probe.signals) != before


def test_what_a_decision_tells_of_single_models():
    from pointsman.learn.training import observed

    plain = log(80, 4)[0][0]
    plain = msgspec.structs.replace(
        plain, model="lan:small", answered_by="far:large", status="ok", success=1.0, weight=1.0, source="feedback"
    )
    assert [(one.model, one.success) for one in observed([plain])] == [("far:large", 1.0)], "after a fallback"
    assert observed([msgspec.structs.replace(plain, joint=True)]) == [], "one went on with the other's"
    unjudged = msgspec.structs.replace(plain, success=None, weight=0.0, source=None)
    failed = msgspec.structs.replace(unjudged, status="error", answered_by="far:large", joint=True)
    assert [(one.model, one.success) for one in observed([failed])] == [("lan:small", 0.0)], "the plan came to nothing"

    kept_back = msgspec.structs.replace(plain, id="dec_kept", rejected=0.2)
    assert [one.model for one in observed([kept_back])] == ["far:large"], "nobody knows how right verdicts are"
    told = [
        msgspec.structs.replace(
            plain, id=f"dec_{number}", verdict=0.8, success=float(number < 57), answered_by="lan:small"
        )
        for number in range(60)
    ]
    *_, large, small = observed([*told, kept_back])
    assert (large.model, large.success, large.weight) == ("far:large", 1.0, 1.0)
    assert (small.model, small.success, small.source) == ("lan:small", 0.2, "implicit")
    assert 0.5 < small.weight < 0.9
    assert small.decision_id != large.decision_id
    silent = msgspec.structs.replace(unjudged, id="dec_silent", rejected=0.2)
    assert len(observed([*told, silent])) == 60, "nobody judged the answer that was told in its place"


def test_doubly_robust_rewards_have_the_mean_of_the_truth():
    decisions, success = log(2000, 5, share=0.3)
    problem = pose_log(decisions, weights=RewardWeights(latency_penalty=0.0), rng=np.random.default_rng(0))
    truth = success - PER_DOLLAR * np.array(COSTS) / 1e6
    order = [problem.models.index(model) for model in MODELS]
    assert problem.rewards.mean(axis=0)[order] == pytest.approx(truth.mean(axis=0), abs=0.05)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda one, at: msgspec.structs.replace(one, success=None, weight=0.0), "0 of 120 decisions .* at least 40"),
        (lambda one, at: msgspec.structs.replace(one, success=1.0), "success of 1"),
        (lambda one, at: msgspec.structs.replace(one, mode="forced"), "0 of 0 decisions"),
        (
            lambda one, at: msgspec.structs.replace(
                one, model="lan:small", answered_by="lan:small",
                candidates=tuple(msgspec.structs.replace(c, propensity=float(c.model == "lan:small"))
                                 for c in one.candidates),
            ),
            "of one model alone nothing",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_from_is_refused(spoil, says):
    decisions = [spoil(one, at) for at, one in enumerate(log(120, 6)[0])]
    with pytest.raises(InvalidRequest, match=says):
        train_on_log("thompson", decisions, base=BASE, rules=RULES, cards=CARDS, seed=0)


def test_models_that_are_gone_are_left_out():
    decisions, _ = log(200, 7)
    renamed = [
        msgspec.structs.replace(one, model="far:gone", answered_by="far:gone") if at < 60 else one
        for at, one in enumerate(decisions)
    ]
    renamed = [
        msgspec.structs.replace(
            one,
            candidates=tuple(
                msgspec.structs.replace(c, model="far:gone") if c.model == "far:large" else c for c in one.candidates
            ),
        )
        if one.model == "far:gone"
        else one
        for one in renamed
    ]
    trained = train_on_log("thompson", renamed, base=BASE, rules=RULES, cards=CARDS, seed=0)
    state = msgspec.json.decode(trained.artefact)["state"]
    assert set(state) == set(MODELS)
    assert trained.report.models["far:gone"] == 60


def test_distilling_wants_a_table():
    with pytest.raises(InvalidRequest, match="--data"):
        train_on_log("distill", log(50, 8)[0], base=BASE, rules=RULES, cards=CARDS, seed=0)
