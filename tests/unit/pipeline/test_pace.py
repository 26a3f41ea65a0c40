"""Running measurements of speed and length: they replace priors, slowly, and know their spread."""

from __future__ import annotations

import math
import random

import pytest
from deciding import CHEAP, HOME, STRONG, signals

from pointsman.core.catalog import Catalog
from pointsman.core.outcome import Attempt, Outcome
from pointsman.core.signals import Intent
from pointsman.pipeline.decide import Decide, DecideRules, RulePolicy
from pointsman.pipeline.decide.pace import Paces, Running
from pointsman.pipeline.decide.predict import predict
from pointsman.pipeline.decide.speed import latency

CATALOG = Catalog([HOME, CHEAP, STRONG])


def decided(what, model):
    stage = Decide(rules=DecideRules(), policy=RulePolicy())
    return stage(model, what, catalog=CATALOG, unhealthy={}, key_id=None, now=1e9, stream=False)


def ended(model: str, *, tokens: int, seconds: float, status: str = "ok", reason: str = "stop") -> Outcome:
    attempt = Attempt(
        model=model, started_at=0.0, seconds=seconds, status="ok", prompt_tokens=2_000, completion_tokens=tokens
    )
    return Outcome(status=status, model=model, attempts=[attempt], finish_reason=reason)


def test_answers_longer_and_slower_than_expected_are_expected_so():
    what, paces = signals(expected_output=100), Paces()
    decision = decided(what, CHEAP.id)
    [before] = predict([CHEAP], what, paces)
    slow = 3 * latency(CHEAP, 2_000, 400)
    for _ in range(300):
        paces.told(decision, ended(CHEAP.id, tokens=400, seconds=slow), CATALOG)
    [after] = predict([CHEAP], what, paces)
    assert after.output_tokens == pytest.approx(400, rel=0.2)
    assert after.cost_micro_usd > before.cost_micro_usd
    assert after.latency_seconds == pytest.approx(slow, rel=0.25)
    # of another intent, band or model nothing was learned
    [other] = predict([CHEAP], signals(expected_output=100, intent=Intent.MATH), paces)
    assert other.output_tokens == before.output_tokens
    assert predict([HOME], what, paces) == predict([HOME], what)


def test_nine_of_ten_stay_below_the_high_figure():
    chance = random.Random(3)
    what, paces = signals(expected_output=200), Paces()
    decision = decided(what, CHEAP.id)
    lengths = [max(1, int(chance.lognormvariate(5.0, 0.8))) for _ in range(2_000)]
    for tokens in lengths[:1_000]:
        paces.told(decision, ended(CHEAP.id, tokens=tokens, seconds=latency(CHEAP, 2_000, tokens)), CATALOG)
    length = paces.lengths[CHEAP.id, None, what.intent]
    below = sum(tokens <= 200 * length.high for tokens in lengths[1_000:]) / 1_000
    assert 0.86 <= below <= 0.94
    assert 200 * length.expected == pytest.approx(sum(lengths[1_000:]) / 1_000, rel=0.2)


GUESSED = ended(CHEAP.id, tokens=400, seconds=1.0)
GUESSED.attempts[-1].estimated = True


@pytest.mark.parametrize(
    "outcome",
    [
        ended(CHEAP.id, tokens=400, seconds=1.0, status="error"),
        ended(CHEAP.id, tokens=400, seconds=1.0, status="cancelled"),
        ended(CHEAP.id, tokens=0, seconds=1.0),
        ended(CHEAP.id, tokens=400, seconds=0.0),
        ended(CHEAP.id, tokens=400, seconds=-5.0),
        ended("gone:model", tokens=400, seconds=1.0),
        Outcome(status="ok", model=CHEAP.id),
        GUESSED,
    ],
)
def test_what_says_nothing_teaches_nothing(outcome):
    what, paces = signals(expected_output=100), Paces()
    paces.told(decided(what, CHEAP.id), outcome, CATALOG)
    assert predict([CHEAP], what, paces) == predict([CHEAP], what)


def test_an_answer_that_was_cut_says_nothing_of_its_length():
    what, paces = signals(expected_output=100), Paces()
    for _ in range(50):
        paces.told(decided(what, CHEAP.id), ended(CHEAP.id, tokens=900, seconds=9.0, reason="length"), CATALOG)
    assert not paces.lengths
    assert paces.times


def test_one_answer_moves_little_and_old_ones_are_forgotten():
    running = Running()
    running.observe(math.exp(3.0))
    assert 0.0 < running.mean - Running().mean < 0.3
    for _ in range(2_000):
        running.observe(math.exp(3.0))
    assert running.mean == pytest.approx(3.0, abs=0.05)
    for _ in range(1_000):
        running.observe(math.exp(-1.0))
    assert running.mean == pytest.approx(-1.0, abs=0.05)


def test_the_callers_bound_bounds_what_is_expected():
    [free] = predict([CHEAP], signals(expected_output=100), Paces())
    [bound] = predict([CHEAP], signals(expected_output=100, max_output=120), Paces())
    assert bound.output_tokens == free.output_tokens
    assert bound.cost_high_micro_usd == CHEAP.cost_micro_usd(2_000, 120) < free.cost_high_micro_usd
