"""A server that goes away, hangs or refuses: errors come soon, say what to do, and show no password."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from pointsman.core.errors import StoreError, StoreUnavailable
from pointsman.stores.database import Conflict, Database, Statement
from pointsman.stores.postgres_database import PostgresDatabase, shown_url
from services import Postgres, postgres


@pytest.fixture(scope="module")
def own_server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


async def opened(url: str, **options: float) -> PostgresDatabase:
    database = PostgresDatabase(url, **{"timeout": 10.0, **options})
    await database.open()
    return database


async def test_a_server_that_is_killed_is_told_at_once_and_found_again(own_server: Postgres):
    database = await opened(own_server.migrated())
    await asyncio.gather(*(database.fetch("SELECT 1") for _ in range(20)))
    own_server.kill()
    began = time.monotonic()
    for _ in range(3):
        results = await asyncio.gather(*(database.fetch("SELECT 1") for _ in range(20)), return_exceptions=True)
        assert {type(result) for result in results} == {StoreUnavailable}, results
    assert time.monotonic() - began < 5
    await asyncio.to_thread(own_server.start)
    async with asyncio.timeout(10):
        while True:
            try:
                assert await database.fetch("SELECT 1") == [(1,)]
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)
    await database.close()


async def test_a_server_that_hangs_is_left_after_the_timeout(own_server: Postgres):
    database = await opened(own_server.migrated(), timeout=1.0, size=2)
    await asyncio.gather(*(database.fetch("SELECT 1") for _ in range(4)))
    pids = [int(pid) for (pid,) in await database.fetch("SELECT pid FROM pg_stat_activity WHERE state IS NOT NULL")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        results = await asyncio.gather(*(database.execute("SELECT 1") for _ in range(6)), return_exceptions=True)
        assert time.monotonic() - began < 8
        assert any(isinstance(result, StoreUnavailable) and "within 1 s" in result.message for result in results)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    async with asyncio.timeout(10):
        while True:
            try:
                await database.fetch("SELECT 1")
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)
    await database.close()


async def test_a_statement_has_its_time_and_the_server_stops_it_too(own_server: Postgres):
    database = await opened(own_server.migrated(), timeout=0.5)
    with pytest.raises(StoreUnavailable, match=r"within 0\.5 s"):
        await database.fetch("SELECT pg_sleep(30)")
    left = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
    async with asyncio.timeout(10):
        while (await database.fetch(left)) != [(0,)]:
            await asyncio.sleep(0.05)
    await database.close()


async def test_one_that_takes_connections_and_says_nothing():
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        database = PostgresDatabase(f"postgresql://me:not-to-be-shown@127.0.0.1:{port}/name", timeout=0.5)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            await database.open()
        assert time.monotonic() - began < 5
        assert "not-to-be-shown" not in str(caught.value)
        assert f"127.0.0.1:{port}/name did not answer within 0.5 s" in caught.value.message


async def test_more_tasks_than_connections_take_turns(own_server: Postgres):
    database = await opened(own_server.migrated(), size=2)
    found = await asyncio.gather(*(database.fetch("SELECT pg_sleep(0.01)") for _ in range(60)))
    assert len(found) == 60
    await database.close()


async def test_a_value_that_does_not_fit_is_no_outage(own_server: Postgres):
    database = await opened(own_server.migrated())
    for values in (("a", 2**70), ("a", "no number"), ("a\x00", 1), ("\ud800", 1)):
        with pytest.raises(StoreError) as caught:
            await database.execute("INSERT INTO revisions VALUES ($1, $2)", *values)
        assert not isinstance(caught.value, StoreUnavailable | Conflict)
    assert await database.execute("INSERT INTO revisions VALUES ($1, $2)", "a", 1) == 1
    await database.close()


async def test_a_task_that_is_cancelled_gives_its_connection_back(own_server: Postgres):
    database = await opened(own_server.migrated(), size=1)
    for _ in range(3):
        task = asyncio.create_task(database.transaction([Statement("SELECT pg_sleep(20)")]))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await database.fetch("SELECT 1") == [(1,)]
    await database.close()


async def test_a_missing_database_and_a_wrong_user_are_named(own_server: Postgres):
    for url, told in (
        (own_server.url("nothing"), "make it with createdb"),
        (own_server.url("postgres").replace("postgres@", "nobody-of-this-name@"), "refuses the user"),
    ):
        with pytest.raises(StoreUnavailable, match=told):
            await PostgresDatabase(url, timeout=10).open()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@db.example.org:5433/name?sslmode=require", "postgresql://db.example.org:5433/name"),
        ("postgresql+asyncpg://me:secret@db/name", "postgresql://db/name"),
        ("postgresql:///name?host=/run/postgresql", "name in /run/postgresql"),
        ("postgresql://me:se/cret@db:x/name", "postgresql://…"),
    ],
)
def test_an_address_is_shown_without_user_and_password(url: str, shown: str):
    assert shown_url(url) == shown


async def test_a_driver_in_the_scheme_is_no_matter(own_server: Postgres):
    database: Database = await opened(own_server.migrated().replace("postgresql://", "postgresql+asyncpg://"))
    assert await database.fetch("SELECT 1") == [(1,)]
    await database.close()
