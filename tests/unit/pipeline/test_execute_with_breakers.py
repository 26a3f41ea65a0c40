"""Attempts under circuit breakers: what they are told, and what happens while one is open."""

from __future__ import annotations

from contextlib import aclosing

import pytest
from test_execute_and_record import CATALOG, CHEAP, REQUEST, STRONG, Script, decision

from pointsman.core.credential import Credential
from pointsman.core.errors import CallerKeyRefused, CircuitOpen, PointsmanError, UpstreamBroken, UpstreamStatus
from pointsman.core.events import Frames
from pointsman.core.ports import SystemClock, Timeouts
from pointsman.core.trail import Trail
from pointsman.pipeline.execute import Execute
from pointsman.pipeline.execute.breaker import CircuitBreakers
from pointsman.pipeline.execute.circuit import BreakerRules

ANSWER = Frames(b"hello", finish_reason="stop")
OPEN = {CHEAP.id: "its circuit is open: 3 of 3 calls failed in 60 s"}


class Setup:
    def __init__(self, **rules: object) -> None:
        class Models:
            catalog = CATALOG

        self.breakers = CircuitBreakers(
            BreakerRules(**{"min_errors": 3, **rules}), models=Models(), clock=SystemClock()
        )

    async def play(
        self, plan: dict[str, Script], *, leave_after: int | None = None, own_key: bool = False
    ) -> list[tuple[str, str]]:
        """The attempts, with how they ended; what the last one failed with is in `error`."""
        self.error: PointsmanError | None = None
        execute = Execute(
            provider_for=lambda card: plan[card.id], timeouts=Timeouts(), clock=SystemClock(), breakers=self.breakers
        )
        trail = Trail(SystemClock())
        keys = {"a": Credential(api_key="sk-of-the-caller")} if own_key else {}
        events = execute(decision(*plan), REQUEST, catalog=CATALOG, trail=trail, credentials=keys)
        try:
            async with aclosing(events):
                came = 0
                async for _ in events:
                    came += 1
                    if came == leave_after:
                        break
        except PointsmanError as error:
            self.error = error
        return [(attempt.model, attempt.status) for attempt in trail.attempts]


@pytest.mark.parametrize(
    "script",
    [Script(UpstreamStatus(500, b"")), Script(Frames(b"hel"), UpstreamBroken())],
    ids=["at once", "in the middle"],
)
async def test_a_model_that_failed_thrice_is_passed_over(script):
    setup = Setup()
    for _ in range(3):
        assert (await setup.play({CHEAP.id: script}))[0] == (CHEAP.id, "error")
    assert setup.breakers.opened() == OPEN
    assert await setup.play({CHEAP.id: script, STRONG.id: Script(ANSWER)}) == [
        (CHEAP.id, "refused"), (STRONG.id, "ok"),
    ]  # fmt: skip
    assert await setup.play({CHEAP.id: script}) == [(CHEAP.id, "refused")]
    assert isinstance(setup.error, CircuitOpen)
    assert 0 < setup.error.retry_after <= 5
    assert len(script.calls) == 3


@pytest.mark.parametrize("status", [401, 402, 403, 429])
async def test_what_a_callers_own_key_may_not_do_opens_nothing(status):
    setup = Setup()
    script = Script(UpstreamStatus(status, b""))
    for _ in range(10):
        await setup.play({CHEAP.id: script}, own_key=True)
    assert isinstance(setup.error, CallerKeyRefused | UpstreamStatus)
    assert setup.breakers.opened() == {}
    for _ in range(3):
        await setup.play({CHEAP.id: Script(UpstreamStatus(503, b""))}, own_key=True)
    assert setup.breakers.opened() == OPEN


async def test_a_probe_that_taught_nothing_is_followed_by_another():
    setup = Setup(probes=1, open_seconds=0.0)
    for _ in range(3):
        await setup.play({CHEAP.id: Script(UpstreamStatus(500, b""))})
    for error in (UpstreamStatus(400, b""), UpstreamStatus(404, b"")):
        assert await setup.play({CHEAP.id: Script(error)}) == [(CHEAP.id, "error")]
    assert setup.breakers.standings()[1].state == "half-open"
    assert await setup.play({CHEAP.id: Script(ANSWER, ANSWER)}, leave_after=1) == [(CHEAP.id, "cancelled")]
    assert setup.breakers.standings()[1].state == "closed", "it had begun to answer"
