"""Budgets over real counters and a real ledger: what passes, what is settled, and what a crash leaves behind."""

from __future__ import annotations

import asyncio
import calendar
import fcntl
import uuid
from pathlib import Path

import msgspec
import pytest

from pointsman.core.books import Entry
from pointsman.core.budget import Refused
from pointsman.core.caller import Caller, Scopes
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.decision import Decision, new_decision_id
from pointsman.core.errors import UpstreamConnectError, UpstreamTimeout
from pointsman.core.events import Usage
from pointsman.core.outcome import Attempt, Outcome
from pointsman.core.shared import StateUnavailable
from pointsman.core.signals import Complexity, Conversation, Needs, Privacy, Signals
from pointsman.core.trail import Trail
from pointsman.pipeline.admit.budget_rules import BudgetRules, Caps
from pointsman.pipeline.admit.budgets import Budgets
from pointsman.pipeline.admit.purse import Grant
from pointsman.stores.database import Database
from pointsman.stores.ledger import Ledger
from pointsman.stores.ledger_rows import LATE
from pointsman.stores.memory_state import MemoryState
from pointsman.stores.redis_link import Address
from pointsman.stores.redis_state import RedisState
from pointsman.testing.memory_log import MemoryDecisionLog

from .away import AwayDatabase
from .shared_states import HandClock

LAST_OF_NOVEMBER = calendar.timegm((2026, 11, 30, 23, 0, 0))
EACH = 10_000
"""What a request costs at most: 1,000 tokens at ten dollars a million."""
MODEL = ModelCard(id="p:m", provider="p", name="m", price_input=0, price_output=10_000_000)
CHEAP = ModelCard(id="q:cheap", provider="q", name="cheap", price_input=0, price_output=2_000_000)
FREE = ModelCard(id="here:free", provider="here", name="free", local=True, price_input=0, price_output=0)
CATALOG = Catalog([MODEL, CHEAP, FREE])
ADMIN = Caller()
KEY = Caller(key_id="key_1", admin=False, role="member")


def decision(*plan: str, output: int = 1_000) -> Decision:
    signals = Signals(
        complexity=Complexity(score=0.1, length=0.1, terms=0.1, structure=0.1),
        privacy=Privacy(),
        needs=Needs(max_output=output, output_most=output),
        conversation=Conversation(),
    )
    plan = plan or (MODEL.id,)
    return Decision(
        id=new_decision_id(), created_at=0.0, model=plan[0], plan=plan, mode="auto", requested_model="auto",
        candidates=(), dropped=(), propensity=1.0, policy="test@1", reasons=(), signals=signals,
        estimated_cost_micro_usd=None,
    )  # fmt: skip


class World:
    """One installation: processes come and go, the ledger, the log and shared counters stay."""

    def __init__(self, database: Database, folder: Path, state=None) -> None:
        self.clock = HandClock()
        self.clock.wall = float(LAST_OF_NOVEMBER)
        self.log = MemoryDecisionLog()
        self.alerts: list = []
        self._database, self._folder, self._shared = database, folder, state
        self._open: list = []

    async def process(self, *, state=None, start: bool = True, **rules) -> Budgets:
        ledger = Ledger(self._database, self._folder)
        budgets = Budgets(
            rules=BudgetRules(**{"caps": Caps(monthly=5 * EACH), "shared": self._shared is not None, **rules}),
            state=state or self._shared or MemoryState(self.clock),
            books=ledger,
            log=self.log,
            clock=self.clock,
            notify=self._notify,
        )
        self._open += [budgets, ledger]
        if start:
            await budgets.start()
        return budgets

    async def _notify(self, alert) -> None:
        self.alerts.append(alert)

    def trail(self, *attempts) -> Trail:
        """Attempts: (card, tokens or an error or None for one that was cancelled)."""
        trail = Trail(self.clock)
        for card, end in attempts:
            step = trail.begin(card)
            if isinstance(end, int):
                step.first_byte()
                step.used(Usage(0, end), final=True)
                step.succeeded()
            elif end is not None:
                step.failed(end)
        return trail

    async def close(self) -> None:
        for one in self._open:
            await one.close()


@pytest.fixture
async def world(database: Database, tmp_path: Path):
    world = World(database, tmp_path)
    yield world
    await world.close()


@pytest.fixture
async def replicas(database: Database, tmp_path: Path, valkey_server):
    state = RedisState(Address(valkey_server.url), prefix=uuid.uuid4().hex, timeout=10)
    world = World(database, tmp_path, state)
    yield world
    await world.close()
    await state.close()


async def spend(budgets: Budgets, *plan: str, caller: Caller = ADMIN, **fields) -> Grant:
    grant = await budgets.reserve(decision(*plan, **fields), CATALOG, caller)
    assert isinstance(grant, Grant), grant
    return grant


async def used(budgets: Budgets, caller: Caller = ADMIN, scope: str = "global") -> int:
    report = await budgets.report(caller)
    return next(budget.used_micro_usd for budget, _, _ in report.budgets if budget.scope == scope)


async def settled(budgets: Budgets) -> None:
    async with asyncio.timeout(60):
        while budgets._holding.tasks or budgets._alerts._tasks:
            await asyncio.sleep(0.01)


async def test_exactly_as_many_pass_as_the_cap_allows(world):
    budgets = await world.process(caps=Caps(monthly=50 * EACH))
    found = await asyncio.gather(*(budgets.reserve(decision(), CATALOG, ADMIN) for _ in range(500)))
    assert sum(isinstance(one, Grant) for one in found) == 50
    assert sum(isinstance(one, Refused) for one in found) == 450
    assert await used(budgets) == 50 * EACH


async def test_two_processes_share_a_cap(replicas):
    both = [await replicas.process(caps=Caps(monthly=50 * EACH)) for _ in range(2)]
    found = await asyncio.gather(*(both[n % 2].reserve(decision(), CATALOG, ADMIN) for n in range(200)))
    assert sum(isinstance(one, Grant) for one in found) == 50
    for grant in found:
        if isinstance(grant, Grant):
            grant.settle(replicas.trail((MODEL, 100)))
    for budgets in both:
        await settled(budgets)
    assert await used(both[0]) == await used(both[1]) == 50 * 1_000


async def test_what_a_request_cost_replaces_what_was_reserved_once(world):
    budgets = await world.process()
    grant = await spend(budgets)
    assert await used(budgets) == EACH
    for _ in range(3):
        grant.settle(world.trail((MODEL, 250)))
    await settled(budgets)
    assert await used(budgets) == 2_500


@pytest.mark.parametrize(
    ("attempts", "cost"),
    [
        ([], 0),
        ([(MODEL, UpstreamConnectError("refused"))], 0),
        ([(MODEL, UpstreamTimeout("first_byte", 1.0))], EACH),
        ([(MODEL, None)], EACH),
        ([(MODEL, UpstreamConnectError("refused")), (CHEAP, 500)], 1_000),
        ([(MODEL, UpstreamTimeout("connect", 1.0)), (FREE, 900)], 0),
    ],
)
async def test_doubt_is_charged_at_the_worst_case(world, attempts, cost):
    budgets = await world.process()
    grant = await spend(budgets, MODEL.id, CHEAP.id, FREE.id)
    grant.settle(world.trail(*attempts))
    await settled(budgets)
    assert await used(budgets) == cost


async def test_a_second_attempt_after_one_that_may_be_billed_needs_money_of_its_own(world):
    budgets = await world.process(caps=Caps(monthly=15_000))
    grant = await spend(budgets, MODEL.id, CHEAP.id)
    doubtful = world.trail((MODEL, UpstreamTimeout("first_byte", 1.0)))
    assert await grant.covers(CHEAP, doubtful)
    assert await used(budgets) == EACH + 2_000
    assert (await budgets._books.get(grant.id)).reserved == EACH + 2_000
    assert not await grant.covers(MODEL, doubtful)
    assert await grant.covers(FREE, doubtful)
    step = doubtful.begin(CHEAP)
    step.first_byte()
    step.used(Usage(0, 100))
    step.succeeded()
    grant.settle(doubtful)
    await settled(budgets)
    assert await used(budgets) == EACH + 200


async def test_a_provider_that_counts_more_than_its_bounds_is_settled_honestly(world, caplog):
    budgets = await world.process()
    (await spend(budgets)).settle(world.trail((MODEL, 3_000)))
    await settled(budgets)
    assert await used(budgets) == 30_000
    assert budgets.overspent_micro_usd == 20_000
    assert "more than the 10000 that were reserved" in caplog.text


async def test_a_killed_process_never_frees_money(world):
    first = await world.process()
    grants = [await spend(first) for _ in range(5)]
    grants[0].settle(world.trail((MODEL, 100)))
    await settled(first)
    # Killed here: two are unknown, one is known by an estimate, one had its outcome in the log.
    told, guessed = grants[1:3]
    for grant in (told, guessed):
        attempt = Attempt(model=MODEL.id, started_at=0.0, cost_micro_usd=2_000, estimated=grant is guessed)
        world.log.decisions[grant.id] = msgspec.structs.replace(decision(), id=grant.id)
        world.log.outcomes[grant.id] = Outcome(status="ok", attempts=[attempt], cost_micro_usd=2_000)
    second = await world.process()
    assert await used(second) == 1_000 + 2_000 + 3 * EACH
    report = await second.report(ADMIN)
    assert {row.id for row in report.unsettled} == {grant.id for grant in grants[2:]}
    assert isinstance(await second.reserve(decision(), CATALOG, ADMIN), Grant)
    assert isinstance(await second.reserve(decision(), CATALOG, ADMIN), Refused)
    assert (await second.release(grants[2].id)).reserved == EACH
    assert await second.release(grants[2].id) is None
    assert await used(second) == 3_000 + 3 * EACH
    assert isinstance(await second.reserve(decision(), CATALOG, ADMIN), Grant)


async def test_leases_of_a_dead_replica_lapse(replicas):
    dead = await replicas.process(lease_seconds=0.3)
    grants = [await spend(dead) for _ in range(3)]
    told = grants[0]
    replicas.log.decisions[told.id] = msgspec.structs.replace(decision(), id=told.id)
    replicas.log.outcomes[told.id] = Outcome(
        status="ok", attempts=[Attempt(model=MODEL.id, started_at=0.0, cost_micro_usd=2_000)], cost_micro_usd=2_000
    )
    # A reservation whose process died before the row was written: the call was never made.
    unwritten = Grant(
        dead._holding, decision(), key_id=None, at=0, reserved=EACH, models={}, budgets=grants[0].budgets,
        default_output=None,
    )  # fmt: skip
    await dead._holding.hold(unwritten, "never-made", {grants[0].budgets[0].total: EACH})
    alive = await replicas.process(lease_seconds=600)
    assert await used(alive) == 4 * EACH
    async with asyncio.timeout(60):
        while await used(alive) != 2_000 + 2 * EACH:
            await asyncio.sleep(0.1)
            await alive.reap()
    # One of the lost comes back late: its cost replaces the worst case.
    grants[1].settle(replicas.trail((MODEL, 100)))
    await settled(dead)
    await alive.reap()
    assert await used(alive) == 2_000 + 1_000 + EACH
    assert [row.id for row in (await alive.report(ADMIN)).unsettled] == [grants[2].id]
    assert await alive.release(grants[2].id) is not None
    assert await used(alive) == 3_000


def forget(state: MemoryState) -> None:
    """As a restart does."""
    state.__dict__.update(MemoryState(HandClock()).__dict__ | {"_wall": state._wall, "_monotonic": state._monotonic})


async def test_counters_that_lost_their_memory_are_seeded_from_the_ledger(world):
    budgets = await world.process()
    (await spend(budgets)).settle(world.trail((MODEL, 100)))
    await settled(budgets)
    open_grant = await spend(budgets)
    forget(budgets._state)
    budgets._totals.known.clear()
    assert await used(budgets) == 1_000 + EACH
    open_grant.settle(world.trail((MODEL, 100)))
    await settled(budgets)
    assert await used(budgets) == 2_000
    forget(budgets._state)  # once more, at once: the correction is not awaited twice
    budgets._totals.known.clear()
    assert await used(budgets) == 2_000


async def test_a_month_begins_anew_and_the_old_one_is_archived(world):
    budgets = await world.process(caps=Caps(daily=2 * EACH, monthly=5 * EACH))
    grants = [await spend(budgets) for _ in range(2)]
    assert isinstance(await budgets.reserve(decision(), CATALOG, ADMIN), Refused)
    world.clock.move(2 * 3_600)
    assert budgets.means(ADMIN) is None  # nothing is known of December yet
    assert (await budgets.learn(ADMIN)).remaining_micro_usd == 2 * EACH
    await spend(budgets)
    for grant in grants:
        grant.settle(world.trail((MODEL, 100)))  # they count against November, in which they were reserved
    await settled(budgets)
    assert await used(budgets) == EACH
    await budgets._books.archive(budgets._state.now(), keep_seconds=1e9)
    report = await budgets.report(ADMIN, period="2026-11")
    assert {(row.scope, row.name): (row.micro_usd, row.requests) for row in report.spent} == {
        ("global", ""): (2_000, 2), ("key", ""): (2_000, 2), ("model", MODEL.id): (2_000, 2),
    }  # fmt: skip


async def test_keys_and_models_have_caps_of_their_own(world):
    budgets = await world.process(caps=Caps(), per_key=Caps(daily=2 * EACH), models={CHEAP.id: Caps(monthly=2_000)})
    await spend(budgets, CHEAP.id, caller=ADMIN)
    assert isinstance(await budgets.reserve(decision(CHEAP.id), CATALOG, KEY), Refused)
    for _ in range(2):
        await spend(budgets, caller=KEY)
    assert isinstance(await budgets.reserve(decision(), CATALOG, KEY), Refused)
    rich = Caller(key_id="key_2", scopes=Scopes(daily_micro_usd=4 * EACH))
    for _ in range(4):
        await spend(budgets, caller=rich)
    assert isinstance(await budgets.reserve(decision(), CATALOG, rich), Refused)
    assert await budgets.reserve(decision(), CATALOG, ADMIN) is None  # no budget holds for the local user
    mine = await budgets.report(KEY)
    assert [(budget.scope, budget.name) for budget, _, _ in mine.budgets] == [("key", "key_1")]
    assert {(row.scope, row.name) for row in mine.spent} == {("key", "key_1")}


async def test_soft_budgets_count_and_never_refuse(world):
    budgets = await world.process(hard=False)
    for _ in range(8):
        await spend(budgets)
    assert await used(budgets) == 8 * EACH
    means = budgets.means(ADMIN)
    assert (means.capped, means.tier) == (False, "low")


async def test_tiers_follow_what_is_left_of_the_month(world):
    budgets = await world.process(caps=Caps(monthly=10 * EACH))
    seen = []
    for _ in range(10):
        seen.append((await budgets.learn(ADMIN)).tier)
        await spend(budgets)
    assert seen == ["high"] * 5 + ["medium"] * 3 + ["low"] * 2


async def test_an_alert_comes_once_over_all_processes_and_restarts(world):
    state = MemoryState(world.clock)
    both = [await world.process(caps=Caps(monthly=10 * EACH), state=state) for _ in range(2)]
    (await spend(both[0])).settle(world.trail((MODEL, 7_900)))
    await settled(both[0])
    for budgets in both:
        await budgets._totals.refresh(0.0)
        await budgets._alerts.look()
    assert world.alerts == []
    (await spend(both[0])).settle(world.trail((MODEL, 100)))
    await settled(both[0])
    restarted = await world.process(caps=Caps(monthly=10 * EACH))
    for budgets in (*both, restarted) * 2:
        await budgets._totals.refresh(0.0)
        await budgets._alerts.look()
        await settled(budgets)
    [alert] = world.alerts
    assert (alert.scope, alert.period, alert.share) == ("global", "2026-11", 0.8)


class AwayState:
    """Counters that do not answer."""

    def __init__(self, clock: HandClock) -> None:
        self._inner = MemoryState(clock)
        self.away = True

    def __getattr__(self, name):
        if self.away and name != "now":
            return self._refuse
        return getattr(self._inner, name)

    async def _refuse(self, *values, **fields):
        raise StateUnavailable("The counters are away.")


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("open_when_away", [True, False])
async def test_while_the_counters_are_away(world, hard, open_when_away):
    state = AwayState(world.clock)
    budgets = await world.process(state=state, hard=hard, open_when_away=open_when_away)
    if hard and not open_when_away:
        with pytest.raises(StateUnavailable):
            await budgets.learn(ADMIN)
        with pytest.raises(StateUnavailable):
            await budgets.reserve(decision(), CATALOG, ADMIN)
        assert budgets.destitute(ADMIN).affords(FREE, 0)
        assert not budgets.destitute(ADMIN).affords(MODEL, 1)
        return
    grant = await spend(budgets)
    state.away = False
    grant.settle(world.trail((MODEL, 100)))
    await settled(budgets)
    world.clock.move(LATE + 1)  # what was settled beside the counters is counted by its worst case at first
    assert await used(budgets) == 1_000


async def test_settling_waits_for_counters_that_are_away(world):
    state = AwayState(world.clock)
    state.away = False
    budgets = await world.process(state=state)
    grant = await spend(budgets)
    state.away = True
    grant.settle(world.trail((MODEL, 100)))
    await settled(budgets)
    state.away = False
    await budgets._holding.catch_up()
    assert await used(budgets) == 1_000
    assert (await budgets._books.get(grant.id)).settled == 1_000


async def test_a_request_that_is_cancelled_while_it_reserves_gives_back(world):
    budgets = await world.process()
    task = asyncio.create_task(budgets.reserve(decision(), CATALOG, ADMIN))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled(budgets)
    assert await used(budgets) == 0


async def test_no_total_lacks_what_a_dead_process_spooled_where_the_database_is_away_at_the_start(database, tmp_path):
    gone, away = AwayDatabase(database), AwayDatabase(database)
    dead = Ledger(gone, tmp_path)
    await dead.start()
    gone.away = away.away = True
    at = float(LAST_OF_NOVEMBER)
    await dead.reserve(Entry(id="a", at=at, key_id=None, lease_until=at, reserved=EACH, models={MODEL.id: EACH}))
    fcntl.flock(dead._spool._descriptor, fcntl.LOCK_UN)  # as the kernel does for a process that died
    world = World(away, tmp_path)
    budgets = await world.process()
    away.away = False
    assert await used(budgets) == EACH
    await spend(budgets)
    assert await used(budgets) == 2 * EACH
    assert not list(tmp_path.glob("ledger-*.spool"))
    await world.close()


async def test_calls_go_on_from_the_spool_while_the_database_is_away(database, tmp_path):
    away = AwayDatabase(database)
    world = World(away, tmp_path)
    budgets = await world.process()
    away.away = True
    grant, lost = await spend(budgets), await spend(budgets)
    grant.settle(world.trail((MODEL, 100)))
    await settled(budgets)
    away.away = False
    async with asyncio.timeout(60):
        while budgets._books.spooled:
            await asyncio.sleep(0.05)
    assert await used(budgets) == 1_000 + EACH
    assert (await budgets._books.get(grant.id)).settled == 1_000
    assert (await budgets._books.get(lost.id)).state == "reserved"
    await world.close()
