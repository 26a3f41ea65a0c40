"""Policies on trial in the database: who serves, who has a share, who looks on, and what was done when by whom."""

from __future__ import annotations

import msgspec
import pytest

from pointsman.app.trials import Trials
from pointsman.core.catalog import Catalog
from pointsman.core.errors import InvalidRequest, NotFound
from pointsman.core.ports import SystemClock
from pointsman.pipeline.decide import RulePolicy
from pointsman.pipeline.record.tally import Tally
from pointsman.stores import rows
from pointsman.stores.database import Conflict, Database
from pointsman.stores.policies import BUILT_IN, MOST_SHADOWS, PolicyStore, Why
from pointsman.stores.trials import ShadowChoice, TrialStore

from .entries import decision


@pytest.fixture
async def store(database: Database) -> PolicyStore:
    store = PolicyStore(database, SystemClock())
    for _ in range(3):
        await store.add("mine", kind="rules", artefact="{}", report={"rows": 7})
    return store


async def test_a_share_is_one_version_s_and_a_promotion_ends_it(store: PolicyStore):
    await store.stage("mine@1", 0.1)
    await store.stage("mine@2", 0.2, why=Why(by="ada", reason="why not"))
    standing = await store.standing()
    assert standing.serving is None
    assert standing.staged is not None
    assert (standing.staged[0].version, standing.staged[0].share) == ("mine@2", 0.2)
    await store.promote("mine@2", why=Why(detail={"low": 0.1}))
    standing = await store.standing()
    assert standing.serving is not None
    assert (standing.serving.version, standing.before, standing.staged) == ("mine@2", BUILT_IN, None)
    assert standing.serving.report == '{"rows":7}'
    events = await store.history()
    assert [(event.action, event.version, event.share) for event in events] == [
        ("promoted", "mine@2", None), ("staged", "mine@2", 0.2), ("staged", "mine@1", 0.1),
    ]  # fmt: skip
    assert (events[1].by, events[1].reason, events[0].detail) == ("ada", "why not", {"low": 0.1})


async def test_a_rollback_ends_the_share_first_and_comes_once(store: PolicyStore):
    await store.promote("mine@1")
    await store.stage("mine@2", 0.5)
    assert await store.roll_back(expect="mine@2") == "mine@1"
    with pytest.raises(Conflict, match="rolled back already"):  # what a second gateway meets
        await store.roll_back(expect="mine@2")
    assert (await store.promoted()).version == "mine@1"
    assert await store.roll_back(expect="mine@1") == BUILT_IN
    with pytest.raises(InvalidRequest, match="nothing to roll back"):
        await store.roll_back()


async def test_shadows_are_bounded_and_end(store: PolicyStore):
    for _ in range(MOST_SHADOWS):
        kept = await store.add("dark", kind="rules", artefact="{}")
        await store.shadow(kept.version)
    with pytest.raises(InvalidRequest, match="in the shadow already"):
        await store.shadow("mine@1")
    with pytest.raises(InvalidRequest, match="on trial already"):
        await store.shadow("dark@1")
    await store.withdraw("dark@1")
    with pytest.raises(InvalidRequest, match="not on trial"):
        await store.withdraw("dark@1")
    assert len((await store.standing()).shadows) == MOST_SHADOWS - 1


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
async def test_shares_that_make_no_sense_are_refused(store: PolicyStore, share: float):
    with pytest.raises(InvalidRequest, match="more than 0"):
        await store.stage("mine@1", share)


async def test_what_is_not_there_or_serves_is_not_tried(store: PolicyStore):
    with pytest.raises(NotFound):
        await store.stage("mine@9", 0.5)
    await store.promote("mine@1")
    with pytest.raises(InvalidRequest, match="serves already"):
        await store.stage("mine@1", 0.5)


async def test_what_shadows_say_is_kept_once(database: Database, decided):
    trials = TrialStore(database)
    [identifier] = decided
    choice = ShadowChoice(identifier, "dark@1", "lan:small", 1.0, 0, 0.25)
    await trials.keep([choice])
    await trials.keep([choice._replace(agreement=1.0)])
    [summary] = await trials.summaries()
    assert (summary.version, summary.decisions, summary.agreement) == ("dark@1", 1, 0.25)
    [seen] = await trials.unseen(after=0.0, most=10)
    assert seen.id == identifier
    assert await trials.ended("rules@2", since=0.0, until=1e12, most=10) == []  # it has not ended


async def test_shadows_go_on_when_the_clock_is_set_back_a_year(store: PolicyStore, database: Database):
    class SetClock(SystemClock):
        wall = 1_700_000_000.0

        def now(self) -> float:
            return self.wall

    clock, tally = SetClock(), Tally()
    trials = Trials(store, TrialStore(database), catalog=lambda: Catalog(()), tally=tally, clock=clock)
    await store.shadow("mine@1")
    trials.follow(await store.standing(), {"mine@1": RulePolicy()}, built_in="rules@2")

    async def decide(at: float) -> int:
        """How many decisions the shadow has looked at, once there is another at that time."""
        made = msgspec.structs.replace(decision(), created_at=at)
        await database.execute(rows.INSERT_DECISION, *map(_plain, rows.decision_row(made)))
        clock.wall = max(clock.wall, at) if at < clock.wall + 5 else clock.wall
        await trials.look()
        return tally.shadow_choices

    assert await decide(1_700_000_001.0) == 1
    assert await decide(1_731_000_000.0) == 1 + 1, "of a gateway whose clock is a year ahead"
    assert await decide(1_700_000_002.0) == 3
    clock.wall = 1_668_000_000.0
    assert await decide(1_668_000_001.0) == 4
    assert await decide(1_668_000_002.0) == 5
    [summary] = await TrialStore(database).summaries()
    assert summary.decisions == 5


@pytest.fixture
async def decided(database: Database) -> list[str]:
    """The ids of decisions that lie in the database."""
    made = decision()
    await database.execute(rows.INSERT_DECISION, *map(_plain, rows.decision_row(made)))
    return [made.id]


def _plain(value: object) -> object:
    return int(value) if isinstance(value, bool) else value


async def test_who_served_before_is_known_back_to_the_built_in_policy(store: PolicyStore):
    for version in ("mine@1", BUILT_IN, "mine@2", "mine@3", "mine@1"):
        await store.promote(version)
    standing = await store.standing()
    assert standing.serving is not None
    assert (standing.promoted, standing.serving.version) == ("mine@1", "mine@1")
    assert [one.version for one in standing.earlier] == ["mine@3", "mine@2"]
    await store.promote(BUILT_IN)
    standing = await store.standing()
    assert (standing.promoted, standing.serving, standing.earlier) == (BUILT_IN, None, ())
