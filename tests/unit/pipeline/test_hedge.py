"""A second model is asked when the first is slower to begin than it nearly always is."""

from __future__ import annotations

import asyncio

import pytest
from test_cascade import candidates, chunk, told
from test_execute_and_record import CATALOG, REQUEST, Log, Script, decision

from pointsman.core.errors import UpstreamBroken, UpstreamConnectError, UpstreamStatus
from pointsman.core.events import Frames
from pointsman.core.ports import SystemClock, Timeouts
from pointsman.core.trail import Trail
from pointsman.pipeline.execute import Escalation, Execute, ExecutionRules, Hedging
from pointsman.pipeline.execute.hedge import ENOUGH, REMEMBERED, FirstBytes, Hedges
from pointsman.pipeline.execute.order import Retries
from pointsman.pipeline.record import Record

SOON = 0.05
"""What the first model nearly always takes, in the tests."""


class Setup:
    def __init__(
        self, plan: dict[str, Script], *, retries: int = 0, escalation: Escalation | None = None, **rules
    ) -> None:
        self.plan = plan
        rules = {"enabled": True, "share": 1.0, **rules}
        self.execute = Execute(
            provider_for=lambda card: plan[card.id],
            timeouts=Timeouts(),
            clock=SystemClock(),
            rules=ExecutionRules(
                hedging=Hedging(**rules),
                escalation=escalation or Escalation(),
                retries=Retries(most=retries, pause=0.01),
            ),
        )
        for _ in range(ENOUGH):
            self.execute._hedges.first_bytes.told("a:cheap", SOON)

    async def play(self, *, purse=None, escalate: bool | None = None, **changes):
        log = Log()
        chosen = decision(*self.plan, candidates=candidates(cheap=0.5, strong=0.6), **changes)
        trail = Trail(SystemClock())
        events, error = [], None
        answer = self.execute(chosen, REQUEST, catalog=CATALOG, trail=trail, purse=purse, escalate=escalate)
        watched = Record(log=log, clock=SystemClock()).watch(chosen, REQUEST, trail, answer)
        try:
            events = [event.raw async for event in watched]
        except Exception as raised:
            error = raised
        return events, error, log.outcomes[0][1]


async def test_who_begins_first_answers_and_the_other_is_cancelled():
    slow, quick = Script(30.0, Frames(b"late")), Script(Frames(b"here"), Frames(b"more"))
    events, error, outcome = await Setup({"a:cheap": slow, "b:strong": quick}).play()
    assert error is None
    assert events == [b"here", b"more"]
    assert told(outcome) == [("a:cheap", "cancelled"), ("b:strong", "ok")]
    assert outcome.model == "b:strong"
    assert slow.closed == 1
    assert outcome.attempts[0].seconds < 10


async def test_a_first_that_begins_after_all_is_the_answer():
    slow, slower = Script(0.3, Frames(b"mine")), Script(30.0, Frames(b"no"))
    events, _, outcome = await Setup({"a:cheap": slow, "b:strong": slower}).play()
    assert events == [b"mine"]
    assert told(outcome) == [("b:strong", "cancelled"), ("a:cheap", "ok")]
    assert slower.closed == 1


async def test_a_first_in_time_is_alone():
    second = Script(Frames(b"no"))
    _, _, outcome = await Setup({"a:cheap": Script(Frames(b"mine")), "b:strong": second}).play()
    assert not second.calls
    assert told(outcome) == [("a:cheap", "ok")]


async def test_a_second_that_fails_leaves_the_first_to_answer():
    plan = {"a:cheap": Script(0.3, Frames(b"mine")), "b:strong": Script(UpstreamConnectError())}
    events, error, _ = await Setup(plan).play()
    assert error is None
    assert events == [b"mine"]


async def test_a_first_that_fails_late_leaves_the_second_to_answer():
    plan = {"a:cheap": Script(0.2, UpstreamStatus(500, b"")), "b:strong": Script(0.5, Frames(b"second"))}
    events, error, outcome = await Setup(plan).play()
    assert error is None
    assert events == [b"second"]
    assert told(outcome) == [("a:cheap", "error"), ("b:strong", "ok")]


async def test_when_both_fail_the_first_ones_error_is_told_and_nobody_is_asked_twice():
    second = Script(UpstreamConnectError())
    plan = {"a:cheap": Script(0.2, UpstreamStatus(500, b"")), "b:strong": second}
    _, error, outcome = await Setup(plan).play()
    assert isinstance(error, UpstreamStatus)
    assert len(second.calls) == 1
    assert len(outcome.attempts) == 2


async def test_whoever_leaves_closes_both():
    first, second = Script(30.0), Script(30.0)
    setup = Setup({"a:cheap": first, "b:strong": second})
    task = asyncio.create_task(setup.play())
    await asyncio.sleep(0.4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (first.closed, second.closed) == (1, 1)


@pytest.mark.parametrize("last", ["a:cheap", "b:strong"])
async def test_who_was_called_off_goes_on_when_the_quicker_one_breaks_off(last):
    first, second = chunk("one "), chunk("two", "stop")
    quick, called_off = Script(first, UpstreamBroken()), Script(30.0)
    if last == "a:cheap":
        plan = {"a:cheap": called_off, "b:strong": quick}
    else:
        quick.steps = (0.3, *quick.steps)
        plan = {"a:cheap": quick, "b:strong": called_off}
    setup = Setup(plan)
    slow = called_off.chat

    async def then(call):
        called_off.steps = (30.0,) if not called_off.calls else (second,)
        async for event in slow(call):
            yield event

    called_off.chat = then
    events, error, outcome = await setup.play()
    assert error is None
    assert b"".join(events).count(b'"id":"x"') == 2
    assert told(outcome) == [(last, "cancelled"), (next(m for m in plan if m != last), "error"), (last, "ok")]


async def test_a_first_that_fails_while_another_answers_is_asked_again_only_where_that_helps():
    """It refused the request, so that it cannot go on with the answer either."""
    first = Script(0.2, UpstreamStatus(400, b"{}"))
    plan = {"a:cheap": first, "b:strong": Script(0.4, chunk("one "), UpstreamBroken())}
    _, error, _ = await Setup(plan, retries=1).play()
    assert isinstance(error, UpstreamBroken)
    assert len(first.calls) == 1


async def test_what_the_slow_would_have_taken_is_not_forgotten():
    """Else the slowest were never among those that the percentile is told from, and it would sink."""
    setup = Setup({"a:cheap": Script(30.0), "b:strong": Script(Frames(b"here"))})
    before = len(setup.execute._hedges.first_bytes._order["a:cheap"])
    await setup.play()
    remembered = setup.execute._hedges.first_bytes._order["a:cheap"]
    assert len(remembered) == before + 1
    assert remembered[-1] >= SOON


async def test_a_model_that_was_tried_by_chance_is_left_alone():
    second = Script(Frames(b"no"))
    await Setup({"a:cheap": Script(0.2, Frames(b"mine")), "b:strong": second}).play(explored=True)
    assert not second.calls


async def test_the_unconvincing_answer_does_not_come_back_beside_the_stronger_one():
    weak = [chunk("I cannot say. ") for _ in range(30)]
    cheap, strong = Script(*weak), Script(0.3, chunk("sure", "stop"))
    setup = Setup({"a:cheap": cheap, "b:strong": strong}, escalation=Escalation(threshold=1.0, hold_tokens=10))
    for _ in range(ENOUGH):
        setup.execute._hedges.first_bytes.told("b:strong", SOON)
    events, error, outcome = await setup.play(escalate=True)
    assert error is None
    assert len(events) == 1
    assert told(outcome) == [("a:cheap", "escalated"), ("b:strong", "ok")]


async def test_no_second_is_asked_while_money_for_the_first_is_still_asked_for():
    """What both may cost would be reserved as if there were one."""

    class Slow:
        async def covers(self, card, trail) -> bool:
            await asyncio.sleep(0.3 if card.id == "a:cheap" else 0)
            return True

    second = Script(Frames(b"no"))
    events, _, _ = await Setup({"a:cheap": Script(Frames(b"mine")), "b:strong": second}).play(purse=Slow())
    assert events == [b"mine"]
    assert not second.calls


def test_attempts_after_the_first_do_not_raise_the_share():
    hedges = Hedges(lambda: Hedging(enabled=True, share=0.5))
    for _ in range(ENOUGH):
        hedges.first_bytes.told("a:cheap", SOON)
    assert hedges.after("a:cheap") is None
    assert hedges.after("a:cheap", first=False) is None
    assert hedges.after("a:cheap") is not None


@pytest.mark.parametrize("rules", [{"enabled": False}, {"most_micro_usd": 9}, {"share": 0.0}])
async def test_nobody_is_hedged_beyond_the_settings(rules):
    second = Script(Frames(b"no"))
    await Setup({"a:cheap": Script(0.2, Frames(b"mine")), "b:strong": second}, **rules).play()
    assert not second.calls


def test_the_share_is_kept_to():
    rules = Hedging(enabled=True, share=0.05)
    hedges = Hedges(lambda: rules)
    for _ in range(ENOUGH):
        hedges.first_bytes.told("a:cheap", SOON)
    asked = 0
    for _ in range(1000):
        if hedges.after("a:cheap") is not None:
            asked += 1
            hedges.spent()
    assert 45 <= asked <= 51


def test_the_percentile_is_of_the_latest():
    first = FirstBytes()
    for _ in range(ENOUGH - 1):
        first.told("m", 1.0)
    assert first.slow("m") is None
    first.told("m", 1.0)
    assert first.slow("m") == 1.0
    for number in range(REMEMBERED):
        first.told("m", float(number))
    assert first.slow("m") == 95.0
