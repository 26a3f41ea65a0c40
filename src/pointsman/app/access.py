"""Who may enter: the keys of the settings, the stored ones, and the command line of whoever owns the installation."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from pointsman.core.errors import SettingsError, StoreError
from pointsman.core.keys import KEYS, LOCAL_PURPOSE, TOKEN, is_local
from pointsman.core.ports import Clock, SystemClock
from pointsman.pipeline.admit import Access, KeyDirectory, Sessions
from pointsman.settings import Secret, Settings, is_loopback
from pointsman.stores.database import Database
from pointsman.stores.guarded import GuardMark
from pointsman.stores.installation import claim
from pointsman.stores.keys import KeyStore
from pointsman.stores.secret_key import NAME, SecretKey
from pointsman.stores.watch import Watcher

from .secrets import PEPPER, build_sealed
from .stores import build_database, build_secret_key, guard_mark

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The stored keys: `store` makes and changes them, `directory` admits their bearers."""

    store: KeyStore
    directory: KeyDirectory
    embedded: Path | None
    """The file that they stand in, when it is ours alone."""
    mark: GuardMark | None
    """What remembers of an embedded database that it held keys or users."""

    def settle(self) -> None:
        """After the first load: a file that cannot be opened, but surely holds no key, closes no port."""
        if not self.directory.loaded and self.embedded is not None and _holds_no_keys(self.embedded):
            self.directory.presume_none()

    def tell_of_loss(self, *, users: bool) -> None:
        """Say why nobody gets in where the database was lost that said who may."""
        if self.mark is None or not self.directory.loaded or len(self.directory) or users:
            return
        if self.directory.guarded and not self.directory.known:
            log.error(
                "This installation had API keys or users, and the database %s holds none: it was damaged or deleted. So"
                " nobody gets in without a key. Put the database back (a damaged one lies beside it), make a key with"
                " `pointsman keys create`, or say with `pointsman db begin-anew` that the loss is meant.",
                self.embedded,
            )


def build_keys(
    settings: Settings,
    database: Database,
    watcher: Watcher,
    clock: Clock,
    secret_key: SecretKey,
    previous: SecretKey | None = None,
) -> Keys:
    sealed = build_sealed(settings, database, secrets=(secret_key, previous), clock=clock)
    store = KeyStore(
        database,
        secret_key,
        clock,
        pepper=lambda: sealed.made_once(PEPPER),
        tiers=list(settings.limits.tiers),
        on_change=watcher.look,
    )
    mark = guard_mark(settings)
    directory = KeyDirectory(
        store,
        digest=store.digest,
        clock=clock,
        age=lambda: watcher.age,
        stale_grace=settings.database.stale_grace,
        guarded=mark is not None and mark.closed,
        aliases=settings.routing.aliases,
    )

    async def reload() -> None:
        await directory.reload()
        if mark is not None and directory.known:
            mark.close()

    watcher.watch(KEYS, reload)
    embedded = settings.database_path if database.dialect == "sqlite" else None
    return Keys(store=store, directory=directory, embedded=embedded, mark=mark)


@asynccontextmanager
async def opened_keys(settings: Settings) -> AsyncIterator[KeyStore]:
    """The store alone, on a database of its own, for a command.

    Raises:
        SettingsError, StoreError: there is no secret to hash tokens with, the database is away, or it is another
            secret's: a token would be worth nothing.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    secret_key, previous = secrets = build_secret_key(settings)
    database, clock = build_database(settings), SystemClock()
    sealed = build_sealed(settings, database, secrets=secrets, clock=clock)
    try:
        await database.open()
        await claim(database, secret_key, previous)
        store = KeyStore(
            database,
            secret_key,
            clock,
            pepper=lambda: sealed.made_once(PEPPER),
            tiers=list(settings.limits.tiers),
        )
        yield store
        mark = guard_mark(settings)
        if mark is not None and (await store.known()).keys:
            mark.close()
    finally:
        await database.close()


def build_access(
    settings: Settings,
    keys: Keys,
    secret_key: SecretKey,
    clock: Clock,
    *,
    port: Callable[[], int],
    sessions: Sessions | None = None,
    occupied: Callable[[], bool] = lambda: False,
    public: Iterable[str] = (),
    cookie: str = "pointsman_session",
) -> Access:
    """
    Args:
        port: the port that the gateway listens on: local tokens are made for one.
        occupied: whether there are users.
        public: paths for everybody.
        cookie: the name of the cookie that holds a session's token.
    """
    server = settings.server
    local = LocalTokens(settings, secret_key, clock, port)
    return Access(
        api_keys=_configured(server.api_keys),
        admin_keys=_configured(server.admin_keys),
        hosts=server.allowed_hosts,
        origins=server.allowed_origins,
        any_host=not is_loopback(server.host),
        directory=keys.directory,
        sessions=sessions,
        occupied=occupied,
        is_local_admin=local.admits,
        public=public,
        cookie=cookie,
        may_be_open=is_loopback(server.host) or server.allow_unauthenticated,
    )


async def refuse_open_door(settings: Settings, keys: Keys, *, users: int = 0) -> None:
    """Do not begin to serve other machines when nothing is asked of who comes.

    Raises:
        SettingsError: the listener is bound beyond loopback, and there is neither a key nor a user.
        StoreError: whether there are keys cannot be read.
    """
    server = settings.server
    if is_loopback(server.host) or server.allow_unauthenticated or users:
        return
    if _configured(server.api_keys) or _configured(server.admin_keys) or (await keys.store.known()).secrets:
        return
    raise SettingsError(
        "server.host", server.host,
        "is reachable from other machines, and there is neither an API key nor a user; make one with"
        " `pointsman keys create NAME` or `pointsman users add NAME`, set POINTSMAN_API_KEY, or bind to 127.0.0.1",
    )  # fmt: skip


def _configured(secrets: Iterable[Secret]) -> list[str]:
    """The keys that the settings give, without tokens of stored keys: those hold as long as they stand in the store,
    and with their scopes, even where the gateway is started with one in its environment."""
    values = [secret.reveal() for secret in secrets]
    return [value for value in values if not TOKEN.fullmatch(value.encode())]


class LocalTokens:
    """Knows the tokens of the owner's command line. A key file that was rotated counts at once, the old one no more."""

    def __init__(self, settings: Settings, secret: SecretKey, clock: Clock, port: Callable[[], int]) -> None:
        self._settings = settings
        self._key = secret.derive(LOCAL_PURPOSE)
        self._clock = clock
        self._port = port
        self._seen = self._file()

    def admits(self, token: bytes) -> bool:
        if not token.startswith(b"pm_local_"):
            return False
        file = self._file()
        if file is not None and file != self._seen:  # a file that is away changes nothing, and is not made here
            self._seen = file
            try:
                self._key = build_secret_key(self._settings)[0].derive(LOCAL_PURPOSE)
            except (SettingsError, StoreError) as error:
                log.warning("The key file has changed and cannot be read. %s", error.message)
        return is_local(self._key, token, port=self._port(), now=self._clock.now())

    def _file(self) -> tuple[int, int] | None:
        """What changes with the key file; None where the secret is no file."""
        if self._settings.security.secret_key is not None:
            return None
        try:
            status = os.stat(self._settings.data_dir / NAME)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns


def _holds_no_keys(path: Path) -> bool:
    """Whether a database that cannot be opened for writing has no key and no user; read as it lies, without a lock."""
    beside = path.with_name(path.name + "-wal")
    try:
        if not path.exists():
            return True
        if beside.exists() and beside.stat().st_size:
            return False
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            for table, row in (("api_keys", "SELECT 1 FROM api_keys"), ("users", "SELECT 1 FROM users")):
                known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
                if known is not None and connection.execute(row).fetchone() is not None:
                    return False
            return True
    except (sqlite3.Error, OSError) as error:
        log.warning("Whether there are API keys cannot be read, so one is asked for: %s", error)
        return False
