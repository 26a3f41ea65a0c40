"""People who sign in: their names, roles and passwords. Every change reaches all replicas within a second."""

from __future__ import annotations

import secrets
import unicodedata
from typing import Literal, cast

import msgspec

from pointsman.core.errors import InvalidRequest, NotFound, Unauthenticated
from pointsman.core.ports import Clock

from .database import Conflict, Database, Row, Statement
from .keyed_hash import KeyedHash
from .lockout import Lockout
from .passwords import Passwords, check_password
from .watch import bump

UserRole = Literal["admin", "member", "viewer"]
ROLES: tuple[UserRole, ...] = ("admin", "member", "viewer")

WATCHED = "users"
"""The revision that moves whenever a user or session has changed in a way that every process must know."""

PASSWORD_CODE_SECONDS = 2 * 86_400.0
SETUP_CODE_SECONDS = 86_400.0

WRONG = "The name or the password is wrong."
"""One message for every reason, so that it tells nothing of which names exist."""

SELECT = "SELECT id, name, role, disabled, created_at, seen_at, password FROM users"


ADMIN_REMAINS = Statement(
    "UPDATE revisions SET value = value WHERE name = 'users'"
    " AND EXISTS (SELECT 1 FROM users WHERE role = 'admin' AND disabled = 0)",
    expect=1,
)
"""Ends a transaction that must leave somebody who can administer the gateway."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may sign in. Times are seconds since the epoch."""

    id: str
    name: str
    role: UserRole
    disabled: bool
    has_password: bool
    """False until a first password is set with a one-time code."""
    created_at: float
    seen_at: float | None
    """The last sign-in."""


def key_of(name: str) -> str:
    """The form in which names are compared."""
    return unicodedata.normalize("NFKC", name).casefold()


def check_name(name: str) -> str:
    """The name without spaces around.

    Raises:
        InvalidRequest: it cannot be a user's name.
    """
    name = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(name) <= 100:
        raise InvalidRequest("A user's name has 1 to 100 characters.", param="name")
    if any(unicodedata.category(character)[0] == "C" for character in name) or "\u2028" in name or "\u2029" in name:
        raise InvalidRequest("A user's name holds no control or invisible characters.", param="name")
    return name


class Users:
    """The table of users. All methods raise StoreError when the database is away."""

    def __init__(
        self, *, database: Database, clock: Clock, passwords: Passwords, lockout: Lockout, hashed: KeyedHash
    ) -> None:
        self._database = database
        self._clock = clock
        self._passwords = passwords
        self._lockout = lockout
        self._hashed = hashed

    async def exist(self) -> bool:
        return bool(await self._database.fetch("SELECT 1 FROM users LIMIT 1"))

    async def everyone(self) -> list[User]:
        return [_user(row) for row in await self._database.fetch(SELECT + " ORDER BY name_key")]

    async def find(self, name_or_id: str) -> User:
        """
        Raises:
            NotFound: there is no such user.
        """
        rows = await self._database.fetch(SELECT + " WHERE id = $1 OR name_key = $2", name_or_id, key_of(name_or_id))
        if not rows:
            raise NotFound("There is no such user. `pointsman users list` shows them.", param="user")
        return _user(rows[0])

    async def add(self, name: str, role: UserRole, password: str | None = None, *, first: bool = False) -> User:
        """
        Args:
            password: None: it is set later with a one-time code.
            first: refuse when there is a user already.

        Raises:
            InvalidRequest: the name or password cannot be used, or the name is taken.
            Conflict: there was to be no user yet, and there is one.
        """
        name = check_name(name)
        hashed = None
        if password is not None:
            check_password(password, name)
            hashed = await self._passwords.hash(password)
        user = User(
            id=f"user_{secrets.token_hex(8)}", name=name, role=role, disabled=False, has_password=hashed is not None,
            created_at=self._clock.now(), seen_at=None,
        )  # fmt: skip
        alone = " WHERE NOT EXISTS (SELECT 1 FROM users)" if first else ""
        statements = [
            # In every transaction that adds or removes users this comes first: it makes them wait for one another.
            bump(WATCHED),
            Statement(
                "INSERT INTO users (id, name, name_key, role, password, disabled, created_at)"
                f" SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT),"
                f" 0, CAST($6 AS DOUBLE PRECISION){alone}",
                (user.id, name, key_of(name), role, hashed, user.created_at),
                expect=1,
            ),
            Statement("DELETE FROM one_time_codes WHERE purpose = 'setup'"),
        ]
        try:
            await self._database.transaction(statements)
        except Conflict:
            if first and await self.exist():
                raise
            raise InvalidRequest("There is a user of this name already.", param="name", code="name_taken") from None
        return user

    async def check(self, name: str, password: str, peer: str, *, known: bool) -> User:
        """Whose name and password these are. Takes as long whether or not the name exists.

        Raises:
            Unauthenticated: with one message for every reason.
            RateLimited: too many attempts failed; wait.
        """
        attempt = await self._lockout.begin(key_of(name)[:200], peer, known=known)
        rows = await self._database.fetch(SELECT + " WHERE name_key = $1", key_of(name))
        stored = cast("str | None", rows[0][-1]) if rows else None
        right, stale = await self._passwords.verify(stored, password)
        if not right or not rows or rows[0][3]:
            raise Unauthenticated(WRONG, code="sign_in_failed")
        await self._lockout.passed(attempt)
        user = _user(rows[0])
        values = (user.id, self._clock.now())
        await self._database.execute("UPDATE users SET seen_at = $2 WHERE id = $1", *values)
        if stale:
            hashed = await self._passwords.hash(password)
            await self._database.execute(
                "UPDATE users SET password = $2 WHERE id = $1 AND password = $3", user.id, hashed, stored
            )
        return user

    async def set_password(self, user: User, password: str, *, keep_session: str | None = None) -> None:
        """Set a password and end the user's sessions, except one.

        Raises:
            InvalidRequest: the password cannot be used.
        """
        check_password(password, user.name)
        hashed = await self._passwords.hash(password)
        await self._database.transaction(
            [
                bump(WATCHED),
                Statement("UPDATE users SET password = $2 WHERE id = $1", (user.id, hashed), expect=1),
                Statement("DELETE FROM one_time_codes WHERE user_id = $1", (user.id,)),
                self._end_sessions(user.id, "password", keep=keep_session),
            ]
        )
        await self._lockout.forget(key_of(user.name))

    async def set_role(self, user: User, role: UserRole) -> None:
        """
        Raises:
            InvalidRequest: there would be no admin left.
        """
        try:
            await self._database.transaction(
                [
                    bump(WATCHED),
                    Statement("UPDATE users SET role = $2 WHERE id = $1", (user.id, role), expect=1),
                    *([] if role == "admin" else [ADMIN_REMAINS]),
                ]
            )
        except Conflict:
            raise _last_admin() from None

    async def set_disabled(self, user: User, disabled: bool) -> None:
        """Disabling ends every session at once.

        Raises:
            InvalidRequest: there would be no admin left.
        """
        statements = [
            bump(WATCHED),
            Statement("UPDATE users SET disabled = $2 WHERE id = $1", (user.id, int(disabled)), expect=1),
        ]
        if disabled:
            statements += [self._end_sessions(user.id, "disabled"), ADMIN_REMAINS]
        try:
            await self._database.transaction(statements)
        except Conflict:
            raise _last_admin() from None

    async def remove(self, user: User) -> None:
        """Remove a user with all sessions; what they did stays in the decision log under their id.

        Raises:
            InvalidRequest: there would be no admin left.
        """
        try:
            await self._database.transaction(
                [
                    bump(WATCHED),
                    Statement("DELETE FROM users WHERE id = $1", (user.id,), expect=1),
                    ADMIN_REMAINS,
                ]
            )
        except Conflict:
            raise _last_admin() from None

    async def unlock(self, user: User) -> None:
        """Forget failed sign-ins at this account."""
        await self._lockout.forget(key_of(user.name))

    async def password_code(self, user: User) -> str:
        """A code with which a password can be set once, within two days; earlier ones no longer work."""
        code = secrets.token_urlsafe(24)
        expires_at = self._clock.now() + PASSWORD_CODE_SECONDS
        await self._database.transaction(
            [
                Statement("DELETE FROM one_time_codes WHERE user_id = $1", (user.id,)),
                Statement(
                    "INSERT INTO one_time_codes (digest, purpose, user_id, expires_at) VALUES ($1, 'password', $2, $3)",
                    (self._hashed.new(code), user.id, expires_at),
                ),
            ]
        )
        return code

    async def use_password_code(self, code: str, password: str) -> User:
        """Set the password that a code is for.

        Raises:
            Unauthenticated: the code is unknown, used or expired.
            InvalidRequest: the password cannot be used; the code still works.
        """
        wrong = Unauthenticated("This code is unknown, used or expired. Ask for another one.", code="code_invalid")
        rows: list[Row] = []
        for digest in self._hashed.all(code):
            rows += await self._database.fetch(
                "SELECT user_id, digest FROM one_time_codes"
                " WHERE digest = $1 AND purpose = 'password' AND expires_at > $2",
                digest,
                self._clock.now(),
            )
        if not rows:
            raise wrong
        user = await self.find(rows[0][0])
        check_password(password, user.name)
        if user.disabled or not await self._database.execute(
            "DELETE FROM one_time_codes WHERE digest = $1", rows[0][1]
        ):
            raise wrong
        await self.set_password(user, password)
        return user

    async def setup_code(self) -> str:
        """A code that admits the first admin, from anywhere, for a day or until there is one."""
        code = secrets.token_urlsafe(12)
        expires_at = self._clock.now() + SETUP_CODE_SECONDS
        await self._database.transaction(
            [
                Statement("DELETE FROM one_time_codes WHERE expires_at < $1", (self._clock.now(),)),
                Statement(
                    "INSERT INTO one_time_codes (digest, purpose, user_id, expires_at) VALUES ($1, 'setup', NULL, $2)",
                    (self._hashed.new(code), expires_at),
                ),
            ]
        )
        return code

    async def knows_setup_code(self, code: str) -> bool:
        for digest in self._hashed.all(code):
            if await self._database.fetch(
                "SELECT 1 FROM one_time_codes WHERE digest = $1 AND purpose = 'setup' AND expires_at > $2",
                digest,
                self._clock.now(),
            ):
                return True
        return False

    def _end_sessions(self, user_id: str, reason: str, *, keep: str | None = None) -> Statement:
        return Statement(
            "UPDATE sessions SET ended_at = $2, reason = $3 WHERE user_id = $1 AND ended_at IS NULL AND id <> $4",
            (user_id, self._clock.now(), reason, keep or ""),
        )


def _last_admin() -> InvalidRequest:
    return InvalidRequest("This is the last admin: make another one first.", code="last_admin")


def _user(row: Row) -> User:
    id, name, role, disabled, created_at, seen_at, password = row
    return User(
        id=id, name=name, role=role, disabled=bool(disabled), has_password=password is not None, created_at=created_at,
        seen_at=seen_at,
    )  # fmt: skip
