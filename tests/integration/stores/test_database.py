"""What every store is written against, on both back ends."""

from __future__ import annotations

import asyncio

import pytest

from pointsman.core.errors import StoreError
from pointsman.stores.database import Conflict, Database, Statement


@pytest.fixture
async def table(database: Database) -> Database:
    await database.execute(
        "CREATE TABLE things (id TEXT PRIMARY KEY, count BIGINT, share DOUBLE PRECISION, raw BYTEA,"
        " other TEXT REFERENCES things (id))"
    )
    return database


async def test_values_come_back_as_they_went_in(table: Database):
    row = ("größe\n", 2**62, 0.1, b"\x00\xff", None)
    assert await table.execute("INSERT INTO things VALUES ($1, $2, $3, $4, $5)", *row) == 1
    assert await table.fetch("SELECT * FROM things WHERE id = $1", "größe\n") == [row]
    assert await table.fetch("SELECT * FROM things WHERE id = $1", "other") == []
    assert await table.fetch("SELECT id FROM things WHERE id = $1 AND count > $2 OR id = $1", row[0], 7) == [(row[0],)]


async def test_truth_is_a_number(table: Database):
    await table.execute("INSERT INTO things (id, count) VALUES ($1, $2)", "a", True)
    assert await table.fetch("SELECT count FROM things") == [(1,)]


async def test_rows_touched_are_counted(table: Database):
    for name in "abc":
        await table.execute("INSERT INTO things (id, count) VALUES ($1, 1)", name)
    assert await table.execute("UPDATE things SET count = 2 WHERE id <> $1", "a") == 2
    assert await table.execute("DELETE FROM things WHERE id = $1", "nothing") == 0
    assert await table.execute("INSERT INTO things (id) VALUES ('a') ON CONFLICT (id) DO NOTHING") == 0
    assert await table.fetch("UPDATE things SET count = count + 1 WHERE id = $1 RETURNING count", "b") == [(3,)]


async def test_a_transaction_is_all_or_nothing(table: Database):
    put = Statement("INSERT INTO things (id, count) VALUES ($1, 0)", ("a",))
    assert await table.transaction([put, Statement("UPDATE things SET count = 1", (), 1)]) == [1, 1]
    with pytest.raises(Conflict):
        await table.transaction([Statement("UPDATE things SET count = 9"), put])
    with pytest.raises(Conflict, match="came first"):
        await table.transaction([Statement("UPDATE things SET count = 9"), Statement("DELETE FROM things", (), 2)])
    with pytest.raises(StoreError):
        await table.transaction([Statement("UPDATE things SET count = 9"), Statement("no SQL")])
    assert await table.fetch("SELECT id, count FROM things") == [("a", 1)]


async def test_a_key_that_exists_or_is_missing_is_a_conflict(table: Database):
    await table.execute("INSERT INTO things (id) VALUES ('a')")
    with pytest.raises(Conflict):
        await table.execute("INSERT INTO things (id) VALUES ('a')")
    with pytest.raises(Conflict):
        await table.execute("INSERT INTO things (id, other) VALUES ('b', 'nobody')")


async def test_many_tasks_count_to_the_same_sum(table: Database):
    await table.execute("INSERT INTO things (id, count) VALUES ('a', 0)")
    add = Statement("UPDATE things SET count = count + 1 WHERE id = 'a'", (), 1)
    await asyncio.gather(*(table.transaction([add, add]) for _ in range(50)))
    assert await table.fetch("SELECT count FROM things") == [(100,)]


async def test_of_many_that_want_the_last_one_gets_it(table: Database):
    await table.execute("INSERT INTO things (id, count) VALUES ('a', 1)")
    take = [Statement("UPDATE things SET count = count - 1 WHERE id = $1 AND count > 0", ("a",), 1)]
    results = await asyncio.gather(*(table.transaction(take) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, Conflict) for result in results) == 19


async def test_a_database_that_is_closed_says_so(database: Database):
    await database.close()
    with pytest.raises(StoreError) as caught:
        await database.fetch("SELECT 1")
    assert caught.value.code == "store_unavailable"
    await database.close()
