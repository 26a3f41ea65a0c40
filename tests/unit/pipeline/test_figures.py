"""Sums over past requests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.figures import Figure
from pointsman.core.outcome import Attempt, Feedback, Outcome, SuiteResult
from pointsman.pipeline.record import Tally
from pointsman.pipeline.record.figures import average, measure, percentile, savings, shares


def figure(**fields: Any) -> Figure:
    usual: dict[str, Any] = {
        "created_at": 1.0, "model": "a:x", "answered_by": "a:x", "mode": "auto", "intent": "general", "stream": False,
        "status": "ok", "seconds": 2.0, "first_byte_seconds": 2.0, "completion_tokens": 100,
    }  # fmt: skip
    return Figure(**{**usual, **fields})


def chosen_among(*candidates: tuple[str, float, int | None], **fields: Any) -> Figure:
    told = [{"model": name, "quality": quality, "cost_micro_usd": cost} for name, quality, cost in candidates]
    return figure(candidates=json.dumps(told), **fields)


def test_speed_is_of_answers_that_the_model_gave_itself():
    found = measure(
        [
            figure(),
            figure(stream=True, seconds=3.0, first_byte_seconds=1.0, completion_tokens=300),
            figure(status="error", seconds=99.0),
            figure(answered_by="b:y", seconds=99.0),  # the time of the failed attempt is in it
            figure(status=None, seconds=None),
        ]
    )
    assert set(found) == {"a:x"}
    measured = found["a:x"]
    assert measured.requests == 2
    assert measured.response_seconds == 2.5
    assert measured.first_byte_seconds == 1.0
    assert measured.tokens_per_second == 400 / 4.0


def test_what_was_not_measured_is_none():
    measured = measure([figure(completion_tokens=None)])["a:x"]
    assert measured.tokens_per_second is None
    assert measured.first_byte_seconds is None
    assert measure([]) == {}
    at_once = figure(stream=True, seconds=1.0, first_byte_seconds=1.0)
    assert measure([at_once])["a:x"].tokens_per_second is None


def test_savings_are_against_the_strongest():
    found = savings(
        [
            chosen_among(("a:x", 0.5, 10), ("b:y", 0.9, 100), ("c:z", 0.95, None)),  # of unknown price none is the base
            chosen_among(("a:x", 0.9, 60), ("b:y", 0.9, 40)),  # of equal ones the dearest: itself
            chosen_among(("a:x", 0.5, 90), ("b:y", 0.9, 30)),  # dearer than the strongest
            chosen_among(("a:x", 0.5, 10), ("b:y", 0.9, 100), mode="forced"),
            chosen_among(("a:x", 0.5, 10), ("b:y", 0.9, 100), status="error"),
            chosen_among(("b:y", 0.9, 100)),
            figure(),
        ]
    )
    assert found is not None
    assert (found.micro_usd, found.baseline_micro_usd, found.decisions) == (90 + 0 - 60, 100 + 60 + 30, 3)
    assert (found.low_micro_usd, found.high_micro_usd) == (None, None)
    assert savings([figure()]) is None


def test_savings_of_enough_decisions_have_an_interval():
    """Twenty times 90, twenty times 0: a deviation of 45.57."""
    cheap, dear = ("a:x", 0.5, 10), ("b:y", 0.9, 100)
    found = savings([chosen_among(cheap, dear), chosen_among(cheap, dear, answered_by="b:y")] * 20)
    assert (found.micro_usd, found.low_micro_usd, found.high_micro_usd) == (1800, 1800 - 565, 1800 + 565)


def test_turns_of_a_conversation_are_not_so_many_proofs():
    cheap, dear = ("a:x", 0.5, 10), ("b:y", 0.9, 100)
    alike = [chosen_among(cheap, dear, conversation=name) for name in map(str, range(20))]
    dearer = [chosen_among(cheap, dear, answered_by="b:y", conversation=name) for name in map(str, range(20, 40))]
    once, thrice = savings(alike + dearer), savings(3 * (alike + dearer))
    assert thrice.decisions == 3 * once.decisions
    # three times as much was saved, and no more is known of what comes next
    assert [thrice.low_micro_usd, thrice.high_micro_usd] == pytest.approx(
        [3 * once.low_micro_usd, 3 * once.high_micro_usd], abs=2
    )
    long = savings([chosen_among(cheap, dear, conversation="one") for _ in range(100)])
    assert (long.micro_usd, long.decisions, long.low_micro_usd) == (9000, 100, None)


@pytest.mark.parametrize(
    ("said", "judged"),
    [
        ({}, None),
        ({"score": 0.5}, True),
        ({"score": 0.4}, False),
        ({"score": 0.9, "thumb": "down"}, True),
        ({"thumb": "down", "outcome": "success"}, True),
        ({"outcome": "partial"}, None),
        ({"outcome": "partial", "thumb": "up"}, None),
        ({"tests": SuiteResult(passed=1, failed=3), "outcome": "success"}, False),
    ],
)
def test_the_plainest_word_counts(said, judged):
    feedback = Feedback(decision_id="dec_1", **said) if said else None
    assert figure(feedback=feedback).judged is judged


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_one_of_the_values_that_enough_do_not_exceed(values, rank):
    found = percentile(values, rank)
    assert found in values
    assert sum(value <= found for value in values) >= rank * len(values) - 1e-9
    assert sum(value < found for value in values) < rank * len(values) + 1e-9


def test_nothing_has_no_average():
    assert average([]) is percentile([], 0.5) is None
    assert shares([]) == {}
    assert shares(["a", "b", "a", "a"]) == {"a": 0.75, "b": 0.25}


def test_the_tally_counts_attempts_and_not_what_callers_pay_themselves():
    tally = Tally()
    for _ in range(2):
        tally.begin()
    assert tally.active == 2
    attempts = [
        Attempt(model="a:x", started_at=0, status="error", prompt_tokens=5, cost_micro_usd=7),
        Attempt(model="b:y", started_at=0, prompt_tokens=10, completion_tokens=2, cached_tokens=4, cost_micro_usd=9),
    ]
    tally.end(Outcome(status="ok", model="b:y", attempts=attempts, seconds=0.3, first_byte_seconds=0.02), stream=True)
    attempts[1].caller_key = True
    tally.end(Outcome(status="ok", model="b:y", attempts=attempts[1:], seconds=1e9), stream=False)
    tally.refuse(Outcome(status="refused"))
    assert tally.active == 0
    assert tally.requests == {("b:y", "ok"): 2, ("", "refused"): 1}
    assert tally.cost_micro_usd == {"a:x": 7, "b:y": 9}
    assert tally.tokens["b:y", "prompt"] == 20
    assert tally.tokens["b:y", "cached"] == 8
    histogram = tally.seconds["b:y"]
    assert (sum(histogram.counts), histogram.counts[-1]) == (2, 1)
    assert tally.first_byte["b:y"].counts[1] == 1
