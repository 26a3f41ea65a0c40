"""Counters that forget, answers that are lost, disks that are full: no cap is exceeded, and nothing leaks for ever."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from pointsman.core.budget import Refused
from pointsman.core.errors import StoreError, UpstreamTimeout
from pointsman.core.shared import StateUnavailable
from pointsman.pipeline.admit.budget_rules import Caps
from pointsman.pipeline.admit.purse import Grant
from pointsman.stores.memory_state import MemoryState
from pointsman.stores.redis_link import Address
from pointsman.stores.redis_state import RedisState
from pointsman.stores.sole import SoleProcess
from services import Valkey, valkey

from .shared_states import HandClock
from .test_budgets import ADMIN, CATALOG, CHEAP, EACH, MODEL, AwayState, World, decision, settled, spend, used


class Losing:
    """Counters that do what they are asked, and lose the answer of the next step of one kind."""

    def __init__(self, inner) -> None:
        self._inner = inner
        self.lose: str | None = None
        self.done = True
        """Whether the step is done all the same."""

    def __getattr__(self, name):
        step = getattr(self._inner, name)
        if name != self.lose:
            return step

        async def lost(*values, **fields):
            self.lose = None
            if self.done:
                await step(*values, **fields)
            error = StateUnavailable("The answer is lost.")
            error.sent = True
            raise error

        return lost


class Held:
    """A database whose transactions wait until they are let go."""

    def __init__(self, inner) -> None:
        self._inner = inner
        self.free = asyncio.Event()
        self.free.set()
        self.waiting = 0

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def transaction(self, statements):
        self.waiting += 1
        await self.free.wait()
        return await self._inner.transaction(statements)


@pytest.fixture
def server():
    with valkey() as server:
        yield server


def shared(server: Valkey) -> RedisState:
    return RedisState(Address(server.url), prefix=uuid.uuid4().hex, timeout=10)


async def answering(state: RedisState) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                return await state.ping()
            except StateUnavailable:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("forgets", ["flush", "restart"])
async def test_a_row_that_came_too_late_for_the_seed_is_counted_again_or_refused(database, tmp_path, server, forgets):
    """The counters forget between a reservation and its row, and are seeded by another process without it."""
    state = shared(server)
    held = Held(database)
    slow = World(held, tmp_path, state)
    fast = World(database, tmp_path, state)
    try:
        two = [await slow.process(caps=Caps(monthly=3 * EACH)), await fast.process(caps=Caps(monthly=3 * EACH))]
        held.free.clear()
        before = held.waiting
        late = [asyncio.create_task(two[0].reserve(decision(), CATALOG, ADMIN)) for _ in range(2)]
        async with asyncio.timeout(60):
            while held.waiting == before:
                await asyncio.sleep(0.01)
        if forgets == "flush":
            await state._link.command("FLUSHALL")
        else:
            server.kill()
            server.start()
            await answering(state)
        # As if this took so long; the real pause of the ledger until it spools is not awaited.
        quick = [await spend(two[1]) for _ in range(2)]
        assert await used(two[1]) == 2 * EACH, "the seed has missed them"
        slow.clock.move(5)
        held.free.set()
        found = await asyncio.gather(*late)
        passed = [grant for grant in found if isinstance(grant, Grant)]
        assert [type(one) for one in found if one not in passed] == [Refused]
        assert await used(two[1]) == 3 * EACH
        for grant in (*quick, *passed):
            grant.settle(slow.trail((MODEL, 100)))
        for budgets in two:
            await settled(budgets)
        assert await used(two[1]) == 3 * 1_000
        assert not (await two[1].report(ADMIN)).unsettled
    finally:
        held.free.set()
        await slow.close()
        await fast.close()
        await state.close()


async def test_what_ended_while_the_counters_lost_their_memory_leaves_nothing_behind(database, tmp_path, server):
    state = shared(server)
    world = World(database, tmp_path, state)
    try:
        budgets = await world.process(caps=Caps(monthly=10 * EACH))
        grants = [await spend(budgets) for _ in range(8)]
        server.kill()
        for grant in grants[:4]:
            grant.settle(world.trail((MODEL, 100)))
        await settled(budgets)
        server.start()
        await answering(state)
        assert 4 * 1_000 + 4 * EACH <= await used(budgets) <= 8 * EACH, "the first four may be caught up with already"
        await budgets._holding.catch_up()
        for grant in grants[4:]:
            grant.settle(world.trail((MODEL, 100)))
        await settled(budgets)
        async with asyncio.timeout(60):  # the link may take a moment more to come back
            while await used(budgets) != 8 * 1_000:
                await budgets._holding.catch_up()
                await asyncio.sleep(0.05)
    finally:
        await world.close()
        await state.close()


@pytest.fixture
async def world(database, tmp_path):
    world = World(database, tmp_path)
    yield world
    await world.close()


@pytest.mark.parametrize("done", [True, False])
async def test_a_settlement_whose_answer_is_lost_counts_once(world, done):
    state = Losing(MemoryState(world.clock))
    budgets = await world.process(state=state)
    grant, other = await spend(budgets), await spend(budgets)
    state.lose, state.done = "settle", done
    grant.settle(world.trail((MODEL, 100)))
    await settled(budgets)
    await budgets._holding.catch_up()
    await settled(budgets)
    assert await used(budgets) == EACH + 1_000
    other.settle(world.trail((MODEL, 100)))
    await settled(budgets)
    assert await used(budgets) == 2_000
    assert budgets.overspent_micro_usd == 0


async def test_a_lost_top_up_is_not_taken_for_a_larger_one(world):
    """Asking twice under one name counts once, so another sum needs another name."""
    state = Losing(MemoryState(world.clock))
    budgets = await world.process(state=state, caps=Caps(monthly=3 * EACH))
    grant = await spend(budgets, CHEAP.id, MODEL.id)
    doubtful = world.trail((MODEL, UpstreamTimeout("first_byte", 1.0)))
    state.lose = "reserve"
    assert not await grant.covers(CHEAP, doubtful)
    assert await grant.covers(MODEL, doubtful)
    assert await used(budgets) >= 2 * EACH
    held = {total: sum(shares.get(total, 0) for shares in grant.held.values()) for total in grant.held[grant.id]}
    assert set(held.values()) == {2 * EACH}


async def test_what_no_disk_took_is_told_once_and_written_later(world, monkeypatch, caplog):
    budgets = await world.process()
    grant = await spend(budgets)
    settle = budgets._books.settle

    async def full(settled):
        raise StoreError("No space left on device.")

    monkeypatch.setattr(budgets._books, "settle", full)
    grant.settle(world.trail((MODEL, 100)))
    await settled(budgets)
    assert (await budgets._books.get(grant.id)).state == "reserved"
    await budgets._holding.catch_up()
    assert len([line for line in caplog.messages if "cannot be kept" in line]) == 1
    monkeypatch.setattr(budgets._books, "settle", settle)
    await budgets._holding.catch_up()
    assert (await budgets._books.get(grant.id)).settled == 1_000
    assert await used(budgets) == 1_000


async def test_a_process_that_stops_while_the_counters_are_away_tells_the_books(database, tmp_path):
    state = AwayState(HandClock())
    state.away = False
    world = World(database, tmp_path, state)
    stopping = await world.process(caps=Caps(monthly=3 * EACH), lease_seconds=5)
    grant = await spend(stopping)
    state.away = True
    grant.settle(world.trail((MODEL, 100)))
    await settled(stopping)
    await stopping.close()
    assert (await stopping._books.get(grant.id)).settled == 1_000
    state.away = False
    heir = await world.process(caps=Caps(monthly=3 * EACH))
    assert await used(heir) == EACH
    state._inner._monotonic = lambda: 1e9  # the lease has lapsed
    await heir.reap()
    assert await used(heir) == 1_000
    await world.close()


def test_one_process_counts_alone(tmp_path):
    first, second = SoleProcess(tmp_path / "lock"), SoleProcess(tmp_path / "lock")
    assert first.take()
    assert first.take()
    assert not second.take()
    first.release()
    assert second.take()
    second.release()
