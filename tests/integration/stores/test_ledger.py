"""The ledger on both back ends: durable rows, sums, spooling, archive."""

from __future__ import annotations

import asyncio
import calendar
import fcntl
import os
from pathlib import Path

import pytest

from pointsman.core.books import Entry, Raise, Settle
from pointsman.core.errors import StoreError
from pointsman.pipeline.admit.totals import SEED_PAUSE
from pointsman.stores import ledger as ledger_module
from pointsman.stores.database import Database
from pointsman.stores.ledger import LINGER, Ledger
from pointsman.stores.ledger_rows import LATE
from pointsman.stores.postgres_database import PostgresDatabase
from pointsman.stores.postgres_log import PostgresDecisionLog
from pointsman.stores.sqlite_database import SqliteDatabase
from pointsman.stores.sqlite_log import SqliteDecisionLog

from .away import AwayDatabase
from .entries import decision, outcome

NOW = calendar.timegm((2026, 11, 22, 12, 0, 0))
DAY, MONTH = "2026-11-22", "2026-11"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ledger_module, "QUIET", 0.0)


@pytest.fixture
async def ledger(database: Database, tmp_path: Path):
    ledger = Ledger(database, tmp_path)
    await ledger.start()
    yield ledger
    await ledger.close()


def entry(identifier: str, micro_usd: int = 100, *, at: float = NOW, key: str | None = "key_1", **models: int) -> Entry:
    return Entry(id=identifier, at=at, key_id=key, lease_until=at + 60, reserved=micro_usd,
                 models=models or {"p:m": micro_usd})  # fmt: skip


def settle(identifier: str, micro_usd: int, *, at: float = NOW, **fields) -> Settle:
    return Settle(id=identifier, at=at, micro_usd=micro_usd, models={"p:m": micro_usd}, **fields)


async def global_month(ledger: Ledger, **fields) -> int:
    return (await ledger.sums([("global", "", MONTH)], fields.pop("now", NOW), **fields))[0]


async def test_sums_count_worst_cases_until_they_are_settled(ledger):
    await ledger.reserve(entry("a", 100))
    await ledger.reserve(entry("b", 50, key="key_2"))
    wanted = [("global", "", MONTH), ("global", "", DAY), ("key", "key_1", MONTH), ("model", "p:m", DAY)]
    assert await ledger.sums(wanted, NOW) == [150, 150, 100, 150]
    assert await ledger.settle(settle("a", 30))
    assert await ledger.sums(wanted, NOW) == [80, 80, 30, 80]
    assert await ledger.sums(wanted, NOW, under_way=True) == [50, 50, 0, 50]
    assert await ledger.sums([("global", "", "2026-10"), ("key", "nobody", MONTH)], NOW) == [0, 0]


async def test_a_row_is_settled_once(ledger):
    await ledger.reserve(entry("a", 100))
    results = await asyncio.gather(*(ledger.settle(settle("a", cost)) for cost in (1, 2, 3)))
    assert sorted(results) == [False, False, True]
    assert not await ledger.settle(settle("never", 1))
    assert await global_month(ledger) in (1, 2, 3)


async def test_reserving_twice_under_one_name_counts_once(ledger):
    await asyncio.gather(*(ledger.reserve(entry("a", 100)) for _ in range(3)))
    assert await global_month(ledger) == 100


async def test_five_hundred_at_once_share_few_transactions(ledger):
    await asyncio.gather(*(ledger.reserve(entry(f"r{number}", 7)) for number in range(500)))
    assert await global_month(ledger) == 3_500


async def test_a_late_settlement_still_counts_by_its_worst_case_for_a_moment(ledger):
    await ledger.reserve(entry("a", 100))
    await ledger.settle(settle("a", 10, late=True))
    assert await global_month(ledger) == 100
    assert (await ledger.sums([("model", "p:m", DAY)], NOW))[0] == 100
    assert await global_month(ledger, now=NOW + LATE + 1) == 10


async def test_an_unsettled_row_can_be_released_or_settled_late(ledger):
    for name in ("a", "b"):
        await ledger.reserve(entry(name, 100))
        assert await ledger.settle(settle(name, 0, state="unsettled"))
        assert not await ledger.settle(settle(name, 0, state="unsettled"))
    assert [row.id for row in await ledger.unsettled()] == ["a", "b"]
    assert await global_month(ledger) == 200
    assert await ledger.settle(settle("a", 0, state="released"))
    assert await ledger.settle(settle("b", 40))
    assert not await ledger.settle(settle("a", 40))
    assert await global_month(ledger) == 40
    assert await ledger.unsettled() == []


async def test_a_raised_reservation(ledger):
    await ledger.reserve(entry("a", 100))
    await ledger.raise_to(Raise(id="a", at=NOW, reserved=250, models={"p:m": 150, "q:n": 100}))
    row = await ledger.get("a")
    assert row is not None
    assert (row.reserved, dict(row.models)) == (250, {"p:m": (150, 0), "q:n": (100, 0)})


async def test_which_rows_have_lapsed(database, ledger, tmp_path):
    other = Ledger(database, tmp_path)
    await other.start()
    await other.reserve(entry("theirs"))
    await ledger.reserve(entry("mine"))
    assert await ledger.lapsed(NOW, alone=False) == []
    assert [row.id for row in await ledger.lapsed(NOW, alone=True)] == ["theirs"]
    assert {row.id for row in await ledger.lapsed(NOW + 61, alone=False)} == {"mine", "theirs"}
    await other.close()


async def test_an_alert_is_first_once(ledger):
    assert [await ledger.first_alert("global:2026-11", NOW) for _ in range(2)] == [True, False]


async def test_rows_are_spooled_while_the_database_is_away(database, tmp_path):
    away = AwayDatabase(database)
    ledger = Ledger(away, tmp_path)
    await ledger.start()
    assert await ledger.reserve(entry("before", 1))
    away.away = True
    assert not await ledger.reserve(entry("while", 100))
    assert await ledger.settle(settle("while", 30))
    assert not await ledger.reserve(entry("open", 5))
    assert list(tmp_path.glob("ledger-*.spool"))
    away.away = False
    async with asyncio.timeout(60):
        while ledger.spooled:
            await asyncio.sleep(0.05)
    assert await global_month(ledger) == 36
    await ledger.close()
    assert not list(tmp_path.glob("ledger-*.spool"))


class Slow(AwayDatabase):
    """Transactions wait until it is let go; counts the statements of the largest one after that."""

    def __init__(self, inner: Database) -> None:
        super().__init__(inner)
        self.free = asyncio.Event()
        self.largest = 0

    async def transaction(self, statements):
        await self.free.wait()
        self.largest = max(self.largest, len(statements))
        return await self._inner.transaction(statements)


async def test_a_slow_database_holds_nobody_up_and_what_is_written_twice_counts_once(database, tmp_path, caplog):
    slow = Slow(database)
    ledger = Ledger(slow, tmp_path)
    await ledger.start()
    try:
        async with asyncio.timeout(30):  # the first waits a moment, the others do not
            assert not any([await ledger.reserve(entry(f"r{number}", 10)) for number in range(50)])
            await asyncio.gather(*(ledger.reserve(entry(f"s{number}", 10)) for number in range(500)))
            assert await ledger.settle(settle("r0", 4))
            with pytest.raises(StoreError, match="on the way"):
                await global_month(ledger)  # counters seeded from such a sum would let too much pass
            slow.free.set()
            while ledger.spooled:
                await asyncio.sleep(0.05)
        assert await global_month(ledger) == 549 * 10 + 4
        assert slow.largest < 300, "a long absence must not become one huge transaction"
        assert len([line for line in caplog.messages if "spooled to a file" in line]) == 1
        assert await ledger.reserve(entry("later", 1))
    finally:
        slow.free.set()
        await ledger.close()
    assert not list(tmp_path.glob("ledger-*.spool"))


async def test_no_sum_is_told_while_another_process_still_brings_its_rows(database, tmp_path, monkeypatch):
    if database.dialect == "sqlite":
        pytest.skip("one gateway writes it")
    away = AwayDatabase(database)
    one, other = Ledger(away, tmp_path / "one"), Ledger(database, tmp_path / "other")
    await one.start()
    await other.start()
    away.away = True
    assert not await one.reserve(entry("first", 1))
    monkeypatch.setattr(ledger_module, "BATCH", 1)
    for number in range(3):
        await one.reserve(entry(f"r{number}", 1))
    write, told = one._write, []

    async def looked_at(items, **options):
        done = await write(items, **options)
        with pytest.raises(StoreError, match="on the way"):
            await global_month(other)
        told.append(done)
        return done

    monkeypatch.setattr(one, "_write", looked_at)
    away.away = False
    async with asyncio.timeout(60):
        while one.spooled or await database.fetch("SELECT 1 FROM revisions WHERE name LIKE 'ledger-spool:%'"):
            await asyncio.sleep(0.05)
    assert len(told) == 4
    assert await global_month(other) == 4
    await one.close()
    await other.close()


async def test_a_full_disk_is_told_once_and_never_called_a_spool(database, tmp_path, monkeypatch, caplog):
    away = AwayDatabase(database)
    ledger = Ledger(away, tmp_path)
    await ledger.start()
    away.away = True
    write = os.pwrite

    def full(descriptor, data, place):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    for number in range(3):
        with pytest.raises(StoreError, match="No space left"):
            await ledger.reserve(entry(f"refused{number}", 100))
    assert len([line for line in caplog.messages if "No space left" in line]) == 1
    assert not [line for line in caplog.messages if "spooled to a file" in line]
    monkeypatch.setattr(os, "pwrite", write)
    for number in range(2):
        assert not await ledger.reserve(entry(f"kept{number}", 1))
    assert len([line for line in caplog.messages if "is spooled to a file" in line]) == 1
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError, match="No space left"):
        await ledger.reserve(entry("refused", 100))
    assert len([line for line in caplog.messages if "No space left" in line]) == 2  # it is another time
    monkeypatch.setattr(os, "pwrite", write)
    away.away = False
    await ledger.close()


async def test_a_full_disk_keeps_nothing_by_halves(database, tmp_path, monkeypatch):
    away = AwayDatabase(database)
    ledger = Ledger(away, tmp_path)
    await ledger.start()
    away.away = True
    assert not await ledger.reserve(entry("before", 1))
    write = os.pwrite

    def full(descriptor, data, place):
        if len(data) < 10:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:20], place)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError, match="No space left"):
        await ledger.reserve(entry("refused", 100))
    monkeypatch.setattr(os, "pwrite", write)
    assert not await ledger.reserve(entry("after", 10))
    away.away = False
    async with asyncio.timeout(60):
        while ledger.spooled:
            await asyncio.sleep(0.05)
    assert await global_month(ledger) == 11
    await ledger.close()


async def test_what_a_dead_process_spooled_is_taken_over(database, tmp_path):
    away = AwayDatabase(database)
    dead = Ledger(away, tmp_path)
    await dead.start()
    away.away = True
    await dead.reserve(entry("a", 100))
    fcntl.flock(dead._spool._descriptor, fcntl.LOCK_UN)  # as the kernel does for a process that died
    heir = Ledger(database, tmp_path)
    await heir.start()
    assert await global_month(heir) == 100
    assert not list(tmp_path.glob("ledger-*.spool"))
    await heir.close()


async def test_closed_periods_are_archived_and_their_rows_go(ledger):
    october = calendar.timegm((2026, 10, 5, 0, 0, 0))
    await ledger.reserve(entry("old", 100, at=october))
    await ledger.settle(settle("old", 60, at=october))
    await ledger.reserve(entry("older", 9, at=october - 40 * 86_400, key=None))
    await ledger.settle(settle("older", 0, state="unsettled"))
    await ledger.reserve(entry("new", 7))
    assert await ledger.archive(NOW, keep_seconds=86_400 * 90) == 0
    assert {(row.scope, row.name): row.micro_usd for row in await ledger.spent("2026-10")} == {
        ("global", ""): 60, ("key", "key_1"): 60, ("model", "p:m"): 60,
    }  # fmt: skip
    assert {row.period: row.micro_usd for row in await ledger.spent("2026-10-05") if row.scope == "global"} == {
        "2026-10-05": 60
    }
    later = NOW + 86_400 * 60
    assert await ledger.archive(later, keep_seconds=86_400 * 20) == 1  # the others are not settled
    assert await ledger.archive(later, keep_seconds=86_400 * 20) == 0
    assert await ledger.get("old") is None
    assert (await ledger.spent("2026-10"))[0].micro_usd == 60
    assert await ledger.sums([("key", "key_1", "2026-10"), ("global", "", "2026-08")], later) == [60, 9]
    assert await ledger.get("older") is not None


async def test_two_replicas_archive_at_once(database, ledger, tmp_path):
    october = calendar.timegm((2026, 10, 5, 0, 0, 0))
    await ledger.reserve(entry("old", 100, at=october))
    await ledger.settle(settle("old", 60, at=october))
    other = Ledger(database, tmp_path)
    await other.start()
    gone = await asyncio.gather(*(one.archive(NOW, keep_seconds=0) for one in (ledger, other)))
    assert sum(gone) == 1
    assert (await ledger.spent("2026-10"))[0].micro_usd == 60
    await other.close()


async def test_without_any_budget_the_decision_log_tells_what_was_paid(log_and_ledger):
    log, ledger = log_and_ledger
    paid = decision(created_at=float(NOW), key_id="key_9")
    log.decided(paid, prompt=None)
    log.ended(paid.id, outcome(cost_micro_usd=70))
    assert await log.get(paid.id)
    assert {(row.scope, row.micro_usd, row.requests) for row in await ledger.spent(DAY)} == {
        ("global", 70, 1), ("key", 70, 1), ("model", 70, 1),
    }  # fmt: skip
    assert await ledger.spent("2026-10") == []


@pytest.fixture(params=["sqlite", "postgres"])
async def log_and_ledger(request, path, tmp_path):
    if request.param == "sqlite":
        log, database = SqliteDecisionLog(path), SqliteDatabase(path)
    else:
        url = request.getfixturevalue("postgres_url")
        log, database = PostgresDecisionLog(url, timeout=10), PostgresDatabase(url, timeout=10)
    await log.open()
    await database.open()
    ledger = Ledger(database, tmp_path)
    await ledger.start()
    yield log, ledger
    await ledger.close()
    await log.close()
    await database.close()


async def test_a_settled_row_waits_a_moment_for_company_and_not_for_a_seed(ledger):
    """Nobody waits for it, so it shares the transaction of the next reservation; alone it is written before a seed
    that finds the counters empty reads the books."""
    assert LINGER < SEED_PAUSE / 2
    await ledger.reserve(entry("a", 100))
    done = asyncio.create_task(ledger.settle(settle("a", 40)))
    await asyncio.sleep(0)
    await ledger.reserve(entry("b", 100))
    assert done.done()
    assert await ledger.settle(settle("b", 40))
    assert await global_month(ledger) == 80
    assert await ledger.sums([("global", "", MONTH), ("model", "p:m", MONTH)], NOW, under_way=True) == [0, 0]
