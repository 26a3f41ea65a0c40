"""The schema: made at once in a fresh file, upgraded by the command alone, refused when it is another one."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pointsman.core.errors import StoreError
from pointsman.learn.dataset import read_row
from pointsman.stores import migrate, rows
from pointsman.stores.database import Database
from pointsman.stores.learning_log import LearningLog
from pointsman.stores.migrate import Script
from pointsman.stores.observations import ObservationStore
from pointsman.stores.postgres_database import PostgresDatabase
from pointsman.stores.sqlite_database import SqliteDatabase
from pointsman.stores.upgrade import Upgraded, upgrade_postgres, upgrade_sqlite
from services import Postgres

from .entries import SIGNALS, decision

ONE = Script(1, "one", "CREATE TABLE one (a TEXT); -- a comment; with a semicolon\nINSERT INTO one VALUES ('x;y');\n")
TWO = Script(2, "two", "ALTER TABLE one ADD COLUMN b TEXT;\nCREATE TABLE two (a TEXT);\n")
BAD = Script(3, "bad", "CREATE TABLE three (a TEXT);\nCREATE TABLE three (a TEXT);\n")


class Backend:
    """A database to upgrade, of either kind."""

    def __init__(self, upgrade: Callable[[], Awaitable[Upgraded]], make: Callable[[], Database]) -> None:
        self.upgrade, self.make = upgrade, make

    async def ask(self, sql: str) -> list[tuple[object, ...]]:
        database = self.make()
        await database.open()
        try:
            return await database.fetch(sql)
        finally:
            await database.close()


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest, path: Path) -> Backend:
    if request.param == "sqlite":
        return Backend(lambda: asyncio.to_thread(upgrade_sqlite, path), lambda: SqliteDatabase(path))
    url = request.getfixturevalue("empty_postgres_url")
    return Backend(lambda: upgrade_postgres(url), lambda: PostgresDatabase(url, timeout=10))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this version know these migrations and no other."""

    def set_scripts(*scripts: Script) -> None:
        from pointsman.stores import upgrade

        for module in (migrate, upgrade):
            monkeypatch.setattr(module, "scripts", lambda: scripts)

    return set_scripts


def test_the_files_are_numbered_and_read_whole():
    numbers = [script.version for script in migrate.scripts()]
    assert numbers == list(range(1, len(numbers) + 1))
    for script in migrate.scripts():
        assert list(migrate.statements(script.sql)), script.name
    with pytest.raises(ValueError, match="without its semicolon"):
        list(migrate.statements("CREATE TABLE a (b TEXT)\n"))


async def test_an_upgrade_goes_step_by_step_and_once(backend: Backend, known):
    known(ONE)
    assert await backend.upgrade() == Upgraded(before=0, after=1, applied=("0001 one",))
    assert await backend.ask("SELECT a FROM one") == [("x;y",)]
    known(ONE, TWO)
    done = await backend.upgrade()
    assert (done.before, done.after, done.applied) == (1, 2, ("0002 two",))
    assert await backend.ask("SELECT a, b FROM one") == [("x;y", None)]
    assert await backend.upgrade() == Upgraded(before=2, after=2, applied=())


async def test_an_upgrade_that_fails_leaves_everything_as_it_was(backend: Backend, known):
    known(ONE)
    await backend.upgrade()
    known(ONE, TWO, BAD)
    with pytest.raises(StoreError, match=r"as it was: .*three"):
        await backend.upgrade()
    known(ONE)
    assert await backend.ask("SELECT a FROM one") == [("x;y",)]
    for table in ("two", "three"):
        with pytest.raises(StoreError):
            await backend.ask(f"SELECT * FROM {table}")
    known(ONE, TWO)
    assert (await backend.upgrade()).applied == ("0002 two",)


async def test_of_several_upgrades_at_once_one_does_it(backend: Backend):
    done = await asyncio.gather(*(backend.upgrade() for _ in range(4)))
    assert sorted(bool(one.applied) for one in done) == [False, False, False, True]
    assert {one.after for one in done} == {migrate.newest()}
    assert await backend.ask("SELECT count(*) FROM decisions") == [(0,)]


async def test_what_an_older_release_logged_is_read_and_its_feedback_is_learned(backend: Backend, known):
    """At version 10 a decision had neither features nor a conversation, and feedback was no observation yet."""
    every = migrate.scripts()
    known(*every[:10])
    await backend.upgrade()
    said = {"score": (0.25, None, None), "thumb": (None, "up", None), "outcome": (0.9, "up", "partial"), "no": None}
    made = {name: decision(key_id="key_a", explored=False, effort=None, conversation="") for name in said}
    gone = {"explored", "conversation", "effort"}
    kept = [place for place, name in enumerate(rows.DECISION_COLUMNS) if name not in gone]
    columns = ", ".join(rows.DECISION_COLUMNS[place] for place in kept)
    database = backend.make()
    await database.open()
    for name, one in made.items():
        values = dict(zip(rows.DECISION_COLUMNS, rows.decision_row(one), strict=True))
        values["signals"] = _only(values["signals"], OLD_SIGNALS)
        values["candidates"] = json.dumps([_only(arm, OLD_ARM) for arm in json.loads(values["candidates"])])
        plain = [int(value) if isinstance(value, bool) else value for value in values.values()]
        await database.execute(
            f"INSERT INTO decisions ({columns}, status, answered_by, attempts)"
            f" VALUES ({', '.join(f'${n}' for n in range(1, len(kept) + 1))}, 'ok', 'lan:other', '[]')",
            *(plain[place] for place in kept),
        )
        if said[name] is not None:
            await database.execute(
                "INSERT INTO feedback (decision_id, score, thumb, outcome, created_at) VALUES ($1, $2, $3, $4, 1.0)",
                one.id, *said[name],
            )  # fmt: skip
    await database.close()
    known(*every)
    await backend.upgrade()
    database = backend.make()
    await database.open()
    try:
        found = await ObservationStore(database).latest(since=0.0, before=None, most=10)
        assert {(one.observation.decision_id, one.observation.success, one.observation.model) for one in found} == {
            (made["score"].id, 0.25, "lan:other"), (made["thumb"].id, 1.0, "lan:other"),
            (made["outcome"].id, 0.5, "lan:other"),
        }  # fmt: skip
        assert {one.observation.signals for one in found} == {SIGNALS}
        [page] = [page async for page in LearningLog(database).pages(since=0.0, until=1e12)]
        read = [logged for row in page if (logged := read_row(row)) is not None]
        assert [(one.success, one.conversation, one.explored) for one in read] == [
            (0.25, "", False), (1.0, "", False), (0.5, "", False), (None, "", False),
        ]  # fmt: skip
    finally:
        await database.close()


OLD_SIGNALS = frozenset(
    {"intent", "intent_confidence", "complexity", "privacy", "needs", "conversation", "priority", "budget_tier",
     "prompt_hash"}
)  # fmt: skip
OLD_ARM = frozenset({"model", "quality", "cost_micro_usd", "latency_seconds", "utility", "propensity"})


def _only(tree: Any, names: frozenset[str]) -> Any:
    """An object with these fields alone; JSON stays JSON."""
    if isinstance(tree, str):
        return json.dumps(_only(json.loads(tree), names))
    return {name: value for name, value in tree.items() if name in names}


async def test_a_gateway_refuses_an_older_and_a_newer_schema(backend: Backend, known):
    known(ONE)
    await backend.upgrade()
    known(ONE, TWO)
    with pytest.raises(StoreError, match=r"has schema version 1, .* needs version 2\. Run `pointsman db upgrade`"):
        await backend.make().open()
    await backend.upgrade()
    known(ONE)
    for open_it in (backend.make().open, backend.upgrade):
        with pytest.raises(StoreError, match=r"version 2, and this Pointsman knows versions up to 1"):
            await open_it()


async def test_an_empty_postgres_is_refused_and_the_way_told(empty_postgres_url: str):
    with pytest.raises(StoreError, match=r"no tables yet.*`pointsman db upgrade`"):
        await PostgresDatabase(empty_postgres_url).open()


async def test_a_fresh_file_is_made_at_once_and_as_an_upgrade_makes_it(path: Path, tmp_path: Path):
    databases = [SqliteDatabase(path) for _ in range(3)]
    await asyncio.gather(*(database.open() for database in databases))
    for database in databases:
        await database.close()
    other = tmp_path / "upgraded.sqlite3"
    upgrade_sqlite(other)

    def schema(file: Path) -> set[tuple[str, str, str]]:
        with closing(sqlite3.connect(file)) as connection:
            found = connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
            versions = connection.execute(migrate.READ_VERSION).fetchall()
        assert versions == [(f"{migrate.newest():04d}",)]
        return {(kind, name, "".join(sql.split()).lower()) for kind, name, sql in found}

    assert schema(path) == schema(other)
    assert stat.S_IMODE(other.stat().st_mode) == 0o600


async def test_the_file_is_copied_before_it_is_upgraded(path: Path, known):
    known(ONE)
    assert upgrade_sqlite(path).backup is None
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO one VALUES ('kept')")
        connection.commit()
    known(ONE, TWO)
    backup = upgrade_sqlite(path).backup
    assert backup is not None
    assert stat.S_IMODE(Path(backup).stat().st_mode) == 0o600
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT * FROM one").fetchall() == [("x;y",), ("kept",)]


def test_a_file_of_the_first_release_is_upgraded(path: Path, known):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"{ONE.sql} CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);"
            " INSERT INTO meta VALUES ('schema_version', '1');"
        )
    known(ONE, TWO)
    done = upgrade_sqlite(path)
    assert (done.before, done.applied) == (1, ("0002 two",))
    assert migrate.read_version(path) == 2


async def test_an_upgrade_that_is_killed_leaves_nothing_half_done(postgres_server: Postgres, empty_postgres_url: str):
    """The last statement sleeps; the process is killed in it."""
    code = """
import asyncio, sys
from pointsman.stores import migrate, upgrade
slow = migrate.Script(2, "slow", "CREATE TABLE two (a TEXT);\\nSELECT pg_sleep(60);\\n")
one = migrate.Script(1, "one", "CREATE TABLE one (a TEXT);\\n")
migrate.scripts = upgrade.scripts = lambda: (one, slow)
asyncio.run(upgrade.upgrade_postgres(sys.argv[1]))
"""
    process = subprocess.Popen([sys.executable, "-c", code, empty_postgres_url])
    name = urlsplit(empty_postgres_url).path[1:]
    active = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND query LIKE 'SELECT pg_sleep%'"
    async with asyncio.timeout(30):
        while await asyncio.to_thread(postgres_server.sql, active) != "1\n":
            await asyncio.sleep(0.05)
    process.kill()
    process.wait()
    postgres_server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    done = await upgrade_postgres(empty_postgres_url)  # neither a table nor the lock is left
    assert done.before == 0
    assert done.after == migrate.newest()


def test_a_gateway_does_without_alembic():
    code = """
import asyncio, sys, tempfile, pathlib
from pointsman.app import Gateway
from pointsman.settings import Settings
settings = Settings(data_dir=pathlib.Path(tempfile.mkdtemp()))
settings.server.port, settings.embedded.enabled = 0, False

async def main():
    async with Gateway(settings):
        pass

asyncio.run(main())
print([name for name in ("alembic", "sqlalchemy", "asyncpg") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
