"""What a provider allows is given back where a caller leaves while the shared counters are asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from pointsman.core.catalog import ModelCard
from pointsman.core.ports import SystemClock
from pointsman.core.shared import Bucket
from pointsman.core.signals import Needs
from pointsman.pipeline.admit.provider_limits import ProviderLimits, ProviderRule
from pointsman.pipeline.admit.tiers import Tier, Tiers

from .shared_states import Counters, in_memory, on_valkey

CARD = ModelCard(id="cloud:one", provider="cloud", name="one")
ALLOWED = 60


@pytest.fixture(params=["memory", "valkey"])
async def counters(request: pytest.FixtureRequest) -> AsyncIterator[Counters]:
    made = in_memory() if request.param == "memory" else on_valkey(request.getfixturevalue("valkey_server"))
    yield made
    await made.close()


async def test_who_leaves_at_any_moment_takes_nothing(counters: Counters) -> None:
    throttle = ProviderLimits(
        state=counters.state,
        rules={"cloud": ProviderRule(requests_per_minute=ALLOWED)},
        tiers=Tiers({"free": Tier(priority="high")}, "free"),
        clock=SystemClock(),
        open_when_away=False,
    )
    bucket = Bucket(key="provider:cloud:requests", capacity=ALLOWED, refill=ALLOWED / 60, cost=0.0)
    await counters.take(bucket)  # connects
    for turns in range(2 * ALLOWED):  # of the loop until the caller leaves: before it is sent, and until it is told
        asking = asyncio.create_task(throttle.take(CARD, Needs(), "free"))
        for _ in range(turns % 8):
            await asyncio.sleep(0)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            share = await asking
            assert share is not None
            throttle.settle(share, sent=False, tokens=None)
    await throttle.close()
    (left,) = (await counters.take(bucket)).standings
    assert left.remaining == ALLOWED
