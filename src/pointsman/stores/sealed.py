"""Encrypted values in the database, by kind and name. Each encryption is bound to its row and version."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from pointsman.core.ports import Clock

from .database import Conflict, Database, Statement
from .envelope import Envelope, EnvelopeError
from .watch import bump

ATTEMPTS = 5
"""How often a rotation begins anew because a value changed meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A row as it stands; `value` is None where it cannot be opened, and `problem` says why."""

    name: str
    version: int
    changed_at: float
    value: bytes | None
    problem: str | None = None

    def __repr__(self) -> str:
        return f"Sealed(name={self.name!r}, version={self.version})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapping:
    """Which secrets wrap the stored values."""

    current: int
    previous: int
    unknown: int


class SealedValues:
    """Opens and seals the rows of the table `sealed`. All methods raise StoreError when the database is away."""

    def __init__(self, database: Database, envelope: Envelope, clock: Clock) -> None:
        self._database = database
        self._envelope = envelope
        self._clock = clock

    async def get(self, kind: str, name: str) -> bytes | None:
        """A value, or None.

        Raises:
            EnvelopeError: it is there and cannot be opened.
        """
        rows = await self._database.fetch(
            "SELECT version, envelope FROM sealed WHERE kind = $1 AND name = $2", kind, name
        )
        return self._envelope.open(bytes(rows[0][1]), _bound(kind, name, rows[0][0])) if rows else None

    async def all(self, kind: str) -> list[Sealed]:
        """Every value of a kind, by name; those that cannot be opened say why."""
        rows = await self._database.fetch(
            "SELECT name, version, changed_at, envelope FROM sealed WHERE kind = $1 ORDER BY name", kind
        )
        return [self._opened(kind, *row) for row in rows]

    async def put(self, kind: str, name: str, value: bytes, *, tell: str | None = None) -> None:
        """Keep a value, replacing what was there; `tell` is the revision that watching processes reload at.

        Raises:
            Conflict: another change came first, again and again.
        """
        for attempt in range(ATTEMPTS):
            rows = await self._database.fetch("SELECT version FROM sealed WHERE kind = $1 AND name = $2", kind, name)
            version = rows[0][0] + 1 if rows else 1
            values = (kind, name, version, self._envelope.seal(value, _bound(kind, name, version)), self._clock.now())
            change = Statement("INSERT INTO sealed VALUES ($1, $2, $3, $4, $5)", values, 1)
            if rows:
                change = Statement(
                    "UPDATE sealed SET version = $3, envelope = $4, changed_at = $5"
                    " WHERE kind = $1 AND name = $2 AND version = $6",
                    (*values, version - 1),
                    1,
                )
            try:
                await self._database.transaction([change, *([bump(tell)] if tell else [])])
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    async def remove(self, kind: str, name: str, *, tell: str | None = None) -> bool:
        """Forget a value; False when there is none."""
        sql = "DELETE FROM sealed WHERE kind = $1 AND name = $2"
        touched = await self._database.transaction(
            [Statement(sql, (kind, name)), *([bump(tell)] if tell else [])],
        )
        return touched[0] == 1

    async def made_once(self, name: str, size: int = 32) -> bytes:
        """A random value of the installation, the same for ever: it outlives every rotation of the secret.

        Made at the first call; of several processes that call at once all get the same.

        Raises:
            EnvelopeError: it is there and cannot be opened.
        """
        found = await self.get("installation", name)
        if found is None:
            made = self._envelope.seal(os.urandom(size), _bound("installation", name, 1))
            await self._database.execute(
                "INSERT INTO sealed VALUES ($1, $2, 1, $3, $4) ON CONFLICT (kind, name) DO NOTHING",
                "installation",
                name,
                made,
                self._clock.now(),
            )
            found = await self.get("installation", name)
            assert found is not None
        return found

    async def wrapping(self) -> Wrapping:
        """How many values each secret wraps."""
        rows = [bytes(row[0]) for row in await self._database.fetch("SELECT envelope FROM sealed")]
        current = sum(map(self._envelope.is_current, rows))
        known = sum(map(self._envelope.knows, rows))
        return Wrapping(current=current, previous=known - current, unknown=len(rows) - known)

    async def rewrap(self, also: tuple[Statement, ...] = ()) -> int:
        """Wrap every value under the current secret, in one transaction with `also`; returns how many were not yet.

        Raises:
            UnknownSecret: a value is wrapped under a secret that is not at hand; nothing is changed.
            EnvelopeError: a value was tampered with; nothing is changed.
            Conflict: values changed meanwhile, again and again.
        """
        for attempt in range(ATTEMPTS):
            changes = []
            for kind, name, version, old in await self._verified():
                if not self._envelope.is_current(old):
                    values = (self._envelope.rewrap(old, _bound(kind, name, version)), kind, name, version, old)
                    sql = (
                        "UPDATE sealed SET envelope = $1 WHERE kind = $2 AND name = $3 AND version = $4"
                        " AND envelope = $5"
                    )
                    changes.append(Statement(sql, values, 1))
            try:
                # Nothing that a running gateway knows has changed; but one that lacks the new secret should say so now.
                await self._database.transaction([*changes, *also, bump("credentials")])
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                return len(changes)
        raise AssertionError("the last attempt returns or raises")

    async def verify(self) -> None:
        """See that every value can be opened. Raises EnvelopeError, naming the first that cannot."""
        await self._verified()

    async def forget_unreadable(self, *, tell: Sequence[str]) -> list[str]:
        """Delete what cannot be opened, moving the revisions `tell`; returns kind and name of each."""
        gone = []
        changes = []
        for kind, name, version, envelope in await self._rows():
            try:
                self._envelope.open(envelope, _bound(kind, name, version))
            except EnvelopeError:
                gone.append(f"{kind} {name}")
                sql = "DELETE FROM sealed WHERE kind = $1 AND name = $2 AND version = $3"
                changes.append(Statement(sql, (kind, name, version)))
        if changes:
            await self._database.transaction([*changes, *map(bump, tell)])
        return gone

    async def _rows(self) -> list[tuple[str, str, int, bytes]]:
        rows = await self._database.fetch("SELECT kind, name, version, envelope FROM sealed ORDER BY kind, name")
        return [(kind, name, version, bytes(envelope)) for kind, name, version, envelope in rows]

    async def _verified(self) -> list[tuple[str, str, int, bytes]]:
        rows = await self._rows()
        for kind, name, version, envelope in rows:
            try:
                self._envelope.open(envelope, _bound(kind, name, version))
            except EnvelopeError as error:
                raise type(error)(f"{kind} {name}: {error.message}") from None
        return rows

    def _opened(self, kind: str, name: str, version: int, changed_at: float, envelope: bytes) -> Sealed:
        try:
            value = self._envelope.open(bytes(envelope), _bound(kind, name, version))
        except EnvelopeError as error:
            return Sealed(name=name, version=version, changed_at=changed_at, value=None, problem=error.message)
        return Sealed(name=name, version=version, changed_at=changed_at, value=value)


def _bound(kind: str, name: str, version: int) -> bytes:
    return msgspec.json.encode((kind, name, version))
