"""The wall clock may jump, an hour back or ahead, in the middle of anything: durations and deadlines do not care."""

from __future__ import annotations

import time

import pytest

from pointsman.core.catalog import Catalog
from pointsman.core.decision import Decision, new_decision_id
from pointsman.core.errors import UpstreamTimeout
from pointsman.core.ports import Timeouts
from pointsman.core.request import ChatRequest
from pointsman.core.trail import Trail
from pointsman.pipeline.execute import Execute
from pointsman.pipeline.record import Record
from pointsman.pipeline.record.meter import NOTHING_UNDERSTOOD
from pointsman.providers.openai_compatible import OpenAICompatible
from pointsman.testing.answers import Answer, Stall, Status
from pointsman.testing.memory_log import MemoryDecisionLog
from pointsman.testing.upstream import ScriptedUpstream
from pointsman.transport.pool import Pool

HOUR = 3600.0
START = 1_800_000_000.0
REQUEST = ChatRequest.build({"messages": [{"role": "user", "content": "hi"}], "stream": True})


class JumpingClock:
    """A wall clock that jumps at each reading, beside a monotonic one that does not."""

    def __init__(self, jump: float) -> None:
        self.wall = START
        self._jump = jump

    def now(self) -> float:
        self.wall += self._jump
        return self.wall

    def monotonic(self) -> float:
        return time.monotonic()


async def play(upstream: ScriptedUpstream, jump: float, *, total: float = 5.0):
    """One decision carried out and logged on a jumping clock; the log, and the error if there was one."""
    clock, log, outbound = JumpingClock(jump), MemoryDecisionLog(), Pool()
    provider = OpenAICompatible("p", base_url=upstream.base_url, outbound=outbound, models=["one", "two"])
    catalog = Catalog(await provider.discover())
    decision = Decision(
        id=new_decision_id(clock.now()), created_at=clock.now(), model="p:one", plan=("p:one", "p:two"), mode="auto",
        requested_model="auto", candidates=(), dropped=(), propensity=1.0, policy="rules@1", reasons=(),
        signals=NOTHING_UNDERSTOOD, estimated_cost_micro_usd=0,
    )  # fmt: skip
    execute = Execute(provider_for=lambda card: provider, timeouts=Timeouts(total=total), clock=clock)
    record = Record(log=log, clock=clock)
    trail = Trail(clock)
    error = None
    try:
        async for _ in record.watch(decision, REQUEST, trail, execute(decision, REQUEST, catalog=catalog, trail=trail)):
            pass
    except UpstreamTimeout as raised:
        error = raised
    finally:
        await outbound.close()
    return log.outcomes[decision.id], error


@pytest.mark.parametrize("jump", [-HOUR, HOUR, 0.0])
async def test_durations_are_measured_by_a_clock_that_does_not_jump(upstream, jump):
    upstream.script(Status(503), Answer(pieces=5, delay=0.05))
    started = time.monotonic()
    outcome, error = await play(upstream, jump)
    lasted = time.monotonic() - started
    assert error is None
    assert outcome.status == "ok"
    assert 0.2 < outcome.seconds <= lasted
    assert [attempt.status for attempt in outcome.attempts] == ["error", "ok"]
    assert all(0 <= attempt.seconds <= lasted for attempt in outcome.attempts)
    assert 0 <= outcome.first_byte_seconds <= outcome.seconds
    first, second = (attempt.started_at for attempt in outcome.attempts)
    assert second - first == jump, "moments are told by the wall clock, as it goes"


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
async def test_deadlines_are_kept_whatever_the_wall_clock_says(upstream, jump):
    upstream.default = Stall()
    started = time.monotonic()
    outcome, error = await play(upstream, jump, total=0.4)
    assert error is not None
    assert error.phase == "total"
    assert 0.35 < time.monotonic() - started < 2.0
    assert (outcome.status, outcome.error) == ("error", "upstream_timeout")


def test_ids_of_one_moment_differ_and_those_of_several_sort_by_time():
    same = [new_decision_id(START) for _ in range(10_000)]
    assert len(set(same)) == len(same)
    moments = [0.0, START - HOUR, START, START + 0.001, START + HOUR]
    ids = [new_decision_id(moment) for moment in moments]
    assert sorted(ids) == ids
    assert {len(identifier) for identifier in ids} == {30}
