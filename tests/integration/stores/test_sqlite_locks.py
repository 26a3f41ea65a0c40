"""Several connections of one process, and another process that comes and goes, on one file."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from pointsman.stores.sqlite_database import SqliteDatabase

PASSER_BY = """
import asyncio, sys
from pathlib import Path
from pointsman.stores.sqlite_database import SqliteDatabase

async def main():
    database = SqliteDatabase(Path(sys.argv[1]))
    await database.open()
    await database.execute("INSERT INTO revisions VALUES ($1, 1)", sys.argv[2])
    await database.close()

asyncio.run(main())
"""


async def test_a_process_that_ends_takes_no_wal_away_from_those_that_stay(path: Path):
    """A second connection must not drop the first one's locks: whoever closes last deletes the WAL, and a process that
    takes itself for the last one would leave the others with a file that nobody else sees."""
    first, second = SqliteDatabase(path), SqliteDatabase(path)
    await first.open()
    await second.open()
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", PASSER_BY, str(path), name], check=True, timeout=60)
        for database in (first, second):
            assert (name,) in await database.fetch("SELECT name FROM revisions")
    await first.execute("INSERT INTO revisions VALUES ($1, 1)", "ours")
    subprocess.run([sys.executable, "-c", PASSER_BY, str(path), "three"], check=True, timeout=60)
    assert {name for (name,) in await second.fetch("SELECT name FROM revisions")} >= {"one", "two", "ours", "three"}
    await first.close()
    await second.close()


async def test_who_reads_does_not_wait_for_those_who_wait_to_write(path: Path):
    database = SqliteDatabase(path)
    await database.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        insert = "INSERT INTO revisions VALUES ($1, 1)"
        writes = [asyncio.create_task(database.execute(insert, name)) for name in ("one", "two", "three")]
        await asyncio.sleep(0)
        for _ in range(3):
            assert ("one",) not in await database.fetch("SELECT name FROM revisions")
        assert not any(write.done() for write in writes)
        other.execute("ROLLBACK")
    closed = asyncio.create_task(database.close())  # waits for those who came before
    assert await asyncio.gather(*writes) == [1, 1, 1]
    await closed
    with closing(sqlite3.connect(path)) as reader:
        names = [name for (name,) in reader.execute("SELECT name FROM revisions ORDER BY rowid")]
    assert names[-3:] == ["one", "two", "three"]
