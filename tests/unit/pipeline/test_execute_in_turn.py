"""Attempts that wait for a slot of their engine: what becomes of those who may not, and that every slot comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress

import msgspec
import pytest
from test_cascade import FIELDS, JSON, USELESS, body, candidates
from test_execute_and_record import CATALOG, CHEAP, REQUEST, STRONG, Script, decision

from pointsman.core.budget import charges
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.errors import Overloaded, PointsmanError, UpstreamBroken, UpstreamStatus
from pointsman.core.events import Event, Frames
from pointsman.core.ports import SystemClock, Timeouts
from pointsman.core.queueing import Claim
from pointsman.core.request import ChatRequest
from pointsman.core.trail import Trail
from pointsman.pipeline.execute import Escalation, Execute, ExecutionRules, Hedging
from pointsman.pipeline.execute.queueing import LineRules
from pointsman.pipeline.execute.queues import EngineQueues

ANSWER = Frames(b"hello", finish_reason="stop")
TWINS = Catalog(
    msgspec.structs.replace(card, id=f"a:{card.name}", provider="a", price_input=0, price_output=0)
    for card in (CHEAP, STRONG)
)
"""Two models of one server."""


class Told:
    """Circuit breakers that only listen."""

    def __init__(self) -> None:
        self.seconds: list[float | None] = []
        self.errors: list[PointsmanError | None] = []

    def admit(self, card: ModelCard) -> float:
        return 0.0

    def told(self, card: ModelCard, error: PointsmanError | None, seconds: float | None) -> None:
        self.seconds.append(seconds)
        self.errors.append(error)

    def opened(self) -> dict[str, str]:
        return {}


class Setup:
    def __init__(self, plan: dict[str, Script], *, catalog: Catalog = CATALOG, **rules: object) -> None:
        self.catalog = catalog
        self.plan = plan
        self.queues = EngineQueues(clock=SystemClock())
        self.queues.put("a", LineRules(**{"slots": 1, "queue": 1, **rules}))  # type: ignore[arg-type] # numbers
        self.breakers = Told()
        line = self.queues.line(CHEAP)
        assert line is not None
        self.line = line
        self.execute = Execute(
            provider_for=lambda card: plan[card.id],
            timeouts=Timeouts(),
            clock=SystemClock(),
            breakers=self.breakers,
            queues=self.queues,
            rules=ExecutionRules(),
        )

    async def occupy(self) -> Callable[[], None]:
        """Hold the slot; returns what ends that."""
        return await self.line.enter(Claim(key_id="somebody", tier=None, deadline=SystemClock().monotonic() + 60))

    async def play(self, request: ChatRequest = REQUEST, *, leave_after: int | None = None, **fields: object) -> None:
        chosen = decision(*self.plan, **fields)
        self.trail = Trail(SystemClock())
        self.events: list[Event] = []
        async with aclosing(self.execute(chosen, request, catalog=self.catalog, trail=self.trail)) as events:
            async for event in events:
                self.events.append(event)
                if len(self.events) == leave_after:
                    return

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(attempt.model, attempt.status) for attempt in self.trail.attempts]

    @property
    def idle(self) -> bool:
        return (self.line.running, self.line.waiting) == (0, 0)


async def test_the_time_in_the_queue_is_told_and_held_against_nobody() -> None:
    setup = Setup({CHEAP.id: Script(ANSWER)})
    leave = await setup.occupy()
    asking = asyncio.create_task(setup.play())
    await asyncio.sleep(0.2)
    leave()
    await asking
    [attempt] = setup.trail.attempts
    assert 0.19 < attempt.queue_seconds <= attempt.first_byte_seconds <= attempt.seconds
    assert attempt.asked_seconds == attempt.seconds - attempt.queue_seconds
    assert setup.breakers.seconds == [attempt.first_byte_seconds - attempt.queue_seconds]
    assert setup.idle


async def test_without_a_queue_nothing_is_told_of_one() -> None:
    setup = Setup({STRONG.id: Script(ANSWER)})
    await setup.play()
    assert setup.trail.attempts[0].queue_seconds is None


async def test_where_the_queue_is_full_the_next_model_answers() -> None:
    setup = Setup({CHEAP.id: Script(ANSWER), STRONG.id: Script(ANSWER)}, queue=0)
    leave = await setup.occupy()
    await setup.play()
    assert setup.told == [(CHEAP.id, "refused"), (STRONG.id, "ok")]
    assert not setup.plan[CHEAP.id].calls
    assert charges(setup.trail, decision(CHEAP.id).signals.needs)[0].micro_usd == 0
    assert isinstance(setup.breakers.errors[0], Overloaded)
    setup.plan.pop(STRONG.id)
    with pytest.raises(Overloaded) as caught:
        await setup.play()
    assert caught.value.retry_after == setup.line.average_seconds
    leave()
    assert setup.idle


async def test_who_leaves_the_queue_pays_nothing_and_asks_nobody() -> None:
    setup = Setup({CHEAP.id: Script(ANSWER)})
    leave = await setup.occupy()
    asking = asyncio.create_task(setup.play())
    await asyncio.sleep(0.01)
    assert setup.line.waiting == 1
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert setup.line.waiting == 0
    assert setup.told == [(CHEAP.id, "cancelled")]
    assert [charge.micro_usd for charge in charges(setup.trail, decision(CHEAP.id).signals.needs)] == [0]
    assert not setup.plan[CHEAP.id].calls
    leave()
    assert setup.idle


@pytest.mark.parametrize(
    "script",
    [Script(UpstreamStatus(500, b"")), Script(Frames(b"hel"), UpstreamBroken()), Script(ANSWER)],
    ids=["refused", "broken", "whole"],
)
@pytest.mark.parametrize("leave_after", [None, 1])
async def test_however_it_ends_the_slot_is_free(script: Script, leave_after: int | None) -> None:
    setup = Setup({CHEAP.id: script})
    for _ in range(3):
        with suppress(PointsmanError):
            await setup.play(leave_after=leave_after)
        assert setup.idle


async def test_an_escalation_on_the_same_server_waits_for_nobody_but_others() -> None:
    plan = {"a:cheap": Script(body(USELESS)), "a:strong": Script(body(JSON))}
    setup = Setup(plan, catalog=TWINS)
    setup.execute.rules = ExecutionRules(escalation=Escalation(enabled=True, threshold=0.2))
    found = candidates(cheap=0.5, strong=0.9)
    asked = tuple(msgspec.structs.replace(one, model=one.model.replace("b:", "a:")) for one in found)
    async with asyncio.timeout(30):
        await setup.play(ChatRequest.build({**FIELDS, "stream": False}), candidates=asked)
    assert setup.told == [("a:cheap", "escalated"), ("a:strong", "ok")]
    assert setup.idle


async def test_a_hedge_takes_its_turn_and_leaves_it() -> None:
    setup = Setup({"a:cheap": Script(0.15, ANSWER), "a:strong": Script(ANSWER)}, catalog=TWINS)
    setup.execute.rules = ExecutionRules(hedging=Hedging(enabled=True, share=1.0))
    for _ in range(20):
        setup.execute._hedges.first_bytes.told("a:cheap", 0.02)
    found = candidates(cheap=0.5, strong=0.9)
    asked = tuple(msgspec.structs.replace(one, model=one.model.replace("b:", "a:")) for one in found)
    async with asyncio.timeout(30):
        await setup.play(candidates=asked)
    assert setup.told[-1] == ("a:cheap", "ok")  # there is one slot, and it was first
    assert ("a:strong", "cancelled") in setup.told
    assert setup.idle
