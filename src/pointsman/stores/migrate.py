"""Brings a database file to the newest schema: SQL scripts, in order, each in a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from importlib.resources import files

from pointsman.core.errors import StoreError

SCHEMA_TOO_NEW = "schema_too_new"


def scripts() -> list[str]:
    """The migrations, oldest first: `0001_*.sql` takes an empty file to version 1, and so on."""
    folder = files("pointsman.stores").joinpath("migrations")
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [entry.read_text(encoding="utf-8") for entry in found]


def migrate(connection: sqlite3.Connection, migrations: Sequence[str]) -> int:
    """Apply what is missing; returns the schema's version. `connection` must be in autocommit mode.

    Two processes may do this at once: the version is read again under the write lock.

    Raises:
        StoreError: the file was written by a newer version.
        sqlite3.Error: as the database says; the failed migration leaves nothing behind.
    """
    if schema_version(connection) == len(migrations):
        return len(migrations)
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = schema_version(connection)
        if version > len(migrations):
            raise StoreError(
                f"The database has schema version {version}, and this Pointsman knows versions up to"
                f" {len(migrations)}. Use the newer Pointsman that wrote it, or another data_dir.",
                code=SCHEMA_TOO_NEW,
            )
        for script in migrations[version:]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        connection.execute(
            "INSERT INTO meta VALUES ('schema_version', ?1) ON CONFLICT (key) DO UPDATE SET value = ?1",
            (str(len(migrations)),),
        )
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return len(migrations)


def schema_version(connection: sqlite3.Connection) -> int:
    """The version in the `meta` table; 0 for an empty file."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'").fetchone() is None:
        return 0
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    return int(row[0]) if row is not None else 0


def _statements(script: str) -> Iterator[str]:
    """The statements of a script. (`executescript` would commit the transaction that must hold them together.)"""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
