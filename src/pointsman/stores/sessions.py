"""Sessions: families of refresh tokens, each token good for one use, and authorization codes that begin a session.

A refresh token is replaced at each use. One that comes a second time was stolen, or its thief was faster: the whole
family ends (RFC 9700, section 4.14.2). An authorization code that comes a second time ends what it was exchanged for.
"""

from __future__ import annotations

import logging
import secrets

import msgspec

from pointsman.core.ports import Clock

from .database import Conflict, Database, Row, Statement
from .keyed_hash import KeyedHash
from .users import WATCHED, key_of
from .watch import bump

log = logging.getLogger(__name__)

CODE_SECONDS = 60.0
KEPT = 7 * 86_400.0
"""How long an ended session stays to be shown, in seconds."""


SELECT = "SELECT id, user_id, client_id, scope, agent, created_at, used_at, expires_at, ended_at FROM sessions"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in, or what a user has granted an application. Times are seconds since the epoch."""

    id: str
    user_id: str
    client_id: str | None
    """The application that acts for the user; None: the gateway's own pages."""
    scope: str
    """Endpoint classes, separated by spaces; empty: everything that the role allows."""
    agent: str
    created_at: float
    used_at: float
    expires_at: float
    ended_at: float | None


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A session with its next refresh token, which is shown here alone."""

    session: Session
    refresh_token: str | None

    def __repr__(self) -> str:
        return f"Begun({self.session.id})"


class RefreshRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a refresh token that was sent."""

    digest: str
    used_at: float | None
    session: Session


class CodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What an authorization code was made for."""

    digest: str
    client_id: str
    user_id: str
    redirect_uri: str
    scope: str
    code_challenge: str | None
    agent: str
    peer: str
    session_id: str | None


class Families:
    """The tables of sessions, refresh tokens and codes. All methods raise StoreError when the database is away."""

    def __init__(self, *, database: Database, clock: Clock, hashed: KeyedHash, lifetime: float) -> None:
        """
        Args:
            lifetime: seconds from a sign-in until it must be repeated, however often the tokens were refreshed.
        """
        self._database = database
        self._clock = clock
        self._hashed = hashed
        self._lifetime = lifetime
        self._tidied_at = float("-inf")

    async def begin(
        self, user_id: str, *, client_id: str | None = None, scope: str = "", agent: str = "", peer: str = ""
    ) -> Begun:
        """A new session. `peer` is the client's address, of which a hash is kept."""
        session, refresh_token, statements = self._new(
            user_id, client_id, scope, agent, self._hashed.new(f"peer:{peer}")
        )
        await self._tidy()
        await self._database.transaction(statements)
        return Begun(session=session, refresh_token=refresh_token)

    async def knows(self, name: str, peer: str) -> bool:
        """Whether the user of this name has a session that began at this address."""
        for digest in self._hashed.all(f"peer:{peer}"):
            if await self._database.fetch(
                "SELECT 1 FROM sessions JOIN users ON users.id = sessions.user_id"
                " WHERE users.name_key = $1 AND sessions.peer = $2 AND sessions.client_id IS NULL LIMIT 1",
                key_of(name),
                digest,
            ):
                return True
        return False

    async def read(self, refresh_token: str) -> RefreshRecord | None:
        """What a refresh token belongs to, used or not; None when there is none such."""
        for digest in self._hashed.all(refresh_token):
            record = await self._record(digest)
            if record is not None:
                return record
        return None

    async def _record(self, digest: str) -> RefreshRecord | None:
        rows = await self._database.fetch("SELECT used_at, session_id FROM refresh_tokens WHERE digest = $1", digest)
        session = await self.find(rows[0][1]) if rows else None
        return RefreshRecord(digest=digest, used_at=rows[0][0], session=session) if session is not None else None

    def alive(self, session: Session) -> bool:
        return session.ended_at is None and session.expires_at > self._clock.now()

    async def rotate(self, record: RefreshRecord, *, leeway: float = 0.0) -> Begun | None:
        """Use a refresh token up. None when its session is over, or when the token was used before: that ends it.

        Args:
            leeway: seconds for which the token just used up still admits, without a successor: a browser sends the
                same cookie from two tabs at once.
        """
        now, token = self._clock.now(), secrets.token_urlsafe(32)
        if record.used_at is None and self.alive(record.session):
            try:
                await self._database.transaction(
                    [
                        Statement(
                            "UPDATE refresh_tokens SET used_at = $2 WHERE digest = $1 AND used_at IS NULL",
                            (record.digest, now),
                            expect=1,
                        ),
                        Statement(
                            "UPDATE sessions SET used_at = $2 WHERE id = $1 AND ended_at IS NULL",
                            (record.session.id, now),
                            expect=1,
                        ),
                        self._refresh_token(token, record.session.id, now),
                    ]
                )
            except Conflict:
                now_known = await self._record(record.digest)
                if now_known is None:
                    return None
                record = now_known
            else:
                return Begun(session=msgspec.structs.replace(record.session, used_at=now), refresh_token=token)
        if not self.alive(record.session):
            return None
        if record.used_at is not None and abs(now - record.used_at) < leeway:
            return Begun(session=record.session, refresh_token=None)
        await self.end(record.session.id, "reuse")
        log.warning(
            "A refresh token of user %s was used twice; session %s is ended.", record.session.user_id, record.session.id
        )
        return None

    async def save_code(
        self, *, client_id: str, user_id: str, redirect_uri: str, scope: str, code_challenge: str | None, agent: str,
        peer: str, code: str,
    ) -> None:  # fmt: skip
        await self._database.execute(
            "INSERT INTO authorization_codes (digest, client_id, user_id, redirect_uri, scope, code_challenge, agent,"
            " peer, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            self._hashed.new(code), client_id, user_id, redirect_uri, scope, code_challenge, agent[:200],
            self._hashed.new(f"peer:{peer}"), self._clock.now() + CODE_SECONDS,
        )  # fmt: skip

    async def read_code(self, code: str, client_id: str) -> CodeRecord | None:
        """What a code is for; None when it is unknown, of another client, expired or used.

        One that was used ends the session that it was exchanged for.
        """
        rows: list[Row] = []
        for digest in self._hashed.all(code):
            rows += await self._database.fetch(
                "SELECT digest, client_id, user_id, redirect_uri, scope, code_challenge, agent, peer, session_id,"
                " expires_at FROM authorization_codes WHERE digest = $1 AND client_id = $2",
                digest,
                client_id,
            )
        if not rows:
            return None
        *fields, expires_at = rows[0]
        record = CodeRecord(**dict(zip(CodeRecord.__struct_fields__, fields, strict=True)))
        if record.session_id is not None:
            await self._code_reused(record.session_id)
            return None
        return record if expires_at > self._clock.now() else None

    async def exchange(self, record: CodeRecord, *, refreshable: bool) -> Begun | None:
        """Begin the session that a code is for. None when another exchange was faster: that session ends too."""
        session, refresh_token, statements = self._new(
            record.user_id, record.client_id, record.scope, record.agent, record.peer, refreshable=refreshable
        )
        use = Statement(
            "UPDATE authorization_codes SET session_id = $2 WHERE digest = $1 AND session_id IS NULL",
            (record.digest, session.id),
            expect=1,
        )
        try:
            await self._database.transaction([use, *statements])
        except Conflict:
            rows = await self._database.fetch(
                "SELECT session_id FROM authorization_codes WHERE digest = $1 AND session_id IS NOT NULL", record.digest
            )
            for (session_id,) in rows:
                await self._code_reused(session_id)
            return None
        return Begun(session=session, refresh_token=refresh_token)

    async def find(self, session_id: str) -> Session | None:
        rows = await self._database.fetch(SELECT + " WHERE id = $1", session_id)
        return _session(rows[0]) if rows else None

    async def of_user(self, user_id: str) -> list[Session]:
        """The user's sessions that go on, the latest first."""
        rows = await self._database.fetch(
            SELECT + " WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 ORDER BY used_at DESC, id",
            user_id,
            self._clock.now(),
        )
        return [_session(row) for row in rows]

    async def end(self, session_id: str, reason: str, *, user_id: str | None = None) -> bool:
        """End a session (of this user, when one is named); whether it was still going on."""
        touched = await self._database.transaction(
            [
                Statement(
                    "UPDATE sessions SET ended_at = $2, reason = $3 WHERE id = $1 AND ended_at IS NULL"
                    " AND user_id = COALESCE($4, user_id)",
                    (session_id, self._clock.now(), reason, user_id),
                ),
                bump(WATCHED),
            ]
        )
        return touched[0] > 0

    async def end_all(self, user_id: str, reason: str, *, keep: str | None = None) -> int:
        """End the user's sessions, except one; how many."""
        touched = await self._database.transaction(
            [
                Statement(
                    "UPDATE sessions SET ended_at = $2, reason = $3"
                    " WHERE user_id = $1 AND ended_at IS NULL AND id <> $4",
                    (user_id, self._clock.now(), reason, keep or ""),
                ),
                bump(WATCHED),
            ]
        )
        return touched[0]

    async def _code_reused(self, session_id: str) -> None:
        await self.end(session_id, "reuse")
        log.warning("An authorization code was used twice; session %s is ended.", session_id)

    def _new(
        self, user_id: str, client_id: str | None, scope: str, agent: str, peer: str, *, refreshable: bool = True
    ) -> tuple[Session, str | None, list[Statement]]:
        now = self._clock.now()
        session = Session(
            id=f"ses_{secrets.token_hex(12)}", user_id=user_id, client_id=client_id, scope=scope, agent=agent[:200],
            created_at=now, used_at=now, expires_at=now + self._lifetime, ended_at=None,
        )  # fmt: skip
        statements = [
            Statement(
                "INSERT INTO sessions (id, user_id, client_id, scope, agent, peer, created_at, used_at, expires_at)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                (session.id, user_id, client_id, scope, session.agent, peer, now, now, session.expires_at),
            )
        ]
        token = secrets.token_urlsafe(32) if refreshable else None
        if token is not None:
            statements.append(self._refresh_token(token, session.id, now))
        return session, token, statements

    def _refresh_token(self, token: str, session_id: str, now: float) -> Statement:
        return Statement(
            "INSERT INTO refresh_tokens (digest, session_id, created_at) VALUES ($1, $2, $3)",
            (self._hashed.new(token), session_id, now),
        )

    async def _tidy(self) -> None:
        """Now and then, drop what can no longer be used and need not be shown."""
        now = self._clock.now()
        if now - self._tidied_at < 3600:
            return
        self._tidied_at = now
        await self._database.transaction(
            [
                Statement("DELETE FROM sessions WHERE expires_at < $1 OR ended_at < $1", (now - KEPT,)),
                Statement("DELETE FROM authorization_codes WHERE expires_at < $1", (now - KEPT,)),
                Statement("DELETE FROM one_time_codes WHERE expires_at < $1", (now,)),
                Statement("DELETE FROM sign_in_failures WHERE last_at < $1", (now - 86_400.0,)),
            ]
        )


def _session(row: Row) -> Session:
    return Session(**dict(zip(Session.__struct_fields__, row, strict=True)))
