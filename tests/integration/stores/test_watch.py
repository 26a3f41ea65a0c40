"""What one process changes, another sees within a second."""

from __future__ import annotations

import asyncio

import pytest

from pointsman.core.errors import StoreUnavailable
from pointsman.core.ports import SystemClock
from pointsman.stores.database import Conflict, Database, Statement
from pointsman.stores.installation import belongs_to, claim
from pointsman.stores.secret_key import SecretKey
from pointsman.stores.watch import Watcher, bump
from waiting import eventually


async def test_a_bump_is_seen_and_only_what_moved_is_loaded(database: Database):
    watcher, loads = Watcher(database, SystemClock(), interval=0.02), {"keys": 0, "policies": 0}
    for name in loads:

        async def load(name: str = name) -> None:
            loads[name] += 1

        watcher.watch(name, load)
    await watcher.start()
    assert loads == {"keys": 1, "policies": 1}
    await database.transaction([bump("keys")])
    await eventually(lambda: loads["keys"] == 2)
    with pytest.raises(Conflict):  # what is undone did not move
        await database.transaction([bump("policies"), Statement("DELETE FROM feedback", (), 1)])
    await database.transaction([bump("keys")])
    await watcher.look()
    assert loads == {"keys": 3, "policies": 1}
    assert watcher.age < 1
    assert not watcher.away
    await watcher.close()


async def test_a_database_that_is_away_leaves_what_is_known(database: Database):
    watcher, loads = Watcher(database, SystemClock(), interval=0.02), []

    async def load() -> None:
        loads.append(await database.fetch("SELECT 1"))

    watcher.watch("keys", load)
    await watcher.start()
    await database.close()
    await eventually(lambda: watcher.away)
    age = watcher.age
    await eventually(lambda: watcher.age > age + 0.05)
    assert len(loads) == 1
    await watcher.close()
    later = Watcher(database, SystemClock(), interval=0.02)
    with pytest.raises(StoreUnavailable):
        await later.start()
    await later.start(patient=True)
    assert later.away
    await later.close()


async def test_a_database_that_was_begun_anew_changes_nothing(database: Database):
    watcher, loads = Watcher(database, SystemClock(), interval=0.02), []

    async def load() -> None:
        loads.append(1)

    watcher.watch("keys", load)
    await database.transaction([bump("keys")])
    await watcher.start()
    await database.execute("DELETE FROM revisions")
    await eventually(lambda: watcher.away)
    age = watcher.age
    await eventually(lambda: watcher.age > age)
    assert len(loads) == 1
    await watcher.close()


async def test_a_database_belongs_to_one_secret(database: Database, caplog):
    ours, other = SecretKey(b"ours"), SecretKey(b"other")
    await asyncio.gather(*(claim(database, ours) for _ in range(5)))
    await claim(database, other, previous=ours)  # not yet rotated
    await claim(database, ours)
    if database.dialect == "postgres":
        with pytest.raises(Exception, match="another POINTSMAN_SECRET_KEY") as caught:
            await claim(database, other)
        assert ours.fingerprint not in str(caught.value)
        await database.transaction([belongs_to(other)])
    else:
        await claim(database, other)
        assert "are void" in caplog.text
    await claim(database, other)
    await claim(database, ours, previous=other)


async def test_looks_at_the_same_time_end_with_the_newest(database: Database):
    """A slow reload that began before a change must not be the last word."""
    loaded: list[int] = []
    slow = asyncio.Event()

    async def reload() -> None:
        rows = await database.fetch("SELECT value FROM revisions WHERE name = $1", "keys")
        if len(loaded) == 1:
            await slow.wait()
        loaded.append(rows[0][0] if rows else 0)

    watcher = Watcher(database, SystemClock(), interval=60)
    watcher.watch("keys", reload)
    await watcher.start()
    await database.transaction([bump("keys")])
    first = asyncio.create_task(watcher.look())
    await asyncio.sleep(0.1)
    await database.transaction([bump("keys")])
    second = asyncio.create_task(watcher.look())
    await asyncio.sleep(0.1)
    slow.set()
    await asyncio.gather(first, second)
    assert loaded == [0, 1, 2]
    await watcher.close()
