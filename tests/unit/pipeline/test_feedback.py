"""Feedback: what is taken, what is refused, and whose it may be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.caller import Caller
from pointsman.core.decision import Decision
from pointsman.core.errors import InvalidRequest, NotFound
from pointsman.core.outcome import Edit, Outcome, SuiteResult
from pointsman.core.ports import SystemClock
from pointsman.pipeline.record import FeedbackRequest, FeedbackStage
from pointsman.pipeline.record.feedback import PARTS
from pointsman.pipeline.record.meter import NOTHING_UNDERSTOOD
from pointsman.testing.memory_log import MemoryDecisionLog

ALICE, BOB = Caller(key_id="key_a", admin=False), Caller(key_id="key_b", admin=False)


def parse(body: object) -> FeedbackRequest:
    return FeedbackRequest.parse(json.dumps(body).encode())


@pytest.mark.parametrize(
    "said", [{"score": 0}, {"score": 1}, {"score": 0.5, "comment": ""}, {"thumb": "up"}, {"outcome": "partial"}]
)
def test_each_kind_alone_will_do(said: dict[str, Any]):
    request = parse({"id": "dec_1", **said})
    assert {name: getattr(request, name) for name in said} == said


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"score": 1}, "id"),
        ({"id": "", "score": 1}, "id"),
        ({"id": "x" * 201, "score": 1}, "id"),
        ({"id": 7, "score": 1}, "id"),
        ({"id": "dec_1"}, "score"),
        ({"id": "dec_1", "comment": "alone"}, "score"),
        ({"id": "dec_1", "score": 1.01}, "score"),
        ({"id": "dec_1", "score": -0.01}, "score"),
        ({"id": "dec_1", "score": True}, "score"),
        ({"id": "dec_1", "score": "1"}, "score"),
        ({"id": "dec_1", "tests": {"passed": 1}}, "tests.failed"),
        ({"id": "dec_1", "tests": {"failed": 1}}, "tests.passed"),
        ({"id": "dec_1", "tests": {"passed": 0, "failed": 0}}, "tests"),
        ({"id": "dec_1", "tests": {"passed": 2, "total": 1}}, "tests.passed"),
        ({"id": "dec_1", "tests": {"passed": 2, "failed": 1, "total": 4}}, "tests.total"),
        ({"id": "dec_1", "tests": {"passed": -1, "failed": 1}}, "tests.passed"),
        ({"id": "dec_1", "tests": {"passed": 1.5, "failed": 1}}, "tests.passed"),
        ({"id": "dec_1", "tests": {"passed": 10**7, "failed": 1}}, "tests.passed"),
        ({"id": "dec_1", "tests": {"passed": 10**30, "failed": 1}}, "tests.passed"),
        ({"id": "dec_1", "tests": [1, 2]}, "tests"),
        ({"id": "dec_1", "edit": {}}, "edit.accepted"),
        ({"id": "dec_1", "edit": {"accepted": 1}}, "edit.accepted"),
        ({"id": "dec_1", "edit": {"accepted": True, "kept_share": 1.1}}, "edit.kept_share"),
        ({"id": "dec_1", "edit": {"accepted": True, "kept_share": -0.1}}, "edit.kept_share"),
        ({"id": "dec_1", "edit": {"accepted": True, "kept": 1}}, "edit"),
        ({"id": "dec_1", "thumb": "sideways"}, "thumb"),
        ({"id": "dec_1", "outcome": "ok"}, "outcome"),
        ({"id": "dec_1", "score": 1, "comment": "x" * 4001}, "comment"),
        ({"id": "dec_1", "score": 1, "comments": "misspelt"}, None),
        ([], None),
    ],
)
def test_what_is_wrong_is_named(body: object, param: str | None):
    with pytest.raises(InvalidRequest) as raised:
        parse(body)
    assert raised.value.param == param


def test_a_missing_id_and_an_unknown_field_are_named_in_the_message():
    with pytest.raises(InvalidRequest, match="`id`"):
        parse({"score": 1})
    with pytest.raises(InvalidRequest, match="`comments`"):
        parse({"id": "dec_1", "score": 1, "comments": ""})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["id", "score", "thumb", "outcome", "tests", "edit", "comment", "else"])


@given(st.binary(max_size=60) | st.dictionaries(FIELDS, JSON).map(lambda body: json.dumps(body).encode()))
def test_any_body_is_taken_or_refused_by_name(body: bytes):
    try:
        request = FeedbackRequest.parse(body)
    except InvalidRequest:
        return
    assert 1 <= len(request.id) <= 200
    assert request.score is None or 0 <= request.score <= 1
    assert {getattr(request, part) for part in PARTS} != {None}
    assert len(request.comment or "") <= 4000


@given(
    score=st.none() | st.floats(0, 1),
    thumb=st.sampled_from([None, "up", "down"]),
    outcome=st.sampled_from(["success", "failure", "partial"]),
    comment=st.none() | st.text(max_size=4000),
)
def test_what_is_right_is_taken_whole(**said: Any):
    text = said["comment"]
    if text is not None and not text.isprintable() and any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        return  # half a surrogate pair is not text
    request = parse({"id": "dec_1", **said})
    assert {name: getattr(request, name) for name in said} == said


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":"a","score":NaN}',
        b'{"id":"a","score":1e999}',
        b'{"id":"a","score":Infinity}',
        b"",
        b"{",
        b"\xff",
        b'"x"',
        b"[" * 100_000,
        b'{"id":"a","score":1,"comment":"\\ud800"}',
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes):
    with pytest.raises(InvalidRequest):
        FeedbackRequest.parse(body)


@pytest.fixture
def log() -> MemoryDecisionLog:
    log = MemoryDecisionLog()
    for key in ("a", "b"):
        decision = Decision(
            id=f"dec_{key}",
            created_at=1.0,
            model="lan:m",
            plan=("lan:m",),
            mode="auto",
            requested_model="auto",
            candidates=(),
            dropped=(),
            propensity=1.0,
            policy="rules@1",
            reasons=(),
            signals=NOTHING_UNDERSTOOD,
            estimated_cost_micro_usd=None,
            key_id=f"key_{key}",
        )
        log.decided(decision, prompt=None)
        log.ended(decision.id, Outcome(status="ok", answer_id=f"chatcmpl-{key}"))
    return log


async def test_feedback_by_the_answers_id_is_kept_for_its_decision(log: MemoryDecisionLog):
    stage = FeedbackStage(log=log, clock=SystemClock())
    kept = await stage(parse({"id": "chatcmpl-a", "score": 0.25, "comment": "meh"}), ALICE)
    assert log.feedbacks == {"dec_a": kept}
    assert (kept.decision_id, kept.score, kept.comment) == ("dec_a", 0.25, "meh")
    assert kept.created_at > 0


async def test_twice_replaces(log: MemoryDecisionLog):
    stage = FeedbackStage(log=log, clock=SystemClock())
    await stage(parse({"id": "dec_a", "thumb": "down"}), ALICE)
    await stage(parse({"id": "chatcmpl-a", "outcome": "success"}), Caller())
    assert (log.feedbacks["dec_a"].thumb, log.feedbacks["dec_a"].outcome) == (None, "success")


async def test_test_results_and_edits_are_kept_in_one_form(log: MemoryDecisionLog):
    stage = FeedbackStage(log=log, clock=SystemClock())
    for tests in ({"passed": 3, "failed": 1}, {"passed": 3, "total": 4}, {"passed": 3, "failed": 1, "total": 4}):
        kept = await stage(parse({"id": "dec_a", "tests": tests, "edit": {"accepted": True}}), ALICE)
        assert kept.tests == SuiteResult(passed=3, failed=1)
        assert kept.edit == Edit(accepted=True)


async def test_a_foreign_answer_cannot_be_told_from_none(log: MemoryDecisionLog):
    stage = FeedbackStage(log=log, clock=SystemClock())
    said = []
    for identifier in ("dec_a", "chatcmpl-a", "dec_nothing"):
        with pytest.raises(NotFound) as raised:
            await stage(parse({"id": identifier, "score": 1}), BOB)
        said.append((type(raised.value), raised.value.message, raised.value.param, raised.value.code))
    assert len(set(said)) == 1
    assert log.feedbacks == {}
