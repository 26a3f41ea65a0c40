"""What every decision log does, in SQLite, in Postgres and in memory."""

from __future__ import annotations

import msgspec
import pytest

from pointsman.core.caller import Caller
from pointsman.core.decision import Decision
from pointsman.core.errors import StoreError
from pointsman.core.outcome import Edit, Feedback, Outcome, SuiteResult
from pointsman.core.ports import DecisionLog

from .entries import decision, outcome, plain

ALICE = Caller(key_id="key_a", admin=False)
BOB = Caller(key_id="key_b", admin=False)


async def test_the_record_says_everything_that_was_logged(log: DecisionLog):
    chosen, ended = decision(), outcome()
    said = Feedback(
        decision_id=chosen.id,
        score=0.5,
        thumb="up",
        outcome="partial",
        tests=SuiteResult(passed=3, failed=0),
        edit=Edit(accepted=False, kept_share=0.0),
        comment="naja\n",
        created_at=1.5,
    )
    log.decided(chosen, prompt=None)
    log.ended(chosen.id, ended)
    await log.feedback(said)
    assert await log.get(chosen.id) == {"decision": plain(chosen), "outcome": plain(ended), "feedback": plain(said)}


@pytest.mark.parametrize(("kind", "value"), [(Decision, decision()), (Outcome, outcome())])
def test_the_entries_of_these_tests_leave_no_field_at_its_default(kind, value):
    # So that a field which the tables do not have makes the test above fail.
    for field in msgspec.structs.fields(kind):
        if field.default_factory is not msgspec.NODEFAULT:
            assert getattr(value, field.name) != field.default_factory()
        elif field.default is not msgspec.NODEFAULT:
            assert getattr(value, field.name) != field.default, field.name


async def test_a_record_without_an_end_or_feedback_says_so(log: DecisionLog):
    chosen = decision(key_id=None, estimated_cost_micro_usd=None, stream=False, candidates=())
    log.decided(chosen, prompt=None)
    assert await log.get(chosen.id) == {"decision": plain(chosen), "outcome": None, "feedback": None}


async def test_an_outcome_of_nothing_but_its_status(log: DecisionLog):
    chosen, ended = decision(), Outcome(status="cancelled")
    log.decided(chosen, prompt=None)
    log.ended(chosen.id, ended)
    record = await log.get(chosen.id)
    assert record is not None
    assert record["outcome"] == plain(ended)


async def test_what_is_unknown_is_none(log: DecisionLog):
    assert await log.get("dec_nothing") is None
    log.ended("dec_nothing", outcome(answer_id="never"))
    assert await log.get("never") is None
    assert await log.recent(10) == []


async def test_an_answer_is_found_by_its_own_id_and_the_latest_of_several(log: DecisionLog):
    first, second = decision(), decision()
    for one in (second, first):  # written in the other order
        log.decided(one, prompt=None)
        log.ended(one.id, outcome(answer_id="chatcmpl-1"))
    record = await log.get("chatcmpl-1")
    assert record is not None
    assert record["decision"]["id"] == second.id


async def test_a_caller_sees_its_own_records_alone(log: DecisionLog):
    mine, open_port = decision(key_id="key_a"), decision(key_id=None)
    for one in (mine, open_port):
        log.decided(one, prompt=None)
        log.ended(one.id, outcome())

    async def seen(caller: Caller | None) -> list[str]:
        return [record["decision"]["id"] for record in await log.recent(10, caller=caller)]

    assert await seen(ALICE) == [mine.id]
    assert await seen(BOB) == []
    assert await seen(Caller()) == await seen(None) == [open_port.id, mine.id]
    for identifier in (mine.id, "chatcmpl-7"):
        assert await log.get(identifier, caller=BOB) is None
        record = await log.get(identifier, caller=ALICE)
        assert record is not None
        assert record["decision"]["id"] == mine.id


async def test_a_later_answer_of_another_key_does_not_hide_mine(log: DecisionLog):
    mine, theirs = decision(key_id="key_a"), decision(key_id="key_b")
    for one in (mine, theirs):
        log.decided(one, prompt=None)
        log.ended(one.id, outcome(answer_id="chatcmpl-417"))
    record = await log.get("chatcmpl-417", caller=ALICE)
    assert record is not None
    assert record["decision"]["id"] == mine.id


async def test_the_latest_come_first_and_no_more_than_asked_for(log: DecisionLog):
    made = [decision() for _ in range(5)]
    for one in made:
        log.decided(one, prompt=None)
    found = [record["decision"]["id"] for record in await log.recent(3)]
    assert found == [made[4].id, made[3].id, made[2].id]


async def test_feedback_replaces_earlier_feedback_whole(log: DecisionLog):
    chosen = decision()
    log.decided(chosen, prompt=None)
    await log.feedback(Feedback(decision_id=chosen.id, score=0.1, thumb="down", comment="no"))
    later = Feedback(decision_id=chosen.id, outcome="success", created_at=9.0)
    await log.feedback(later)
    record = await log.get(chosen.id)
    assert record is not None
    assert record["feedback"] == plain(later)


async def test_feedback_for_nothing_is_refused(log: DecisionLog):
    with pytest.raises(StoreError, match="no decision dec_nothing"):
        await log.feedback(Feedback(decision_id="dec_nothing", score=1.0))


async def test_the_same_decision_twice_is_one(log: DecisionLog):
    chosen = decision()
    log.decided(chosen, prompt=None)
    log.decided(chosen, prompt=None)
    assert len(await log.recent(10)) == 1
    assert log.status().dropped == 0
