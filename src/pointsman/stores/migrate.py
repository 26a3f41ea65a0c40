"""The schema: numbered SQL files, which version a database has, and a fresh SQLite file made at once.

Everything here is plain SQL, so that a gateway needs no more at its start. Bringing an older database to the newest
schema is `pointsman db upgrade` alone (`stores/upgrade.py`); both run the same files and keep the version in the same
table.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from pointsman.core.errors import StoreError

SCHEMA_TOO_NEW, SCHEMA_TOO_OLD = "schema_too_new", "schema_too_old"
SCHEMA_ERRORS = frozenset({SCHEMA_TOO_NEW, SCHEMA_TOO_OLD})

READ_VERSION = "SELECT version_num FROM alembic_version"
VERSION_TABLE = """
    CREATE TABLE alembic_version (
        version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
    )
"""
"""As Alembic makes it."""


class Script(NamedTuple):
    """One migration: `0003_keys.sql` takes a database to version 3."""

    version: int
    name: str
    sql: str

    @property
    def revision(self) -> str:
        """The version as the database keeps it."""
        return f"{self.version:04d}"


class DatabaseState(msgspec.Struct, frozen=True, kw_only=True):
    """How a database stands, as `pointsman db status` and the doctor tell it."""

    backend: Literal["sqlite", "postgres"]
    where: str
    reachable: bool
    version: int | None
    """The schema's version; 0 without tables, None when it cannot be read."""
    newest: int
    """The version that this Pointsman works with."""
    error: str | None = None

    @property
    def usable(self) -> bool:
        """Whether a gateway would start on it; a file that is not there yet is made."""
        return self.version == self.newest or (self.backend == "sqlite" and self.version == 0)


@cache
def scripts() -> tuple[Script, ...]:
    """The migrations, oldest first."""
    folder = files("pointsman.stores").joinpath("migrations")
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return tuple(
        Script(int(entry.name[:4]), entry.name[5:-4].replace("_", " "), entry.read_text(encoding="utf-8"))
        for entry in found
    )


def newest() -> int:
    """The schema's version that this Pointsman works with."""
    return scripts()[-1].version


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one, so that one transaction can hold them all."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if any(line.strip() and not line.lstrip().startswith("--") for line in statement.splitlines()):
        raise ValueError(f"a statement without its semicolon: {statement.strip()!r}")


def check_version(version: int, where: str) -> None:
    """Refuse a schema that this Pointsman does not know.

    Args:
        version: what the database says; 0 when it has no tables of ours.
        where: the database as it may be named in a message.

    Raises:
        StoreError: older or newer; `code` is SCHEMA_TOO_OLD or SCHEMA_TOO_NEW.
    """
    if version > newest():
        raise StoreError(
            f"{where} has schema version {version}, and this Pointsman knows versions up to {newest()}. Use the newer"
            " Pointsman that wrote it, or another database.",
            code=SCHEMA_TOO_NEW,
        )
    if version < newest():
        has = f"has schema version {version}" if version else "has no tables yet"
        raise StoreError(
            f"{where} {has}, and this Pointsman needs version {newest()}. Run `pointsman db upgrade`.",
            code=SCHEMA_TOO_OLD,
        )


def schema_version(connection: sqlite3.Connection) -> int:
    """The version of a SQLite file; 0 for an empty one."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "alembic_version" in tables:
        row = connection.execute(READ_VERSION).fetchone()
    elif "meta" in tables:  # as the first releases kept it
        row = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    else:
        row = None
    return int(row[0]) if row is not None else 0


def read_version(path: Path) -> int:
    """The version of a file, which is neither made nor changed; 0 when it is not there.

    Raises:
        StoreError: it cannot be read.
    """
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            return schema_version(connection)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"The database {path} cannot be read: {error}.") from error


def prepare(connection: sqlite3.Connection, where: str) -> None:
    """Give an empty SQLite file the newest schema; refuse an older or newer one.

    `connection` must be in autocommit mode. Several processes may do this at once.

    Raises:
        StoreError: as `check_version`.
        sqlite3.Error: as the database says; nothing is left half made.
    """
    if schema_version(connection) == 0:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if schema_version(connection) == 0:  # nobody was first
                for script in scripts():
                    for statement in statements(script.sql):
                        connection.execute(statement)
                connection.execute(VERSION_TABLE)
                connection.execute("INSERT INTO alembic_version VALUES (?)", (scripts()[-1].revision,))
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    check_version(schema_version(connection), where)
