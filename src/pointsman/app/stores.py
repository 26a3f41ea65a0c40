"""The durable stores: one SQLite file, or the Postgres that DATABASE_URL names."""

from __future__ import annotations

import asyncio
import logging
import stat
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

from pointsman.core.errors import SettingsError, StoreError, StoreUnavailable
from pointsman.core.ports import Clock
from pointsman.settings import Settings
from pointsman.stores.database import Database
from pointsman.stores.decision_log import StoredDecisionLog
from pointsman.stores.guarded import GuardMark
from pointsman.stores.installation import claim
from pointsman.stores.migrate import DatabaseState, newest, read_version
from pointsman.stores.secret_key import SecretKey, load_previous_secret_key, load_secret_key
from pointsman.stores.spool import Spool
from pointsman.stores.sqlite_database import SqliteDatabase
from pointsman.stores.sqlite_log import SqliteDecisionLog
from pointsman.stores.watch import Watcher
from pointsman.surfaces.services import DatabaseStanding

if TYPE_CHECKING:
    from pointsman.stores.postgres_database import PostgresDatabase
    from pointsman.stores.upgrade import Upgraded

log = logging.getLogger(__name__)


def build_database(settings: Settings) -> SqliteDatabase | PostgresDatabase:
    """The database that the settings name, not yet opened.

    Raises:
        SettingsError: `database.url` is not the address of a Postgres server.
    """
    url = settings.database.url
    if url is None:
        return SqliteDatabase(settings.database_path)
    address = url.reveal()
    _check_url(address)
    from pointsman.stores.postgres_database import PostgresDatabase

    return PostgresDatabase(address, timeout=settings.database.timeout)


def build_log(settings: Settings, *, spooling: bool = True) -> StoredDecisionLog:
    """The decision log in the same database, not yet opened.

    Args:
        spooling: keep on disk what the database does not take, and write what an earlier process left there.

    Raises:
        SettingsError: as `build_database`.
    """
    spool = Spool(settings.data_dir / "spool", max_bytes=settings.database.spool_max_bytes) if spooling else None
    url = settings.database.url
    if url is None:
        return SqliteDecisionLog(settings.database_path, spool=spool)
    _check_url(url.reveal())
    from pointsman.stores.postgres_log import PostgresDecisionLog

    return PostgresDecisionLog(url.reveal(), timeout=settings.database.timeout, spool=spool)


def check_database(settings: Settings) -> None:
    """What a start refuses of the database's settings before it opens or makes anything. Raises SettingsError."""
    _check_secret(settings)
    if settings.database.url is not None:
        _check_url(settings.database.url.reveal())


def _check_secret(settings: Settings) -> None:
    if settings.database.url is not None and settings.security.secret_key is None:
        raise SettingsError(
            "security.secret_key", None,
            "is needed with DATABASE_URL, the same for every replica; set POINTSMAN_SECRET_KEY"
            " (`openssl rand -hex 32` makes a good one)",
        )  # fmt: skip


def _check_url(url: str) -> None:
    """Raise SettingsError for what cannot be an address; the message never repeats it, for it holds a password."""
    form = "must be postgresql://user:password@host/name, or postgresql:///name?host=/folder/of/the/socket"
    try:
        parts = urlsplit(url)
        fine = parts.scheme.partition("+")[0] in ("postgres", "postgresql") and len(parts.path) > 1
        fine = fine and (parts.port is None or parts.port > 0)
        # A password with bare signs in it ends too early, and what is left of it would be taken for a name and shown.
        rest = parts.path + parts.query + parts.fragment
        fine = fine and "@" not in rest and parts.path.count("/") == 1 and not parts.fragment
        parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        fine = False
    if not fine:
        raise SettingsError("database.url", "…", f"{form}; signs such as @ : / ? # in a password are written as %40 …")


class Secrets(NamedTuple):
    """The installation's secret, and the one before the last rotation."""

    current: SecretKey
    previous: SecretKey | None


def build_secret_key(settings: Settings) -> Secrets:
    """The installation's secret, and the one before the last rotation.

    Raises:
        SettingsError: there is none, and replicas that share a database would each make their own.
        StoreError: the file of the data folder cannot be used.
    """
    _check_secret(settings)
    configured, previous = settings.security.secret_key, settings.security.previous_secret_key
    return Secrets(
        load_secret_key(settings.data_dir, configured.reveal() if configured is not None else None),
        load_previous_secret_key(settings.data_dir, previous.reveal() if previous is not None else None),
    )


def warn_of_open_folder(folder: Path) -> None:
    """Say so when anybody may put another secret or database in the place of ours. Raises OSError."""
    if folder.stat().st_mode & stat.S_IWOTH:
        log.warning("Everybody may write to the data folder %s, and so take the gateway over: chmod 700 it.", folder)


def open_data_dir(settings: Settings) -> Secrets:
    """Make the data folder where there is none, and read the secrets that it, or the settings, hold.

    Raises:
        SettingsError: the folder cannot be used, or as `build_secret_key`.
        StoreError: as `build_secret_key`.
    """
    folder = settings.data_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        warn_of_open_folder(folder)
        return build_secret_key(settings)
    except OSError as error:
        reason = f"cannot be used ({error.strerror or error}); make it a folder that can be written, or name another"
        raise SettingsError("data_dir", str(folder), f"{reason} with POINTSMAN_DATA_DIR") from None


def guard_mark(settings: Settings) -> GuardMark | None:
    """What remembers that an embedded database held keys or users; None with a server, which is not begun anew."""
    return GuardMark(settings.data_dir) if settings.database.url is None else None


async def open_database(
    settings: Settings, clock: Clock, secret: SecretKey, previous: SecretKey | None, stack: AsyncExitStack
) -> tuple[Database, Watcher]:
    """The database, open and known to be ours, and what watches it, not yet started; `stack` closes both.

    An embedded file that cannot be used now (a full or read-only disk) does not keep the gateway from starting: it
    answers, and tells of it in its health. A shared database that is away does: without it the gateway would not know
    whom to let in.

    Raises:
        StoreError: it is away, its schema is not the one that this version knows, or it is another installation's.
    """
    database = build_database(settings)
    stack.push_async_callback(database.close)
    try:
        await database.open()
        await claim(database, secret, previous)
    except StoreError as error:
        if database.dialect == "postgres" or not isinstance(error, StoreUnavailable):
            raise
        log.warning("%s", error.message)
    watcher = Watcher(database, clock)
    stack.push_async_callback(watcher.close)
    return database, watcher


def standing(database: Database, watcher: Watcher) -> DatabaseStanding:
    """How the database fares, as the watcher saw it last."""
    return DatabaseStanding(
        backend=database.dialect, where=database.where, connected=not watcher.away, schema_version=newest()
    )


async def database_state(settings: Settings) -> DatabaseState:
    """Look at the database without changing or making anything. Does not raise for a database that is away."""
    database = build_database(settings)
    backend = database.dialect
    where = database.where
    try:
        if isinstance(database, SqliteDatabase):
            version = await asyncio.to_thread(read_version, settings.database_path)
        else:
            version = await database.peek()
    except StoreError as error:
        return DatabaseState(
            backend=backend, where=where, reachable=False, version=None, newest=newest(), error=error.message
        )
    finally:
        await database.close()
    return DatabaseState(backend=backend, where=where, reachable=True, version=version, newest=newest())


async def upgrade_database(settings: Settings) -> Upgraded:
    """Bring the database to the newest schema; a SQLite file is made when there is none, and copied when there is.

    Raises:
        StoreError: it is away, newer than this version knows, or cannot be changed.
    """
    from pointsman.stores import upgrade

    build_database(settings)  # for its check of the address
    if settings.database.url is None:
        return await asyncio.to_thread(upgrade.upgrade_sqlite, settings.database_path)
    return await upgrade.upgrade_postgres(settings.database.url.reveal(), timeout=settings.database.timeout)
