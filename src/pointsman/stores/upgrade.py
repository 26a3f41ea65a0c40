"""Brings an older database to the newest schema with Alembic, whose revisions are the numbered SQL files themselves.

Imported by the command alone: a gateway that starts compares versions with a plain query (`stores/migrate.py`).
Everything happens in one transaction, so that an upgrade that is interrupted leaves the database as it was, and of two
at once the second waits and finds nothing to do.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import ModuleType

import msgspec
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import Script as Revision
from alembic.script.revision import RevisionMap
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from pointsman.core.errors import StoreError, StoreUnavailable

from .migrate import READ_VERSION, VERSION_TABLE, Script, check_version, newest, schema_version, scripts, statements
from .sqlite_file import explain, make_private, use_wal

LOCK = 0x706F696E74736D
"""The advisory lock that upgrades of one database take turns by."""
LOCK_SECONDS = 30
"""How long an upgrade waits for another one, or for a table that is in use."""


class Upgraded(msgspec.Struct, frozen=True, kw_only=True):
    """What an upgrade did."""

    before: int
    after: int
    applied: tuple[str, ...]
    backup: str | None = None
    """Where a copy of the file lies as it was before; SQLite alone."""


def upgrade_sqlite(path: Path) -> Upgraded:
    """Upgrade a file, or make it; one that holds something is copied first.

    Raises:
        StoreError: it is newer than this version knows, or cannot be changed.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    backup: Path | None = None

    def work(connection: Connection) -> Upgraded:
        nonlocal backup
        before = _version(connection)
        if 0 < before < newest():
            backup = _copy(path, before)
        return _upgrade(connection, f"The database {path}")

    try:
        make_private(path)
        engine = create_engine("sqlite://", creator=lambda: _connect(path), poolclass=NullPool)
        # The driver's own BEGIN comes too late for statements that change the schema.
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with engine.begin() as connection:
            done = work(connection)
        engine.dispose()
    except (DBAPIError, sqlite3.Error, OSError) as error:
        if backup is not None:
            backup.unlink(missing_ok=True)
        cause = error.orig if isinstance(error, DBAPIError) else error
        told = explain(cause if isinstance(cause, Exception) else error, path)
        raise StoreError(f"The database was not upgraded and is as it was: {told}.") from error
    return msgspec.structs.replace(done, backup=str(backup) if backup is not None else None)


async def upgrade_postgres(url: str, *, timeout: float = 5.0) -> Upgraded:
    """Upgrade a database on a server. A statement may take as long as it takes; waiting for locks is bounded.

    Raises:
        StoreError: it is away, newer than this version knows, or cannot be changed.
    """
    import asyncpg

    from . import postgres_database as postgres

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: postgres.connect(url, timeout=timeout, statement_timeout=None),
        poolclass=NullPool,
    )

    def work(connection: Connection) -> Upgraded:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        return _upgrade(connection, f"The database {postgres.shown_url(url)}")

    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        cause = error.__cause__ or error
        inner = getattr(cause, "__cause__", None) or cause  # SQLAlchemy wraps the driver's error twice
        kind = StoreUnavailable if isinstance(inner, postgres.AWAY) else StoreError
        raise kind(
            f"The database was not upgraded and is as it was: {postgres.explain(inner, url, timeout)}."
        ) from error
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, where: str) -> Upgraded:
    """Apply what is missing, in the transaction that is open."""
    before = _version(connection)
    if before > newest():
        check_version(before, where)
    revisions = RevisionMap(lambda: _revisions(scripts()))
    applied: list[str] = []

    def missing(heads: Sequence[str], context: MigrationContext) -> list[RevisionStep]:
        steps = revisions.iterate_revisions("head", heads[0] if heads else "base", implicit_base=True)
        found = [step for step in reversed(list(steps)) if isinstance(step, Revision)]
        applied.extend(f"{step.revision} {step.doc}" for step in found)
        return [RevisionStep(revisions, step, True) for step in found]

    context = MigrationContext.configure(connection, opts={"fn": missing})
    if before and not context.get_current_heads():  # the first releases kept the version elsewhere
        connection.exec_driver_sql(VERSION_TABLE)
        connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{before:04d}')")  # noqa: S608 - a number
        connection.exec_driver_sql("DROP TABLE meta")
    context.run_migrations(connection=connection)
    return Upgraded(before=before, after=newest(), applied=tuple(applied))


def _revisions(files: Sequence[Script]) -> Iterator[Revision]:
    """A revision for each file."""
    previous: str | None = None
    for file in files:
        module = ModuleType(f"migration_{file.revision}", file.name)
        module.__dict__.update(revision=file.revision, down_revision=previous, upgrade=_Run(file.sql))
        yield Revision(module, file.revision, f"{file.revision}.sql")
        previous = file.revision


class _Run:
    """A revision's function: the statements of its file."""

    def __init__(self, sql: str) -> None:
        self._sql = sql

    def __call__(self, *, connection: Connection) -> None:
        for statement in statements(self._sql):
            connection.exec_driver_sql(statement)


def _version(connection: Connection) -> int:
    """The schema's version; 0 when there are no tables of ours."""
    driver: object = connection.connection.dbapi_connection
    if isinstance(driver, sqlite3.Connection):
        return schema_version(driver)
    if not connection.exec_driver_sql("SELECT to_regclass('alembic_version') IS NOT NULL").scalar():
        return 0
    found = connection.exec_driver_sql(READ_VERSION).scalar()
    return int(found) if found is not None else 0


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=LOCK_SECONDS)
    use_wal(connection)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _copy(path: Path, version: int) -> Path:
    """A whole copy of the file, what lies in its journal included, beside it."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    copy = path.with_name(f"{path.name}.version-{version}-{stamp}-{os.getpid()}")
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy
