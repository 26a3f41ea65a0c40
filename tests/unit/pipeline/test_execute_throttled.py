"""Attempts under limits of providers: what is taken, given back and passed over."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from test_execute_and_record import CATALOG, CHEAP, REQUEST, STRONG, Script, decision

from pointsman.core.budget import charges
from pointsman.core.errors import Overloaded, ProviderShort, UpstreamConnectError, UpstreamStatus, UpstreamTimeout
from pointsman.core.events import Frames, Usage
from pointsman.core.ports import SystemClock, Timeouts
from pointsman.core.shared import Bucket
from pointsman.core.signals import Needs
from pointsman.core.trail import Trail
from pointsman.pipeline.admit.provider_limits import ProviderLimits, ProviderRule
from pointsman.pipeline.admit.tiers import Tier, Tiers
from pointsman.pipeline.execute import Execute
from pointsman.stores.memory_state import MemoryState

ANSWER = Frames(b"hello", usage=Usage(prompt_tokens=10, completion_tokens=5), finish_reason="stop")


class Setup:
    """An execute stage over a real throttle; both providers allow 100 requests and 10,000 tokens a minute."""

    def __init__(self, **rules: ProviderRule) -> None:
        self.state = MemoryState()
        usual = ProviderRule(requests_per_minute=100, tokens_per_minute=10_000)
        self.throttle = ProviderLimits(
            state=self.state,
            rules={"a": usual, "b": usual, **rules},
            tiers=Tiers({"free": Tier(priority="high")}, "free"),
            clock=SystemClock(),
            open_when_away=False,
        )
        self.unreachable: list[str] = []

    async def play(self, plan: dict[str, Script], *, leave_after: int | None = None) -> Trail:
        execute = Execute(
            provider_for=lambda card: plan[card.id],
            timeouts=Timeouts(),
            clock=SystemClock(),
            unreachable=lambda card: self.unreachable.append(card.id),
            throttle=self.throttle,
        )
        self.trail = Trail(SystemClock())
        came = 0
        async with aclosing(execute(decision(*plan), REQUEST, catalog=CATALOG, trail=self.trail)) as events:
            async for _ in events:
                came += 1
                if came == leave_after:
                    break
        return self.trail

    async def used(self, provider: str, kind: str) -> int:
        await self.throttle.close()
        capacity = {"requests": 100, "tokens": 10_000}[kind]
        bucket = Bucket(key=f"provider:{provider}:{kind}", capacity=capacity, refill=capacity / 60, cost=0.0)
        return round(capacity - (await self.state.take([bucket])).standings[0].remaining, -1 if kind == "tokens" else 0)

    def told(self) -> list[tuple[str, str]]:
        return [(attempt.model, attempt.status) for attempt in self.trail.attempts]


async def test_an_answer_costs_a_request_and_its_tokens():
    setup = Setup()
    usage = Usage(prompt_tokens=3000, completion_tokens=1000)
    await setup.play({CHEAP.id: Script(Frames(b"hello", usage=usage, finish_reason="stop"))})
    assert await setup.used("a", "requests") == 1
    assert 3500 <= await setup.used("a", "tokens") <= 4000  # some came back since


@pytest.mark.parametrize("error", [UpstreamConnectError(), Overloaded()])
async def test_what_was_never_sent_costs_nothing(error):
    setup = Setup()
    await setup.play({CHEAP.id: Script(error), STRONG.id: Script(ANSWER)})
    assert (await setup.used("a", "requests"), await setup.used("a", "tokens")) == (0, 0)
    assert await setup.used("b", "requests") == 1


@pytest.mark.parametrize("error", [UpstreamStatus(500, b""), UpstreamTimeout("first_byte", 1.0)])
async def test_what_was_sent_in_vain_has_cost_a_request(error):
    setup = Setup()
    await setup.play({CHEAP.id: Script(error), STRONG.id: Script(ANSWER)})
    assert await setup.used("a", "requests") == 1


async def test_a_caller_who_leaves_has_cost_a_request():
    setup = Setup()
    await setup.play({CHEAP.id: Script(Frames(b"one"), Frames(b"two"))}, leave_after=1)
    assert await setup.used("a", "requests") == 1


async def test_a_short_provider_is_passed_over_and_not_suspected():
    setup = Setup(a=ProviderRule(requests_per_minute=1))
    plan = {CHEAP.id: Script(ANSWER), STRONG.id: Script(ANSWER)}
    await setup.play(plan)
    await setup.play(plan)
    assert setup.told() == [(CHEAP.id, "refused"), (STRONG.id, "ok")]
    assert setup.trail.attempts[0].error.startswith("provider_limit_reached: ")
    assert len(plan[CHEAP.id].calls) == 1
    assert setup.unreachable == []


async def test_when_all_are_short_the_error_is_of_the_one_that_is_back_first():
    setup = Setup(a=ProviderRule(requests_per_minute=2), b=ProviderRule(requests_per_minute=1))
    plan = {CHEAP.id: Script(ANSWER), STRONG.id: Script(ANSWER)}
    for _ in range(3):
        await setup.play(plan)
    with pytest.raises(ProviderShort) as caught:
        await setup.play(plan)
    assert caught.value.provider == "a"
    assert 0 < caught.value.retry_after <= 30
    assert setup.told() == [(CHEAP.id, "refused"), (STRONG.id, "refused")]


@pytest.mark.parametrize("status", [429, 503])
async def test_who_asks_for_patience_comes_last(status):
    setup = Setup()
    await setup.play({CHEAP.id: Script(UpstreamStatus(status, b"", retry_after=60)), STRONG.id: Script(ANSWER)})
    plan = {CHEAP.id: Script(ANSWER), STRONG.id: Script(ANSWER)}
    await setup.play(plan)
    assert setup.told() == [(CHEAP.id, "refused"), (STRONG.id, "ok")]
    await setup.play({CHEAP.id: Script(ANSWER), STRONG.id: Script(UpstreamStatus(500, b""))})
    assert setup.told() == [(CHEAP.id, "refused"), (STRONG.id, "error"), (CHEAP.id, "ok")]
    await setup.play({CHEAP.id: Script(ANSWER)})  # named, and alone: the caller's choice stands
    assert setup.told() == [(CHEAP.id, "ok")]


async def test_an_error_without_a_time_to_wait_asks_for_no_patience():
    setup = Setup()
    await setup.play({CHEAP.id: Script(UpstreamStatus(429, b"")), STRONG.id: Script(ANSWER)})
    await setup.play({CHEAP.id: Script(ANSWER), STRONG.id: Script(ANSWER)})
    assert setup.told() == [(CHEAP.id, "ok")]


async def test_whoever_leaves_while_the_limit_is_asked_for_has_cost_nothing():
    class Slow:
        """A throttle whose store does not answer."""

        async def take(self, *_: object) -> None:
            await asyncio.sleep(60)

        def waiting(self, card: object) -> float:
            return 0.0

    script = Script(ANSWER)
    execute = Execute(provider_for=lambda card: script, timeouts=Timeouts(), clock=SystemClock(), throttle=Slow())
    trail = Trail(SystemClock())
    asked = execute(decision(CHEAP.id), REQUEST, catalog=CATALOG, trail=trail)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(asked)
    assert not script.calls
    [step] = trail.steps
    assert (step.attempt.status, step.attempt.tokens) == ("cancelled", None)
    assert [charge.micro_usd for charge in charges(trail, Needs(max_output=1000))] == [0]
