"""What is known of answers: written with the feedback, read by every gateway in the order of writing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import msgspec
import pytest

from pointsman.app.implicit import SETTLED, ImplicitKeeper
from pointsman.app.observations import DAY, Learns, ObservationFeed
from pointsman.core.errors import StoreError
from pointsman.core.observation import Implicit, Observation
from pointsman.core.outcome import Edit, Feedback, SuiteResult
from pointsman.core.ports import SystemClock
from pointsman.stores.database import Database
from pointsman.stores.decision_log import StoredDecisionLog
from pointsman.stores.observations import REVISION, Cursor, ObservationStore
from pointsman.stores.postgres_database import PostgresDatabase
from pointsman.stores.postgres_log import PostgresDecisionLog
from pointsman.stores.sqlite_database import SqliteDatabase
from pointsman.stores.sqlite_log import SqliteDecisionLog
from pointsman.stores.watch import Watcher
from waiting import eventually

from .entries import SIGNALS, decision, outcome


class Stores:
    def __init__(self, log: StoredDecisionLog, database: Database) -> None:
        self.log, self.database, self.store = log, database, ObservationStore(database)

    async def answered(self, count: int = 1, **changes: object) -> list[str]:
        """Decisions with their outcomes; returns the ids."""
        made = [decision(**changes) for _ in range(count)]
        for one in made:
            self.log.decided(one, prompt=None)
            self.log.ended(one.id, outcome())
        await self.log.get(made[-1].id)  # sees what was queued before
        return [one.id for one in made]

    async def say(self, identifier: str, **said: object) -> None:
        await self.log.feedback(Feedback(decision_id=identifier, **said))  # type: ignore[arg-type]


@pytest.fixture(params=["sqlite", "postgres"])
async def stores(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Stores]:
    log: StoredDecisionLog = SqliteDecisionLog(path)
    database: Database = SqliteDatabase(path)
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        log, database = PostgresDecisionLog(url, timeout=10), PostgresDatabase(url, timeout=10)
    await log.open()
    await database.open()
    yield Stores(log, database)
    await log.close()
    await database.close()


class SetClock:
    """A clock whose hands are moved."""

    wall = 0.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return 5.0


class Learner:
    """Keeps the last word on each decision, as posteriors do."""

    def __init__(self) -> None:
        self.known: dict[str, Observation] = {}
        self.folds = 0

    def fold(self, observations: Iterable[Observation], now: float) -> None:
        self.folds += 1
        for one in observations:
            self.known[one.decision_id] = one

    def forget(self, decisions: Iterable[str]) -> None:
        for identifier in decisions:
            self.known.pop(identifier, None)

    @property
    def successes(self) -> dict[str, float]:
        return {identifier: one.success for identifier, one in self.known.items() if one.weight}


def feed_of(stores: Stores, *learners: Learns, window_days: float = 10_000, **changes: object) -> ObservationFeed:
    return ObservationFeed(
        stores.store, lambda: learners, SystemClock(), window_days=window_days, **{"key_share": 0.5, **changes}
    )  # type: ignore[arg-type]


async def test_feedback_writes_an_observation_of_the_model_that_answered(stores: Stores):
    [identifier] = await stores.answered()
    await stores.say(identifier, tests=SuiteResult(passed=3, failed=1), thumb="down")
    [stored] = await stores.store.after(Cursor(), 10)
    assert stored.key_id == "key_a"
    one = stored.observation
    assert (one.decision_id, one.model, one.success, one.weight) == (identifier, "cloud:großes", 0.75, 1.0)
    assert (one.source, one.signals) == ("tests", SIGNALS)
    [kept] = (await stores.log.recent(1)) or [None]
    assert kept is not None
    assert kept["feedback"]["tests"] == {"passed": 3, "failed": 1}


async def test_the_last_word_holds_and_nothing_of_the_one_before(stores: Stores):
    [identifier] = await stores.answered()
    await stores.say(identifier, thumb="down")
    cursor = await stores.store.end()
    assert await stores.store.after(cursor, 10) == []
    await stores.say(identifier, edit=Edit(accepted=True))
    [stored] = await stores.store.after(cursor, 10)
    assert (stored.observation.success, stored.observation.source) == (1.0, "edit")
    record = await stores.log.get(identifier)
    assert record is not None
    assert record["feedback"]["thumb"] is None


async def test_of_a_request_that_no_model_was_asked_for_nothing_is_learned(stores: Stores):
    [identifier] = await stores.answered(model="")
    await stores.database.execute("UPDATE decisions SET answered_by = NULL")
    await stores.say(identifier, thumb="down")
    assert await stores.store.after(Cursor(), 10) == []
    assert (await stores.log.get(identifier) or {})["feedback"]["thumb"] == "down"


async def test_a_reader_misses_none_of_many_writers(stores: Stores):
    ids = await stores.answered(60)
    seen: list[str] = []

    async def read() -> None:
        cursor = Cursor()
        while len(set(seen)) < len(ids):
            for stored in await stores.store.after(cursor, 7):
                cursor = Cursor(stored.revision, stored.observation.decision_id)
                seen.append(stored.observation.decision_id)
            await asyncio.sleep(0.005)

    reading = asyncio.create_task(read())

    async def guess(part: list[str]) -> None:  # another connection than the log's
        for identifier in part:
            await stores.store.note([Implicit(decision_id=identifier, kind="retry", success=0.0, at=1.0)], {})

    async def say(part: list[str]) -> None:
        for identifier in part:
            await stores.say(identifier, thumb="up")

    await asyncio.gather(guess(ids[:20]), guess(ids[20:40]), say(ids[40:]))
    await asyncio.wait_for(reading, 10)
    assert sorted(set(seen)) == sorted(ids)


async def test_two_gateways_agree_whenever_they_began(stores: Stores):
    ids = await stores.answered(30)
    for place, identifier in enumerate(ids[:20]):
        await stores.say(identifier, score=place / 20)
    early, late, later = Learner(), Learner(), Learner()
    one = feed_of(stores, early)
    await one.turn()
    for identifier in ids[10:]:
        await stores.say(identifier, thumb="down")
    await one.turn()
    other = feed_of(stores, late)
    await other.turn()
    assert early.successes == late.successes
    assert early.successes == {identifier: (place / 20 if place < 10 else 0.0) for place, identifier in enumerate(ids)}
    await feed_of(stores, late, later).turn()  # another policy serves beside the first
    assert later.known == late.known


async def test_a_watcher_wakes_it(stores: Stores):
    ids = await stores.answered(3)
    learner = Learner()
    feed = feed_of(stores, learner)
    watcher = Watcher(stores.database, SystemClock(), interval=0.02)
    watcher.watch(REVISION, feed.wake)
    await watcher.start()
    running = asyncio.create_task(feed.run())
    for identifier in ids:
        await stores.say(identifier, thumb="down")
    await eventually(lambda: len(learner.known) == 3)
    await stores.say(ids[0], thumb="up")
    await eventually(lambda: learner.successes[ids[0]] == 1.0)
    running.cancel()
    await watcher.close()


async def test_only_the_latest_within_the_window_are_in_force(stores: Stores):
    now = SystemClock().now()
    old = await stores.answered(2, created_at=now - 2 * DAY)
    new = [(await stores.answered(1, created_at=now - age))[0] for age in (5, 4, 3, 2, 1)]
    for identifier in old + new:
        await stores.say(identifier, thumb="up")
    learner = Learner()
    await feed_of(stores, learner, window_days=1, most=3).turn()
    assert set(learner.known) == set(new[-3:])


async def test_a_storm_for_one_answer_is_one_row_and_few_folds(stores: Stores):
    [identifier] = await stores.answered()
    learner = Learner()
    feed = feed_of(stores, learner)
    await feed.turn()
    for number in range(300):
        await stores.say(identifier, score=number % 10 / 10)
    await feed.turn()
    assert learner.folds == 1
    assert learner.successes == {identifier: 0.9}
    assert await stores.database.fetch("SELECT COUNT(*) FROM observations") == [(1,)]


async def test_one_keys_flood_counts_for_its_share_alone(stores: Stores):
    flood = await stores.answered(120, key_id="flood")
    fair = await stores.answered(30, key_id="fair")
    for identifier in fair:
        await stores.say(identifier, thumb="up")
    early, late = Learner(), Learner()
    feed = feed_of(stores, early)
    await feed.turn()
    for identifier in flood:
        await stores.say(identifier, thumb="down")
    await feed.turn()
    await feed_of(stores, late).turn()
    assert early.known == late.known, "whoever read them before and after the flood agrees"
    counts = {key: sum(late.known[one].weight for one in ids) for key, ids in (("flood", flood), ("fair", fair))}
    assert counts["fair"] == 30
    assert 30 * 2**-0.25 <= counts["flood"] <= 30


async def test_a_guess_never_stands_in_the_place_of_what_was_said(stores: Stores):
    said, guessed = await stores.answered(2)
    weights = {"complaint": 0.5, "retry": 0.2}
    await stores.say(said, thumb="up")
    for identifier in (said, guessed):
        for kind, success in (("complaint", 0.0), ("retry", 1.0)):
            await stores.store.note([Implicit(decision_id=identifier, kind=kind, success=success, at=1.0)], weights)
    await stores.store.note([Implicit(decision_id="dec_gone", kind="retry", success=0.0, at=1.0)], weights)
    found = {stored.observation.decision_id: stored.observation for stored in await stores.store.after(Cursor(), 10)}
    assert (found[said].source, found[said].success) == ("feedback", 1.0)
    assert (found[guessed].source, found[guessed].success, found[guessed].weight) == ("implicit", 0.0, 0.5)
    await stores.say(guessed, thumb="up")
    found = {stored.observation.decision_id: stored.observation for stored in await stores.store.after(Cursor(), 10)}
    assert (found[guessed].source, found[guessed].success, found[guessed].weight) == ("feedback", 1.0, 1.0)


async def test_guesses_are_compared_with_what_was_said_and_weighed_by_it(stores: Stores):
    ids = await stores.answered(6)
    await stores.store.note([Implicit(decision_id=one, kind="retry", success=0.0, at=1.0) for one in ids], {})
    for identifier, thumb in zip(ids, ("down", "down", "up"), strict=False):
        await stores.say(identifier, thumb=thumb)
    await stores.say(ids[3], outcome="partial")
    [agreement] = await stores.store.agreements(0)
    assert (agreement.kind, agreement.right, agreement.cases) == ("retry", 2, 3)
    learner = Learner()
    feed = feed_of(stores, learner)
    await feed.turn()
    assert len(learner.successes) == 4
    assert await stores.store.weigh("retry", 0.25) == 2, "those of which nobody has spoken"
    assert await stores.store.weigh("retry", 0.25) == 0
    await feed.turn()
    assert {learner.known[one].weight for one in ids[4:]} == {0.25}
    assert {learner.known[one].weight for one in ids[:4]} == {1.0}


async def test_a_keeper_writes_signals_and_believes_a_kind_once_it_was_right_often_enough(stores: Stores):
    keeper = ImplicitKeeper(stores.store, SystemClock(), window_days=1, weigh=0, settled=0)
    ids = await stores.answered(33)
    for identifier in ids:
        keeper.keep(Implicit(decision_id=identifier, kind="complaint", success=0.0, at=SystemClock().now()))
    await keeper.flush()
    await keeper.weigh()
    assert keeper.weights == {}
    for identifier in ids[:30]:
        await stores.say(identifier, thumb="down")
    await keeper.weigh()
    assert keeper.weights == {"complaint": pytest.approx(0.75)}
    learner = Learner()
    feed = feed_of(stores, learner)
    await feed.turn()
    assert [learner.known[one].weight for one in ids[30:]] == pytest.approx([0.75] * 3)
    for identifier in ids[:20]:  # they change their minds
        await stores.say(identifier, thumb="up")
    await keeper.weigh()
    await feed.turn()
    assert [learner.known[one].weight for one in ids[30:]] == [0.0] * 3
    another = ImplicitKeeper(stores.store, SystemClock(), window_days=1)
    await another.weigh()
    assert another.weights == {"complaint": 0.0}


async def test_signals_wait_for_a_database_that_is_away(stores: Stores):
    [identifier] = await stores.answered()
    keeper = ImplicitKeeper(stores.store, SystemClock(), window_days=1, settled=0)
    keeper.keep(Implicit(decision_id=identifier, kind="retry", success=0.0, at=1.0))
    await stores.database.execute("ALTER TABLE implicit_signals RENAME TO moved")
    with pytest.raises(StoreError):
        await keeper.flush()
    await stores.database.execute("ALTER TABLE moved RENAME TO implicit_signals")
    await keeper.flush()
    assert await stores.database.fetch("SELECT decision_id FROM implicit_signals") == [(identifier,)]


async def test_a_signal_waits_for_its_answer_to_be_in_the_log(stores: Stores):
    class SetClock(SystemClock):
        at = 100.0

        def monotonic(self) -> float:
            return self.at

    clock = SetClock()
    keeper = ImplicitKeeper(stores.store, clock, window_days=1)
    [identifier] = await stores.answered()
    keeper.keep(Implicit(decision_id=identifier, kind="retry", success=0.0, at=1.0))
    await keeper.flush()
    assert await stores.database.fetch("SELECT decision_id FROM implicit_signals") == []
    clock.at += SETTLED
    await keeper.flush()
    assert await stores.database.fetch("SELECT decision_id FROM implicit_signals") == [(identifier,)]


async def test_a_deleted_decision_takes_what_is_known_of_it_along(stores: Stores):
    [identifier] = await stores.answered()
    await stores.store.note([Implicit(decision_id=identifier, kind="retry", success=0.0, at=1.0)], {})
    await stores.database.execute("DELETE FROM decisions")
    assert await stores.store.after(Cursor(), 10) == []
    assert await stores.database.fetch("SELECT * FROM implicit_signals") == []


async def test_a_clock_that_jumps_there_and_back_forgets_nothing_for_good(stores: Stores):
    clock, learner = SetClock(), Learner()
    now = clock.wall = SystemClock().now()
    ids = await stores.answered(3, created_at=now - 60)
    for identifier in ids[:2]:
        await stores.say(identifier, thumb="up")
    feed = ObservationFeed(stores.store, lambda: [learner], clock, window_days=1, key_share=0.5)
    await feed.turn()
    assert len(learner.known) == 2
    clock.wall = now + 30 * DAY
    await feed.turn(moved=False)
    assert learner.known == {}
    clock.wall = now
    await feed.turn(moved=False)
    assert len(learner.known) == 2
    clock.wall = now - 30 * DAY  # what was decided in the future is no reason to fail
    await stores.say(ids[2], thumb="down")
    await feed.turn()
    assert len(learner.known) == 3


async def test_signals_that_cannot_be_read_count_for_nothing_and_hold_up_nobody(stores: Stores):
    ids = await stores.answered(3)
    for identifier in ids:
        await stores.say(identifier, thumb="up")
    await stores.database.execute("UPDATE decisions SET signals = $1 WHERE id <> $2", '{"intent": "cooking"}', ids[2])
    learner = Learner()
    await feed_of(stores, learner).turn()
    assert set(learner.successes) == {ids[2]}


async def test_numbers_that_make_no_sense_count_for_nothing_and_hold_up_nobody(stores: Stores):
    ids = await stores.answered(4)
    for identifier in ids:
        await stores.say(identifier, thumb="up")
    odd = "'abc'" if isinstance(stores.database, SqliteDatabase) else "'NaN'"
    for name, value, identifier in zip(("success", "weight", "success"), (odd, "9e99", "-1.0"), ids, strict=False):
        await stores.database.execute(f"UPDATE observations SET {name} = {value} WHERE decision_id = $1", identifier)
    learner = Learner()
    await feed_of(stores, learner).turn()
    assert set(learner.successes) == {ids[3]}


async def test_a_page_that_no_fold_takes_does_not_keep_out_the_next(stores: Stores, caplog):
    class Stumbles(Learner):
        def fold(self, observations: Iterable[Observation], now: float) -> None:
            if not self.folds:
                self.folds = 1
                raise ArithmeticError("odd")
            super().fold(observations, now)

    first, second = await stores.answered(2)
    learner = Stumbles()
    feed = feed_of(stores, learner)
    await feed.turn()
    await stores.say(first, thumb="up")
    await feed.turn()
    await stores.say(second, thumb="up")
    await feed.turn()
    assert set(learner.known) == {second}
    assert "1 observations could not be learned" in caplog.text


async def test_old_signals_without_newer_fields_are_read(stores: Stores):
    [identifier] = await stores.answered()
    tree = msgspec.to_builtins(SIGNALS)
    assert not {"features", "budget_tier"} & tree.keys()
    tree["needs"].pop("max_output")
    await stores.database.execute("UPDATE decisions SET signals = $1", msgspec.json.encode(tree).decode())
    await stores.say(identifier, thumb="up")
    [stored] = await stores.store.after(Cursor(), 10)
    assert stored.observation.signals.features == b""
