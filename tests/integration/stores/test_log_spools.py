"""A database that goes away and comes back: nothing is lost, whatever happens meanwhile. On both back ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pointsman.core.errors import StoreError
from pointsman.core.outcome import Feedback
from pointsman.stores import decision_log, sqlite_file
from pointsman.stores.decision_log import StoredDecisionLog
from pointsman.stores.postgres_log import PostgresDecisionLog
from pointsman.stores.spool import Spool
from pointsman.stores.sqlite_log import SqliteDecisionLog
from services import Postgres, postgres
from waiting import eventually

from .entries import decision, outcome


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decision_log, "FIRST_RETRY", 0.05)
    monkeypatch.setattr(decision_log, "LAST_RETRY", 0.2)
    monkeypatch.setattr(decision_log, "SPOOL_AFTER", 0.1)
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_MS", 50)


@dataclass
class Store:
    """A database that can be taken away."""

    make: Callable[..., StoredDecisionLog]
    take_away: Callable[[], None]
    give_back: Callable[[], None]
    folder: Path

    async def opened(self, **options: int) -> StoredDecisionLog:
        log = self.make(spool=Spool(self.folder, max_bytes=options.pop("max_bytes", 2**30)), **options)
        await log.open()
        return log

    async def counted(self) -> tuple[int, int]:
        """Decisions and outcomes that are there, each once: ids are primary keys."""
        log = self.make()
        await log.open()
        try:
            found = await log.recent(100_000)
        finally:
            await log.close()
        return len(found), sum(record["outcome"] is not None for record in found)


@pytest.fixture(scope="module")
def own_server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, path: Path, tmp_path: Path) -> Iterator[Store]:
    folder = tmp_path / "spool"
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("own_server")
        url = server.migrated()
        yield Store(lambda **options: PostgresDecisionLog(url, **options), server.kill, server.start, folder)
        if not server.alive:
            server.start()
        return
    held: list[sqlite3.Connection] = []

    def lock() -> None:
        held.append(sqlite3.connect(path, isolation_level=None))
        held[-1].execute("PRAGMA busy_timeout = 5000")
        held[-1].execute("BEGIN IMMEDIATE")

    def release() -> None:
        held.pop().close()

    yield Store(lambda **options: SqliteDecisionLog(path, **options), lock, release, folder)
    for connection in held:
        connection.close()


def put(log: StoredDecisionLog, count: int) -> list[str]:
    made = [decision() for _ in range(count)]
    for one in made:
        log.decided(one, prompt=b"[]")
        log.ended(one.id, outcome())
    return [one.id for one in made]


async def test_items_wait_on_disk_and_are_written_in_order_when_it_is_back(store: Store, caplog):
    log = await store.opened()
    before = put(log, 5)
    await log.recent(1)
    store.take_away()
    during = put(log, 3)
    await eventually(lambda: log.status().spooled == 6)
    during += put(log, 700)
    await eventually(lambda: log.status().spooled == 1406 and log.status().pending == 0)
    assert not log.status().ok
    with pytest.raises(StoreError) as caught:
        await log.get(during[-1])
    assert caught.value.code == "store_unavailable"
    with pytest.raises(StoreError):
        await log.feedback(Feedback(decision_id=during[-1], score=1.0))
    store.give_back()
    await eventually(lambda: log.status().ok and log.status().spooled == 0)
    after = put(log, 2)
    assert [record["decision"]["id"] for record in reversed(await log.recent(10_000))] == before + during + after
    assert log.status().dropped == 0
    assert list(store.folder.iterdir()) == []
    await log.close()
    assert await store.counted() == (710, 710)


async def test_a_gateway_that_stops_while_it_is_away_leaves_items_to_the_next(store: Store):
    log = await store.opened()
    first = decision()
    log.decided(first, prompt=None)
    await log.recent(1)
    store.take_away()
    log.ended(first.id, outcome())  # the outcome of what is in the database already
    put(log, 50)
    await log.close()
    assert (log.status().spooled, log.status().dropped) == (101, 0)
    again = await store.opened()  # and is stopped again before anything could be written
    put(again, 1)
    await again.close()
    store.give_back()
    last = await store.opened()
    await eventually(lambda: last.status().spooled == 0)
    await last.close()
    assert await store.counted() == (52, 52)
    assert list(store.folder.iterdir()) == []


async def test_a_short_absence_leaves_no_file(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decision_log, "SPOOL_AFTER", 60)
    log = await store.opened()
    store.take_away()
    put(log, 3)
    await eventually(lambda: not log.status().ok)
    store.give_back()
    await eventually(lambda: log.status().ok and log.status().pending == 0)
    assert not store.folder.exists()
    await log.close()
    assert await store.counted() == (3, 3)


async def test_when_the_spool_is_full_memory_holds_what_it_can_and_the_rest_is_counted(store: Store, caplog):
    log = await store.opened(max_bytes=10_000, max_pending=100)
    store.take_away()
    put(log, 2)
    await eventually(lambda: log.status().spooled == 4)
    for _ in range(60):
        put(log, 1)
    assert (log.status().pending, log.status().dropped) == (100, 20)
    await eventually(lambda: "database.spool_max_bytes" in caplog.text)
    store.give_back()
    await eventually(lambda: log.status().ok and log.status().pending == 0)
    await log.close()
    assert await store.counted() == (52, 52)


async def test_memory_that_runs_short_is_relieved_by_the_disk(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decision_log, "SPOOL_AFTER", 60)
    log = await store.opened(max_pending=100)
    store.take_away()
    for _ in range(4):
        put(log, 30)
        await eventually(lambda: log.status().pending <= 50)
    store.give_back()
    await eventually(lambda: log.status().ok and log.status().pending == log.status().spooled == 0)
    await log.close()
    assert log.status().dropped == 0
    assert await store.counted() == (120, 120)


async def test_what_comes_while_the_disk_is_written_out_is_soon_on_it_too(store: Store, monkeypatch):
    """However long that takes: who is killed meanwhile loses a moment."""
    log = await store.opened()
    store.take_away()
    put(log, 100)
    await eventually(lambda: log.status().spooled == 200)
    monkeypatch.setattr(decision_log, "BATCH", 20)
    monkeypatch.setattr(decision_log, "REPLAY_SECONDS", 0.02)
    may, write = threading.Semaphore(0), log._write

    def slowly(batch):
        may.acquire()
        time.sleep(0.03)
        return write(batch)

    monkeypatch.setattr(log, "_write", slowly)
    store.give_back()
    for _ in range(3):
        put(log, 1)
        may.release()
        await eventually(lambda: log.status().pending == 0, seconds=20)
        assert log.status().spooled > 100
    may.release(1000)
    await log.close()
    again = await store.opened()
    await eventually(lambda: again.status().spooled == 0)
    await again.close()
    assert await store.counted() == (103, 103)


async def test_what_comes_while_the_database_hangs_is_soon_on_disk(own_server: Postgres, tmp_path: Path):
    """Long before it is known that it does not answer; what it wrote all the same is there once."""
    url = own_server.migrated()
    log = PostgresDecisionLog(url, timeout=30, spool=Spool(tmp_path))
    await log.open()
    own_server.freeze()
    try:
        put(log, 20)
        await eventually(lambda: log.status().spooled == 40 and log.status().pending == 0, seconds=15)
        put(log, 600)
        await eventually(lambda: log.status().spooled == 1240 and log.status().pending == 0, seconds=15)
        assert log.status().ok
    finally:
        own_server.thaw()
    await eventually(lambda: log.status().spooled == 0)
    put(log, 1)
    found = await log.recent(10_000)
    assert len(found) == 621
    assert all(record["outcome"] is not None for record in found)
    assert list(tmp_path.iterdir()) == []
    await log.close()


KILLED = """
    import asyncio, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[3])
    from stores.entries import decision, outcome
    from pointsman.stores import decision_log, sqlite_file
    from pointsman.stores.spool import Spool
    from pointsman.stores.sqlite_log import SqliteDecisionLog
    sqlite_file.BUSY_TIMEOUT_MS = 50
    decision_log.SPOOL_AFTER = 0.0

    async def main():
        log = SqliteDecisionLog(Path(sys.argv[1]), spool=Spool(Path(sys.argv[2])))
        await log.open()
        for _ in range(100):
            one = decision()
            log.decided(one, prompt=None)
            log.ended(one.id, outcome())
        while log.status().spooled < 200:
            await asyncio.sleep(0.01)
        print("spooled", flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())
"""


async def test_what_a_killed_process_had_on_disk_is_written_by_the_next(path: Path, tmp_path: Path):
    log = SqliteDecisionLog(path)
    await log.open()
    await log.close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    folder, tests = tmp_path / "spool", str(Path(__file__).parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(path), str(folder), tests],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert (await asyncio.to_thread(process.stdout.readline)).strip() == "spooled"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    holder.close()
    log = SqliteDecisionLog(path, spool=Spool(folder))
    await log.open()
    await eventually(lambda: log.status().spooled == 0)
    assert len(await log.recent(1000)) == 100
    await log.close()
