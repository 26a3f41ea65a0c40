"""Routing policies as stored, versioned artefacts, and which of them is promoted."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from pointsman.core.errors import InvalidRequest, NotFound
from pointsman.core.ports import Clock

from .database import Conflict, Database, Statement
from .watch import bump

BUILT_IN = ""
"""Stands for the built-in rules among the promotions."""
REVISION = "policies"
TRIES = 5


class StoredPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """One version. `artefact` is JSON that `pipeline.decide.load_policy` reads."""

    version: str
    kind: str
    artefact: str
    note: str
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """A version, '' for the built-in rules, and when it was promoted, in seconds since the epoch."""

    version: str
    promoted_at: float
    rolled_back: bool


class PolicyStore:
    """Keeps policies and promotions. Raises StoreError when the database is away."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, name: str, *, kind: str, artefact: str, note: str = "") -> StoredPolicy:
        """Keep an artefact as the next version of its name."""
        for _ in range(TRIES):
            rows = await self._database.fetch("SELECT COALESCE(MAX(number), 0) FROM policies WHERE name = $1", name)
            number = int(rows[0][0]) + 1
            now = self._clock.now()
            kept = StoredPolicy(version=f"{name}@{number}", kind=kind, artefact=artefact, note=note, created_at=now)
            try:
                await self._database.execute(
                    "INSERT INTO policies (version, name, number, kind, artefact, note, created_at)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    kept.version, name, number, kind, artefact, note, now,
                )  # fmt: skip
            except Conflict:  # somebody else took the number
                continue
            return kept
        raise Conflict(f"Others add versions of {name} at the same time; try again.")

    async def all(self) -> list[StoredPolicy]:
        """Every version, newest first."""
        rows = await self._database.fetch(
            "SELECT version, kind, artefact, note, created_at FROM policies ORDER BY created_at DESC, number DESC"
        )
        return [_policy(row) for row in rows]

    async def get(self, version: str) -> StoredPolicy:
        """
        Raises:
            NotFound: there is no such version.
        """
        rows = await self._database.fetch(
            "SELECT version, kind, artefact, note, created_at FROM policies WHERE version = $1", version
        )
        if not rows:
            raise NotFound(f"There is no policy {version!r}; `pointsman policy list` shows which there are.")
        return _policy(rows[0])

    async def promotions(self, limit: int = 20) -> list[Promotion]:
        """The latest, newest first."""
        rows = await self._database.fetch(
            "SELECT version, promoted_at, rolled_back FROM promotions ORDER BY number DESC LIMIT $1", limit
        )
        return [Promotion(version=row[0], promoted_at=row[1], rolled_back=bool(row[2])) for row in rows]

    async def promoted(self) -> StoredPolicy | None:
        """The policy that serves; None when the built-in rules do."""
        rows = await self._database.fetch(
            "SELECT version FROM promotions WHERE rolled_back = 0 ORDER BY number DESC LIMIT 1"
        )
        return await self.get(rows[0][0]) if rows and rows[0][0] != BUILT_IN else None

    async def promote(self, version: str) -> None:
        """Let a version, or with `BUILT_IN` the built-in rules, serve in every process within a second.

        Raises:
            NotFound: there is no such version.
        """
        if version != BUILT_IN:
            await self.get(version)
        for _ in range(TRIES):
            rows = await self._database.fetch("SELECT COALESCE(MAX(number), 0) FROM promotions")
            try:
                await self._database.transaction(
                    [
                        Statement(
                            "INSERT INTO promotions (number, version, promoted_at) VALUES ($1, $2, $3)",
                            (int(rows[0][0]) + 1, version, self._clock.now()),
                        ),
                        bump(REVISION),
                    ]
                )
            except Conflict:
                continue
            return
        raise Conflict("Others promote policies at the same time; try again.")

    async def roll_back(self) -> str:
        """Undo the latest promotion; returns the version that serves now, '' for the built-in rules.

        Raises:
            InvalidRequest: nothing is left to undo.
            Conflict: somebody else did it at the same time.
        """
        rows = await self._database.fetch(
            "SELECT number FROM promotions WHERE rolled_back = 0 ORDER BY number DESC LIMIT 1"
        )
        if not rows:
            raise InvalidRequest("There is nothing to roll back: the built-in rules serve.")
        undo = "UPDATE promotions SET rolled_back = 1 WHERE number = $1 AND rolled_back = 0"
        await self._database.transaction([Statement(undo, (rows[0][0],), expect=1), bump(REVISION)])
        serving = await self.promoted()
        return serving.version if serving is not None else BUILT_IN


def _policy(row: tuple[str, str, str, str, float]) -> StoredPolicy:
    version, kind, artefact, note, created_at = row
    return StoredPolicy(version=version, kind=kind, artefact=artefact, note=note, created_at=created_at)
