"""A cheap model's answer is judged before it is told, and a stronger model takes over where it is not convincing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from functools import cache

import msgspec
import pytest
from test_execute_and_record import CATALOG, Log, Script, decision

from pointsman.core.budget import Purse
from pointsman.core.decision import Candidate
from pointsman.core.errors import (
    CallerKeyRefused,
    UpstreamBroken,
    UpstreamConnectError,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.core.events import Body, Event, Frames, Usage
from pointsman.core.ports import ChatCall, SystemClock, Timeouts
from pointsman.core.request import ChatRequest
from pointsman.core.shared import StateUnavailable
from pointsman.core.trail import Trail
from pointsman.pipeline.execute import Escalation, Execute, ExecutionRules, cascade
from pointsman.pipeline.execute.cascade import stronger, without_logprobs
from pointsman.pipeline.execute.confidence import Verifier
from pointsman.pipeline.execute.confidence.model import Confidence
from pointsman.pipeline.execute.order import Retries
from pointsman.pipeline.record import Record

GOOD = "The capital of France is Paris."
USELESS = "Sure! Here you are: nothing."
FIELDS = {"messages": [{"role": "user", "content": "as JSON, please"}], "response_format": {"type": "json_object"}}
JSON = '{"capital": "Paris"}'


def candidates(**quality: float) -> tuple[Candidate, ...]:
    names = {"cheap": "a:cheap", "strong": "b:strong", "unpriced": "c:unpriced"}
    return tuple(
        Candidate(model=names[name], quality=value, cost_micro_usd=10, latency_seconds=1.0, utility=value)
        for name, value in quality.items()
    )


def body(text: str, **more) -> Body:
    whole = {"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, **more}]}
    return Body(msgspec.json.encode(whole), usage=Usage(10, 5), finish_reason="stop")


def chunk(text: str, finish: str | None = None, **more) -> Frames:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish, **more}
    return Frames(b"data: " + msgspec.json.encode({"id": "x", "choices": [choice]}) + b"\n\n", finish_reason=finish)


def said(events: list[Event]) -> str:
    text = ""
    for event in events:
        if isinstance(event, Body):
            text += msgspec.json.decode(event.raw)["choices"][0]["message"]["content"]
            continue
        for frame in event.raw.split(b"\n\n"):
            if frame:
                text += msgspec.json.decode(frame[6:])["choices"][0]["delta"].get("content") or ""
    return text


async def play(
    plan: dict[str, Script],
    *,
    stream: bool = False,
    escalate: bool | None = True,
    rules: Escalation | None = None,
    quality: dict[str, float] | None = None,
    retries: int = 0,
    timeout: float | None = None,
    **changes,
):
    execute = Execute(
        provider_for=lambda card: plan[card.id],
        timeouts=Timeouts(),
        clock=SystemClock(),
        rules=ExecutionRules(escalation=rules or Escalation(threshold=0.2), retries=Retries(most=retries)),
    )
    log = Log()
    chosen = decision(*plan, candidates=candidates(**(quality or {"cheap": 0.5, "strong": 0.9})), **changes)
    request = ChatRequest.build({**FIELDS, "stream": stream})
    trail = Trail(SystemClock())
    events, error = [], None
    watched = Record(log=log, clock=SystemClock()).watch(
        chosen,
        request,
        trail,
        execute(chosen, request, catalog=CATALOG, trail=trail, escalate=escalate, timeout=timeout),
    )
    try:
        events = [event async for event in watched]
    except Exception as raised:
        error = raised
    return events, error, log.outcomes[0][1]


def carried_out(plan: dict[str, Script], *, stream: bool = True, purse: Purse | None = None, **rules):
    """The events as they come, with every answer judged; and the trail."""
    execute = Execute(
        provider_for=lambda card: plan[card.id],
        timeouts=Timeouts(),
        clock=SystemClock(),
        rules=ExecutionRules(escalation=Escalation(enabled=True, **rules)),
    )
    chosen = decision(*plan, candidates=candidates(cheap=0.5, strong=0.9))
    trail = Trail(SystemClock())
    request = ChatRequest.build({**FIELDS, "stream": stream})
    return execute(chosen, request, catalog=CATALOG, trail=trail, purse=purse), trail


def told(outcome) -> list[tuple[str, str]]:
    return [(attempt.model, attempt.status) for attempt in outcome.attempts]


async def test_a_convincing_answer_is_told():
    strong = Script(body("{}"))
    events, error, outcome = await play({"a:cheap": Script(body(JSON)), "b:strong": strong})
    assert error is None
    assert said(events) == JSON
    assert not strong.calls
    assert told(outcome) == [("a:cheap", "ok")]


async def test_a_stronger_model_takes_over_and_both_are_paid_for():
    events, error, outcome = await play({"a:cheap": Script(body(USELESS)), "b:strong": Script(body(JSON))})
    assert error is None
    assert said(events) == JSON
    assert told(outcome) == [("a:cheap", "escalated"), ("b:strong", "ok")]
    assert outcome.cost_micro_usd == 20 + 200
    assert "JSON was asked for" in outcome.attempts[0].note


@pytest.mark.parametrize(
    "failure",
    [
        UpstreamConnectError(),
        UpstreamStatus(400, b"{}"),
        UpstreamTimeout("total", 1.0),
        CallerKeyRefused(),
        StateUnavailable(),
    ],
    ids=lambda error: error.code,
)
async def test_the_weak_answer_is_told_when_nobody_better_answers(failure):
    events, error, outcome = await play({"a:cheap": Script(body(USELESS)), "b:strong": Script(failure)})
    assert error is None
    assert said(events) == USELESS
    assert (outcome.status, outcome.model) == ("ok", "a:cheap"), "feedback on it is feedback on who wrote it"
    assert told(outcome) == [("b:strong", "error"), ("a:cheap", "escalated")]
    assert (outcome.prompt_tokens, outcome.cost_micro_usd) == (10, 20)


async def test_of_a_stream_nothing_is_told_before_it_convinces():
    cheap = [chunk(USELESS[at : at + 4]) for at in range(0, len(USELESS), 4)]
    strong = Script(chunk('{"capital": '), chunk('"Paris"}', "stop"))
    events, error, outcome = await play({"a:cheap": Script(*cheap, chunk("", "stop")), "b:strong": strong}, stream=True)
    assert error is None
    assert said(events) == JSON
    assert told(outcome) == [("a:cheap", "escalated"), ("b:strong", "ok")]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_judges_is_loaded_in_a_thread_and_awaited(monkeypatch, stream):
    threads = []

    @cache
    def load():
        time.sleep(0.05)
        threads.append(threading.current_thread())

    def judges(self, *, whole, prior=None):
        assert threads, "it is not loaded yet"
        return Confidence(1.0, ())

    monkeypatch.setattr(cascade, "load", load)
    monkeypatch.setattr(Verifier, "confidence", judges)
    for _ in range(2):
        answer = [chunk(JSON), chunk("", "stop")] if stream else [body(JSON)]
        events, error, _ = await play({"a:cheap": Script(*answer), "b:strong": Script(body("{}"))}, stream=stream)
        assert (said(events), error) == (JSON, None)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


async def test_a_stream_is_let_go_at_the_bound_of_tokens():
    text = '{"words": "' + "word " * 200 + '"}'
    cheap = Script(*(chunk(text[at : at + 5]) for at in range(0, len(text), 5)), chunk("", "stop"))
    strong = Script(chunk("{}", "stop"))
    rules = Escalation(threshold=0.2, hold_tokens=10)
    events, _, outcome = await play({"a:cheap": cheap, "b:strong": strong}, stream=True, rules=rules)
    assert said(events) == text
    assert not strong.calls
    assert told(outcome) == [("a:cheap", "ok")]


async def test_a_stream_that_dawdles_is_let_go_at_the_bound_of_time():
    arrived: list[float] = []
    loop = asyncio.get_running_loop()
    cheap = Script(chunk('{"a": '), 1.0, chunk("1}", "stop"))
    asked, _ = carried_out(
        {"a:cheap": cheap, "b:strong": Script(chunk("{}", "stop"))}, threshold=0.2, hold_seconds=0.05
    )
    events = []
    async for event in asked:
        arrived.append(loop.time())
        events.append(event)
    assert said(events) == '{"a": 1}'
    assert arrived[-1] - arrived[0] > 0.5, "the beginning did not wait for the rest"


async def test_whoever_leaves_while_it_is_held_back_closes_the_call():
    cheap = Script(chunk('{"a": '), 60.0)
    plan = {"a:cheap": cheap, "b:strong": Script(chunk("{}", "stop"))}
    events, trail = carried_out(plan, threshold=0.2, hold_seconds=30.0)
    task = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await events.aclose()
    assert cheap.closed == 1
    assert trail.attempts[0].status == "cancelled"


async def test_a_break_while_it_is_held_back_lets_the_next_begin_anew():
    cheap = Script(chunk('{"a": '), UpstreamConnectError())
    events, error, outcome = await play({"a:cheap": cheap, "b:strong": Script(chunk(JSON, "stop"))}, stream=True)
    assert error is None
    assert said(events) == JSON
    assert told(outcome) == [("a:cheap", "error"), ("b:strong", "ok")]


async def test_the_cheap_model_answers_after_all_when_its_stream_was_cut_for_nobody():
    again = Script(*(chunk("I cannot say. ") for _ in range(30)), chunk("", "stop"))
    rules = Escalation(threshold=1.0, hold_tokens=10)
    plan = {"a:cheap": again, "b:strong": Script(UpstreamConnectError())}
    events, error, outcome = await play(plan, stream=True, rules=rules)
    assert error is None
    assert said(events) == "I cannot say. " * 30
    assert told(outcome) == [("a:cheap", "escalated"), ("b:strong", "error"), ("a:cheap", "ok")]
    assert len(again.calls) == 2


@pytest.mark.parametrize("failure", [UpstreamStatus(400, b"{}"), StateUnavailable()])
async def test_of_a_stream_that_was_cut_no_refusal_of_the_stronger_model_is_the_last_word(failure):
    again = Script(*(chunk("I cannot say. ") for _ in range(30)), chunk("", "stop"))
    rules = Escalation(threshold=1.0, hold_tokens=10)
    events, error, outcome = await play({"a:cheap": again, "b:strong": Script(failure)}, stream=True, rules=rules)
    assert error is None
    assert said(events) == "I cannot say. " * 30
    assert outcome.model == "a:cheap"


async def test_the_weak_answer_is_told_when_no_time_is_left_to_wait_for_the_stronger():
    plan = {"a:cheap": Script(body(USELESS)), "b:strong": Script(UpstreamStatus(503, b"", retry_after=5.0))}
    events, error, outcome = await play(plan, retries=1, timeout=2.0)
    assert error is None
    assert said(events) == USELESS
    assert outcome.seconds < 1.5


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("goes_on", ["c:unpriced", "a:cheap"])
async def test_what_took_over_and_broke_off_is_gone_on_with_by_whoever_else_is_in_the_plan(goes_on, whole):
    class Cheap(Script):
        async def chat(self, call: ChatCall) -> AsyncIterator[Event]:
            if self.calls:
                self.steps = (chunk(JSON, "stop"),)
            async for event in super().chat(call):
                yield event

    doubtful = [chunk(USELESS, "stop")] if whole else [chunk("I cannot say. ") for _ in range(30)]
    plan = {"a:cheap": Cheap(*doubtful), "b:strong": Script(chunk('{"capital": '), UpstreamBroken())}
    if goes_on != "a:cheap":
        plan[goes_on] = Script(chunk(JSON, "stop"))
    else:
        plan["c:unpriced"] = Script(UpstreamConnectError())
    events, error, outcome = await play(
        plan,
        stream=True,
        quality={"cheap": 0.5, "unpriced": 0.5, "strong": 0.9},
        rules=Escalation(threshold=0.9, hold_tokens=10),
    )
    assert error is None
    assert said(events) == JSON
    assert told(outcome)[:2] == [("a:cheap", "escalated"), ("b:strong", "error")]
    assert told(outcome)[-1] == (goes_on, "ok")


@pytest.mark.parametrize("stream", [False, True])
async def test_while_nothing_was_told_nobody_comes_between_the_stronger_and_a_weak_answer_that_is_whole(stream):
    useless = chunk(USELESS, "stop") if stream else body(USELESS)
    other = Script(body(JSON))
    plan = {"a:cheap": Script(useless), "c:unpriced": other, "b:strong": Script(UpstreamConnectError())}
    events, error, outcome = await play(plan, stream=stream, quality={"cheap": 0.5, "unpriced": 0.5, "strong": 0.9})
    assert error is None
    assert said(events) == USELESS
    assert not other.calls
    assert told(outcome) == [("b:strong", "error"), ("a:cheap", "escalated")]


async def test_what_goes_on_with_an_answer_that_broke_off_is_not_judged_again():
    """What was held back of it would be lost: the next to go on takes it as told."""

    class Twice(Script):
        async def chat(self, call: ChatCall) -> AsyncIterator[Event]:
            async for event in super().chat(call):
                yield event
                if not self.closed:
                    raise UpstreamBroken

    cheap = Twice(chunk('{"capital": '), chunk('"Paris"}', "stop"))
    strong = Script(UpstreamConnectError())
    rules = Escalation(threshold=0.2, hold_tokens=1)
    judged: list[bool] = []

    def told_of(verifier: Verifier, *, whole: bool, prior: float | None = None) -> Confidence:
        judged.append(whole)
        return Confidence(1.0 if len(judged) == 1 else 0.0, ())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Verifier, "confidence", told_of)
        plan = {"a:cheap": cheap, "b:strong": strong}
        events, error, _ = await play(plan, stream=True, rules=rules, retries=1)
    assert error is None
    assert (said(events), len(cheap.calls), judged) == (JSON, 2, [False])


async def test_an_escalated_answer_without_a_price_leaves_the_cost_unknown():
    plan = {"c:unpriced": Script(body(USELESS)), "b:strong": Script(body(JSON))}
    _, _, outcome = await play(plan, quality={"unpriced": 0.5, "strong": 0.9})
    assert told(outcome) == [("c:unpriced", "escalated"), ("b:strong", "ok")]
    assert outcome.cost_micro_usd is None


async def test_log_probabilities_are_asked_for_and_taken_out_again(monkeypatch):
    able = msgspec.structs.replace(CATALOG.get("a:cheap"), capabilities=frozenset({"chat", "logprobs"}))
    monkeypatch.setattr(type(CATALOG), "get", lambda self, name: able if name == "a:cheap" else self._cards.get(name))
    logprobs = {"content": [{"token": "x", "logprob": -0.1, "bytes": None, "top_logprobs": []}]}
    cheap = Script(body(JSON, logprobs=logprobs))
    events, _, _ = await play({"a:cheap": cheap, "b:strong": Script()})
    assert cheap.calls[0].request.params.logprobs is True
    assert b"logprobs" not in events[0].raw
    stripped = without_logprobs(chunk("a", logprobs=logprobs))
    assert b"logprobs" not in stripped.raw
    assert said([stripped]) == "a"


@pytest.mark.parametrize(
    ("rules", "wish", "changes", "judged"),
    [
        (Escalation(), None, {}, False),
        (Escalation(enabled=True, threshold=0.2), None, {}, True),
        (Escalation(enabled=True, threshold=0.2), False, {}, False),
        (Escalation(threshold=0.2), True, {}, True),
        (Escalation(priorities=frozenset({"balanced"}), threshold=0.2), None, {}, True),
        (Escalation(priorities=frozenset({"quality"}), threshold=0.2), None, {}, False),
        (Escalation(enabled=True, threshold=0.2), None, {"mode": "forced"}, False),
        (Escalation(enabled=True, threshold=0.2), None, {"explored": True}, False),
    ],
)
async def test_who_is_judged(rules, wish, changes, judged):
    plan = {"a:cheap": Script(body(USELESS)), "b:strong": Script(body(JSON))}
    events, _, _ = await play(plan, rules=rules, escalate=wish, **changes)
    assert said(events) == (JSON if judged else USELESS)


def test_only_models_that_are_likelier_to_succeed_take_over_the_best_first():
    quality = candidates(cheap=0.5, strong=0.7, unpriced=0.9)
    plan = ("a:cheap", "b:strong", "c:unpriced")
    assert stronger(decision(*plan, candidates=quality), plan) == ("c:unpriced", "b:strong")
    even = candidates(cheap=0.89, strong=0.7, unpriced=0.9)
    assert stronger(decision(*plan, candidates=even), plan) == ()
    assert stronger(decision("a:cheap", candidates=quality), ("a:cheap",)) == ()


class Short:
    """A purse that covers no second attempt."""

    async def covers(self, card, trail) -> bool:
        return card.id == "a:cheap"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_nobody_can_pay_to_better_is_told(stream):
    pieces = [chunk("I cannot say. ") for _ in range(30)] if stream else [body("I cannot say. " * 30)]
    plan = {"a:cheap": Script(*pieces, *([chunk("", "stop")] if stream else [])), "b:strong": Script()}
    asked, _ = carried_out(plan, stream=stream, purse=Short(), threshold=1.0, hold_tokens=10)
    events = [event async for event in asked]
    assert said(events) == "I cannot say. " * 30
    assert not plan["b:strong"].calls
    assert len(plan["a:cheap"].calls) == 1
