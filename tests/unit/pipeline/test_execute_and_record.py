"""A plan is carried out model by model, and how it ended is written once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.decision import Decision, new_decision_id
from pointsman.core.errors import (
    Overloaded,
    PrivacyWall,
    UpstreamBroken,
    UpstreamConnectError,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.core.events import Event, Frames, PromptDetails, Usage
from pointsman.core.ports import ChatCall, SystemClock, Timeouts
from pointsman.core.request import ChatRequest
from pointsman.core.trail import Trail
from pointsman.pipeline.answer import Answer, settling
from pointsman.pipeline.execute import Execute, ExecutionRules
from pointsman.pipeline.record import Record
from pointsman.pipeline.record.meter import NOTHING_UNDERSTOOD

CHEAP = ModelCard(id="a:cheap", provider="a", name="cheap", price_input=1_000_000, price_output=2_000_000)
STRONG = ModelCard(
    id="b:strong", provider="b", name="strong", price_input=10_000_000, price_cached_input=0, price_output=20_000_000
)
UNPRICED = ModelCard(id="c:unpriced", provider="c", name="unpriced")
NEAR = [ModelCard(id=f"near:{name}", provider="near", name=name, local=True) for name in ("one", "two")]
CATALOG = Catalog([CHEAP, STRONG, UNPRICED, *NEAR])


class Script:
    """A provider that plays a list of events and errors."""

    def __init__(self, *steps: Event | Exception | float) -> None:
        self.name = "script"
        self.steps = steps
        self.calls: list[ChatCall] = []
        self.closed = 0

    async def chat(self, call: ChatCall) -> AsyncIterator[Event]:
        self.calls.append(call)
        try:
            for step in self.steps:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield step
        finally:
            self.closed += 1


class Log:
    """Keeps what is queued."""

    def __init__(self) -> None:
        self.decisions, self.outcomes, self.prompts = [], [], []

    def decided(self, decision, *, prompt) -> None:
        self.decisions.append(decision)
        self.prompts.append(prompt)

    def ended(self, decision_id, outcome) -> None:
        self.outcomes.append((decision_id, outcome))


def decision(*plan: str, **changes) -> Decision:
    fields = {
        "id": new_decision_id(),
        "created_at": 0.0,
        "model": plan[0],
        "plan": plan,
        "mode": "auto",
        "requested_model": "auto",
        "candidates": (),
        "dropped": (),
        "propensity": 1.0,
        "policy": "rules@1",
        "reasons": (),
        "signals": NOTHING_UNDERSTOOD,
        "estimated_cost_micro_usd": 0,
    }
    return Decision(**{**fields, **changes})


REQUEST = ChatRequest.build({"messages": [{"role": "user", "content": "hi"}], "stream": True})


async def play(
    plan: dict[str, Script], *, total: float = 10.0, leave_after: int | None = None, timeout: float | None = None
):
    """Run a plan; returns the events, the error, the outcome."""
    execute = Execute(
        provider_for=lambda card: plan[card.id],
        timeouts=Timeouts(total=total),
        clock=SystemClock(),
        rules=ExecutionRules(splice=False),
    )
    log = Log()
    record = Record(log=log, clock=SystemClock())
    chosen = decision(*plan)
    trail = Trail(SystemClock())
    events, error = [], None
    answer = execute(chosen, REQUEST, catalog=CATALOG, trail=trail, timeout=timeout)
    watched = record.watch(chosen, REQUEST, trail, answer)
    try:
        async with aclosing(watched) as stream:
            async for event in stream:
                events.append(event)
                if leave_after is not None and len(events) >= leave_after:
                    break
    except Exception as raised:
        error = raised
    assert len(log.outcomes) == 1
    assert log.outcomes[0][0] == chosen.id
    return events, error, log.outcomes[0][1]


async def test_the_first_model_answers():
    usage = Usage(prompt_tokens=10, completion_tokens=5)
    cheap = Script(Frames(b"one", answer_id="chatcmpl-1"), Frames(b"two", usage=usage, finish_reason="stop"))
    events, error, outcome = await play({"a:cheap": cheap, "b:strong": Script()})
    assert [event.raw for event in events] == [b"one", b"two"]
    assert error is None
    assert (outcome.status, outcome.model, outcome.answer_id, outcome.finish_reason) == (
        "ok",
        "a:cheap",
        "chatcmpl-1",
        "stop",
    )
    assert (outcome.prompt_tokens, outcome.completion_tokens, outcome.cost_micro_usd) == (10, 5, 20)
    assert 0 <= outcome.first_byte_seconds <= outcome.seconds
    assert cheap.closed == 1


@pytest.mark.parametrize(
    "failure",
    [
        UpstreamConnectError(),
        UpstreamTimeout("first_byte", 1.0),
        UpstreamStatus(500, b""),
        UpstreamStatus(429, b"", retry_after=1),
        UpstreamStatus(401, b""),
        Overloaded(),
        UpstreamBroken(),
    ],
    ids=lambda error: error.code + str(getattr(error, "upstream_status", "")),
)
async def test_the_next_model_steps_in_before_the_first_byte(failure):
    strong = Script(Frames(b"rescued"))
    events, error, outcome = await play({"a:cheap": Script(failure), "b:strong": strong})
    assert [event.raw for event in events] == [b"rescued"]
    assert error is None
    assert outcome.model == "b:strong"
    assert [attempt.status for attempt in outcome.attempts] == ["error", "ok"]
    assert outcome.attempts[0].error.startswith(failure.code)


async def test_a_bad_request_is_not_tried_elsewhere():
    strong = Script(Frames(b"no"))
    events, error, outcome = await play({"a:cheap": Script(UpstreamStatus(400, b"{}")), "b:strong": strong})
    assert not events
    assert isinstance(error, UpstreamStatus)
    assert not strong.calls
    assert outcome.status == "error"


async def test_after_the_first_byte_nobody_steps_in():
    strong = Script(Frames(b"no"))
    events, error, outcome = await play({"a:cheap": Script(Frames(b"part"), UpstreamBroken()), "b:strong": strong})
    assert [event.raw for event in events] == [b"part"]
    assert isinstance(error, UpstreamBroken)
    assert not strong.calls
    assert (outcome.status, outcome.error) == ("error", "upstream_broken")
    assert error.decision_id is not None


async def test_the_last_failure_is_told_when_all_fail():
    plan = {"a:cheap": Script(UpstreamConnectError()), "b:strong": Script(UpstreamStatus(503, b""))}
    _, error, outcome = await play(plan)
    assert isinstance(error, UpstreamStatus)
    assert len(outcome.attempts) == 2
    assert outcome.status == "error"


async def test_the_wall_stops_the_plan():
    strong = Script(Frames(b"no"))
    _, error, outcome = await play({"a:cheap": Script(PrivacyWall()), "b:strong": strong})
    assert isinstance(error, PrivacyWall)
    assert not strong.calls
    assert (outcome.status, outcome.http_status) == ("refused", 403)


async def test_a_model_that_is_not_local_any_more_is_passed_over():
    second = Script(Frames(b"here"))
    events, error, outcome = await play({"near:one": Script(PrivacyWall()), "near:two": second})
    assert (error, [event.raw for event in events]) == (None, [b"here"])
    assert [attempt.status for attempt in outcome.attempts] == ["error", "ok"]
    _, error, outcome = await play({card.id: Script(PrivacyWall()) for card in NEAR})
    assert isinstance(error, PrivacyWall)
    assert (outcome.status, outcome.http_status) == ("refused", 403)


async def test_no_attempt_starts_past_the_deadline():
    strong = Script(Frames(b"late"))
    plan = {"a:cheap": Script(0.05, UpstreamConnectError()), "b:strong": strong}
    _, error, _ = await play(plan, total=0.02)
    assert isinstance(error, UpstreamConnectError)
    assert not strong.calls


@pytest.mark.parametrize(
    ("waits", "timeout", "blamed"),
    [(0.3, 0.25, "the request"), (0.0, 5.0, "the provider"), (0.0, None, "the provider"), (0.3, 60.0, "the provider")],
)
async def test_who_left_no_more_time_is_told(waits, timeout, blamed):
    """A provider may have a time of its own that is shorter than the caller's."""
    slow = Script(waits, UpstreamTimeout("total", 0.2))
    _, error, outcome = await play({"a:cheap": slow}, timeout=timeout)
    assert isinstance(error, UpstreamTimeout)
    assert ("x-pointsman-timeout" in error.message) is (blamed == "the request")
    assert outcome.attempts[0].error == f"upstream_timeout: {error.message}"


async def test_later_attempts_get_what_time_is_left():
    strong = Script(Frames(b"ok"))
    await play({"a:cheap": Script(0.05, UpstreamConnectError()), "b:strong": strong}, total=1.0)
    assert strong.calls[0].timeouts.total < 0.96


async def test_a_caller_that_leaves_closes_the_upstream_and_is_written():
    cheap = Script(Frames(b"one"), Frames(b"two"))
    _, error, outcome = await play({"a:cheap": cheap}, leave_after=1)
    assert error is None
    assert cheap.closed == 1
    assert (outcome.status, outcome.attempts[0].status) == ("cancelled", "cancelled")


async def test_a_cancelled_task_is_written():
    log = Log()
    slow = Script(5.0)
    execute = Execute(provider_for=lambda card: slow, timeouts=Timeouts(), clock=SystemClock())
    chosen = decision("a:cheap")
    trail = Trail(SystemClock())
    events = Record(log=log, clock=SystemClock()).watch(
        chosen, REQUEST, trail, execute(chosen, REQUEST, catalog=CATALOG, trail=trail)
    )
    task = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.closed == 1
    assert log.outcomes[0][1].status == "cancelled"


async def test_a_model_that_left_the_catalog_is_passed_over():
    events, _, outcome = await play({"gone:gone": Script(), "a:cheap": Script(Frames(b"ok"))})
    assert [event.raw for event in events] == [b"ok"]
    assert outcome.model == "a:cheap"


async def test_cached_tokens_are_charged_at_their_own_price():
    usage = Usage(prompt_tokens=100, completion_tokens=1, prompt_tokens_details=PromptDetails(cached_tokens=90))
    _, _, outcome = await play({"b:strong": Script(Frames(b"x", usage=usage))})
    assert outcome.cached_tokens == 90
    assert outcome.cost_micro_usd == 10 * 10 + 1 * 20


async def test_an_unknown_price_is_not_called_free():
    _, _, outcome = await play({"c:unpriced": Script(Frames(b"x", usage=Usage(1, 1)))})
    assert outcome.cost_micro_usd is None


@pytest.mark.parametrize(
    ("setting", "classes", "kept"),
    [("never", (), False), ("public", (), True), ("public", ("contact",), False), ("all", ("secret",), True)],
)
async def test_prompts_are_kept_as_the_setting_says(setting, classes, kept):
    import msgspec

    privacy = msgspec.structs.replace(NOTHING_UNDERSTOOD.privacy, classes=classes, local_only="secret" in classes)
    signals = msgspec.structs.replace(NOTHING_UNDERSTOOD, privacy=privacy)
    log = Log()

    async def answered() -> AsyncGenerator[Event, None]:
        yield Frames(b"ok")

    record = Record(log=log, clock=SystemClock(), store_prompts=setting)
    chosen = decision("a:cheap", signals=signals)
    assert [event async for event in record.watch(chosen, REQUEST, Trail(SystemClock()), answered())]
    assert (log.prompts[0] is not None) is kept


class Settled:
    """A grant that notes how often it was settled."""

    def __init__(self) -> None:
        self.times = 0

    async def covers(self, card: ModelCard, trail: Trail) -> bool:
        return True

    def settle(self, trail: Trail) -> None:
        self.times += 1


@pytest.mark.parametrize("reserved", [False, True])
@pytest.mark.parametrize(
    ("error", "code", "attempt"),
    [(UpstreamBroken("no form"), "upstream_broken", "error"), (ValueError("a fault"), "internal_error", "cancelled")],
)
async def test_an_answer_that_cannot_be_told_is_an_error(reserved, error, code, attempt):
    """In whose words it could not be written is the surface's affair; the log says that it was of no use."""
    cheap, log, grant = Script(*(Frames(b"data: {}\n\n") for _ in range(3))), Log(), Settled()
    execute = Execute(provider_for=lambda card: cheap, timeouts=Timeouts(), clock=SystemClock())
    chosen, trail = decision("a:cheap"), Trail(SystemClock())
    events = Record(log=log, clock=SystemClock()).watch(
        chosen, REQUEST, trail, execute(chosen, REQUEST, catalog=CATALOG, trail=trail)
    )
    if reserved:
        events = settling(grant, trail, events)
    answer = Answer(chosen, trail, await anext(events), events)
    async with aclosing(answer) as told:
        assert await anext(told)
        assert await anext(told)
        await answer.unusable(error)
    ((_, outcome),) = log.outcomes
    assert (outcome.status, outcome.error, outcome.attempts[0].status) == ("error", code, attempt)
    assert cheap.closed == 1
    assert grant.times == int(reserved)
    await answer.unusable(error)
    assert len(log.outcomes) == 1, "what has ended stays as it ended"


async def test_an_answer_closed_before_it_was_read_cancels_its_call():
    cheap, log, grant = Script(Frames(b"data: {}\n\n"), 60.0), Log(), Settled()
    execute = Execute(provider_for=lambda card: cheap, timeouts=Timeouts(), clock=SystemClock())
    chosen, trail = decision("a:cheap"), Trail(SystemClock())
    watched = Record(log=log, clock=SystemClock()).watch(
        chosen, REQUEST, trail, execute(chosen, REQUEST, catalog=CATALOG, trail=trail)
    )
    events = settling(grant, trail, watched)
    answer = Answer(chosen, trail, await anext(events), events)
    await answer.aclose()
    assert cheap.closed == 1
    assert grant.times == 1
    assert [outcome.status for _, outcome in log.outcomes] == ["cancelled"]
