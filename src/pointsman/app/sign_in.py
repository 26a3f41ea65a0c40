"""People, their sessions and the applications that act for them, from the settings."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pointsman.core.errors import StoreError
from pointsman.core.ports import Clock, SystemClock
from pointsman.settings import Settings, is_loopback
from pointsman.stores.access_tokens import Sessions
from pointsman.stores.clients import Clients
from pointsman.stores.database import Database
from pointsman.stores.keyed_hash import KeyedHash
from pointsman.stores.lockout import Lockout
from pointsman.stores.passwords import Passwords
from pointsman.stores.secret_key import SecretKey
from pointsman.stores.sessions import Families
from pointsman.stores.users import WATCHED, Users
from pointsman.stores.watch import Watcher
from pointsman.surfaces.sign_in import People, SignIn

from .stores import build_secret_key, guard_mark

log = logging.getLogger(__name__)

ISSUER = "pointsman"
"""What access tokens name as their issuer where the settings give no public address."""


def build_people(
    settings: Settings,
    database: Database,
    *,
    secrets: tuple[SecretKey, SecretKey | None] | None = None,
    clock: Clock | None = None,
) -> People:
    """
    Args:
        secrets: the installation's secret and the one before; read from the settings where they are not given.

    Raises:
        SettingsError, StoreError: the secrets cannot be had.
    """
    clock = clock or SystemClock()
    keys = [key for key in secrets or build_secret_key(settings) if key is not None]
    hashed = KeyedHash(keys, "sign-in tokens")
    passwords = Passwords()
    lockout = Lockout(database, clock, keys[0].derive("sign-in lockout"))
    return People(
        users=Users(database=database, clock=clock, passwords=passwords, lockout=lockout, hashed=hashed),
        clients=Clients(database=database, clock=clock, hashed=hashed),
        families=Families(
            database=database, clock=clock, hashed=hashed, lifetime=settings.security.refresh_token_days * 86_400
        ),
        passwords=passwords,
    )


def build_sign_in(
    settings: Settings,
    database: Database,
    watcher: Watcher,
    *,
    secrets: tuple[SecretKey, SecretKey | None],
    clock: Clock,
    is_open: Callable[[], bool],
) -> SignIn:
    """What signing in needs; its snapshot is loaded when the watcher starts.

    Args:
        is_open: whether whoever reaches the port is let in without a key.
    """
    people = build_people(settings, database, secrets=secrets, clock=clock)
    keys = [key for key in secrets if key is not None]
    security = settings.security
    sessions = Sessions(
        database=database,
        clock=clock,
        secret_keys=keys,
        issuer=(security.public_url or ISSUER).rstrip("/"),
        lifetime=security.access_token_seconds,
        age=lambda: watcher.age,
        stale_grace=settings.database.stale_grace,
    )
    mark = guard_mark(settings)

    async def reload() -> None:
        await sessions.reload()
        if mark is not None and sessions.anybody:
            mark.close()

    watcher.watch(WATCHED, reload)
    public_url = security.public_url
    return SignIn(
        users=people.users,
        families=people.families,
        clients=people.clients,
        sessions=sessions,
        forms=KeyedHash(keys, "sign-in forms"),
        clock=clock,
        look=watcher.look,
        public_url=public_url,
        secure=settings.server.tls_certificate is not None or (public_url or "").startswith("https:"),
        is_open=is_open,
    )


async def remember_people(settings: Settings, people: People) -> None:
    """After a command: keep in mind that there are users, should the database be lost. Raises StoreError."""
    mark = guard_mark(settings)
    if mark is not None and await people.users.exist():
        mark.close()


async def users_at_start(settings: Settings, sign_in: SignIn) -> int:
    """1 when there are users; asked only where other machines can reach the listener. 0 when it cannot be told."""
    try:
        return int(not is_loopback(settings.server.host) and await sign_in.users.exist())
    except StoreError:
        return 0


async def announce_setup(settings: Settings, sign_in: SignIn, url: str) -> None:
    """Tell, in the log, how the first admin is made where the set-up page asks for a code.

    At a loopback address none is needed while the port is open, and with keys the command line makes the first admin.
    """
    security, server = settings.security, settings.server
    if sign_in.sessions.anybody or (is_loopback(server.host) and security.public_url is None):
        return
    try:
        if await sign_in.users.exist():
            return
        code = await sign_in.users.setup_code()
    except StoreError as error:  # the database is away, which is told elsewhere and ends nothing
        log.warning("Whether there are users cannot be told: %s", error.message)
        return
    log.info(
        "There is no user yet. To make the first admin, open %s/setup and enter this code: %s",
        (security.public_url or url).rstrip("/"),
        code,
    )
