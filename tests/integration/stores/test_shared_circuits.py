"""Replicas tell one another on a Valkey of circuits that open and close; without it each goes by what it sees."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.errors import UpstreamConnectError, UpstreamStatus
from pointsman.core.ports import Clock, SystemClock
from pointsman.core.shared import StateUnavailable
from pointsman.pipeline.execute.breaker import CircuitBreakers
from pointsman.pipeline.execute.breaker_sharing import SharedBreakers
from pointsman.pipeline.execute.circuit import BreakerRules
from pointsman.stores.redis_link import Address
from pointsman.stores.redis_state import RedisState
from services import Valkey, valkey
from waiting import eventually

from .shared_states import HandClock

CARD = ModelCard(id="a:x y", provider="a", name="x y")  # a name may hold a space
OTHER = ModelCard(id="a:z", provider="a", name="z")
RULES = BreakerRules(open_seconds=20.0, probes=1)


class Models:
    catalog = Catalog([CARD, OTHER])


class Replica:
    def __init__(self, url: str, prefix: str, clock: Clock) -> None:
        self.state = RedisState(Address(url), prefix=prefix, timeout=5)
        self.breakers = CircuitBreakers(RULES, models=Models(), clock=clock)
        self.shared = SharedBreakers(self.breakers, self.state, every=0.2)

    def fail(self, times: int = 5) -> None:
        for _ in range(times):
            self.breakers.told(CARD, UpstreamStatus(500, b""), None)


@asynccontextmanager
async def replicas(server: Valkey, *clocks: Clock) -> AsyncIterator[tuple[Replica, Replica]]:
    prefix = uuid.uuid4().hex
    one, other = (Replica(server.url, prefix, clock) for clock in clocks or (SystemClock(), SystemClock()))
    yield one, other
    await one.state.close()
    await other.state.close()


async def test_an_opening_and_a_closing_reach_the_other(valkey_server: Valkey) -> None:
    mine, theirs = HandClock(), HandClock()
    theirs.move(1234.5)  # these clocks count from when each machine was started
    async with replicas(valkey_server, mine, theirs) as (one, other):
        one.fail()
        await one.shared.exchange()
        await other.shared.exchange()
        assert other.breakers.opened() == {CARD.id: "its circuit is open: 5 of 5 calls failed in 60 s"}
        assert 0 < other.breakers.admit(CARD) <= one.breakers.admit(CARD) <= 20
        mine.move(21)
        theirs.move(21)
        assert other.breakers.admit(CARD) == 0
        other.breakers.told(CARD, None, 0.1)
        assert one.breakers.standings()[1].state == "half-open"
        await other.shared.exchange()
        await one.shared.exchange()
        assert [circuit.state for circuit in one.breakers.standings()] == ["closed", "closed"]
        one.fail(4)
        assert one.breakers.opened() == {}, "it begins to count anew"


async def test_a_provider_that_cannot_be_reached_is_left_alone_by_both(valkey_server: Valkey) -> None:
    async with replicas(valkey_server) as (one, other):
        for _ in range(3):
            one.breakers.told(CARD, UpstreamConnectError(), None)
        await one.shared.exchange()
        await other.shared.exchange()
        assert set(other.breakers.opened()) == {CARD.id, OTHER.id}


async def test_old_news_is_not_taken_up_again(valkey_server: Valkey) -> None:
    async with replicas(valkey_server) as (one, other):
        one.fail()
        await one.shared.exchange()
        await other.shared.exchange()
        other.breakers.adopt_closed("model", CARD.id)
        await other.shared.exchange()
        assert other.breakers.opened() == {}
        late = Replica(valkey_server.url, other.state._prefix.decode().strip("{}:"), SystemClock())
        await late.shared.exchange()
        assert set(late.breakers.opened()) == {CARD.id}, "who has just started learns of it"
        await late.state.close()


async def test_it_is_known_within_a_second_or_two_without_being_asked_for(valkey_server: Valkey) -> None:
    async with replicas(valkey_server) as (one, other):
        tasks = [asyncio.create_task(replica.shared.run()) for replica in (one, other)]
        await asyncio.sleep(0.3)
        one.fail()
        await eventually(lambda: bool(other.breakers.opened()))
        for task in tasks:
            task.cancel()


async def test_notices_are_kept_as_long_as_they_are_to_be(valkey_server: Valkey) -> None:
    async with replicas(valkey_server) as (one, other):
        assert await one.state.exchange({}, keep=1) == {}
        await one.state.exchange({"model:a b:ü\n": "{first}", "model:c": "two words\nand more"}, keep=60)
        await one.state.exchange({"short": "gone"}, keep=1)
        await other.state.exchange({"model:a b:ü\n": "{second}"}, keep=60)
        found = await one.state.exchange({}, keep=1)
        assert {name: notice.text for name, notice in found.items()} == {
            "model:a b:ü\n": "{second}", "model:c": "two words and more", "short": "gone",
        }  # fmt: skip
        await asyncio.sleep(1.05)
        found = await one.state.exchange({"last": "word"}, keep=60)
        assert set(found) == {"model:a b:ü\n", "model:c", "last"}
        assert all(0 <= notice.age < 30 for notice in found.values())


async def test_words_of_another_version_are_passed_over(valkey_server: Valkey) -> None:
    async with replicas(valkey_server) as (one, other):
        await one.state.exchange({"model:a": "no JSON", "model:b": '{"state":"melted"}'}, keep=60)
        one.fail()
        await one.shared.exchange()
        await other.shared.exchange()
        assert set(other.breakers.opened()) == {CARD.id}


async def test_while_it_is_away_each_goes_alone_and_the_news_waits() -> None:
    with valkey() as server:
        async with replicas(server) as (one, other):
            tasks = [asyncio.create_task(replica.shared.run()) for replica in (one, other)]
            await asyncio.sleep(0.3)
            server.kill()
            began = time.monotonic()
            one.fail()
            assert time.monotonic() - began < 1.0, "nobody waits for it"
            assert set(one.breakers.opened()) == {CARD.id}
            with pytest.raises(StateUnavailable):
                await one.shared.exchange()
            assert other.breakers.opened() == {}
            server.start()
            await eventually(lambda: bool(other.breakers.opened()))
            assert not any(task.done() for task in tasks)
            for task in tasks:
                task.cancel()
