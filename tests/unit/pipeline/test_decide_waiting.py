"""Time in queues is a part of what a model is expected to take, and said where it tips the choice."""

from __future__ import annotations

import pytest
from deciding import CATALOG, signals

from pointsman.pipeline.decide.policy import RulePolicy
from pointsman.pipeline.decide.stage import Decide, DecideRules


def decide(waits: dict[str, float], model: str = "auto", *, local_first: bool = False):
    stage = Decide(rules=DecideRules(), policy=RulePolicy(), waits=lambda key_id, tier: waits)
    return stage(
        model,
        signals(complexity=0.1),
        catalog=CATALOG,
        unhealthy={},
        key_id="key_1",
        now=1_700_000_000.0,
        stream=True,
        local_first=local_first,
    )


CALM = decide({})
FIRST = CALM.model


def candidate(decision, model: str):
    return next(one for one in decision.candidates if one.model == model)


def test_a_wait_is_added_to_the_time_of_every_model_of_the_engine():
    provider = FIRST.partition(":")[0]
    before, now = candidate(CALM, FIRST), candidate(decide({provider: 3.0}), FIRST)
    assert (before.queue_seconds, now.queue_seconds) == (0.0, 3.0)
    assert now.latency_seconds == pytest.approx(before.latency_seconds + 3.0)
    assert now.latency_high_seconds == pytest.approx(before.latency_high_seconds + 3.0)
    assert now.utility < before.utility
    for other in CALM.candidates:
        if not other.model.startswith(f"{provider}:"):
            assert candidate(decide({provider: 3.0}), other.model).utility == other.utility


@pytest.mark.parametrize("engine", [FIRST, FIRST.partition(":")[0]])
def test_a_long_wait_tips_the_choice_and_is_said(engine):
    decision = decide({engine: 120.0})
    assert decision.model != FIRST
    assert decision.reasons[1] == f"{FIRST} would have been chosen, but a request would wait about 120 s for it."


def test_a_wait_that_changes_nothing_is_not_spoken_of():
    assert decide({FIRST: 0.001}).model == FIRST
    assert not any("would wait" in reason for reason in decide({FIRST: 0.001}).reasons)
    last = CALM.candidates[-1].model
    assert decide({last: 500.0}).reasons[0] == CALM.reasons[0]
    assert not any("would wait" in reason for reason in decide({last: 500.0}).reasons)


def test_who_names_a_model_gets_it_however_long_it_takes():
    assert decide({FIRST: 500.0}, FIRST).model == FIRST
