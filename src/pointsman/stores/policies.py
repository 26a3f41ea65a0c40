"""Routing policies as stored, versioned artefacts, which of them serves, and which are on trial beside it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from pointsman.core.errors import InvalidRequest, NotFound
from pointsman.core.ports import Clock

from .database import Conflict, Database, Statement
from .watch import bump

BUILT_IN = ""
"""Stands for the built-in policy among the promotions."""
REVISION = "policies"
TRIES = 5
MOST_EARLIER = 8
"""Promotions that are looked back at for one that can serve."""
MOST_SHADOWS = 4

Role = Literal["staged", "shadow"]
Action = Literal["promoted", "staged", "shadowed", "withdrawn", "rolled_back"]

_COLUMNS = "version, kind, artefact, note, created_at, report"
_EVENT = (
    "INSERT INTO policy_events (number, at, action, version, share, by_whom, reason, detail)"
    " SELECT COALESCE(MAX(number), 0) + 1, CAST($1 AS DOUBLE PRECISION), CAST($2 AS TEXT), CAST($3 AS TEXT),"
    " CAST($4 AS DOUBLE PRECISION), CAST($5 AS TEXT), CAST($6 AS TEXT), CAST($7 AS TEXT) FROM policy_events"
)


class StoredPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """One version. `artefact` is JSON that `pipeline.decide.load_policy` reads."""

    version: str
    kind: str
    artefact: str
    note: str
    created_at: float
    report: str = ""
    """How it was trained, as JSON; empty for one that was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A version beside the one that serves."""

    role: Role
    version: str
    share: float
    """Of the decisions; 0 for a shadow, which takes none."""
    started_at: float
    """Seconds since the epoch."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done."""

    number: int
    at: float
    action: Action
    version: str
    """'' is the built-in policy."""
    share: float | None
    by: str
    reason: str
    detail: dict[str, Any]
    """The numbers that it was judged by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """What the history says of a change beside the change."""

    by: str = ""
    reason: str = ""
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Who chooses now."""

    promoted: str
    """The version that is to serve, '' for the built-in policy."""
    serving: StoredPolicy | None
    """It; None: the built-in policy, or one that is there no longer."""
    earlier: tuple[StoredPolicy, ...]
    """Those that served before it, the latest first, back to the built-in policy: where it cannot serve, they do."""
    since: float
    """When it was promoted; 0 for rules that always served."""
    before: str
    """The version that would serve after a rollback, '' for the built-in policy."""
    staged: tuple[Trial, StoredPolicy] | None
    shadows: tuple[tuple[Trial, StoredPolicy], ...]


class PolicyStore:
    """Keeps policies and promotions. Raises StoreError when the database is away."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(
        self, name: str, *, kind: str, artefact: str, note: str = "", report: Mapping[str, Any] | None = None
    ) -> StoredPolicy:
        """Keep an artefact as the next version of its name."""
        told = "" if report is None else msgspec.json.encode(report).decode()
        for _ in range(TRIES):
            rows = await self._database.fetch("SELECT COALESCE(MAX(number), 0) FROM policies WHERE name = $1", name)
            number = int(rows[0][0]) + 1
            now = self._clock.now()
            kept = StoredPolicy(
                version=f"{name}@{number}", kind=kind, artefact=artefact, note=note, created_at=now, report=told
            )
            try:
                await self._database.execute(
                    "INSERT INTO policies (version, name, number, kind, artefact, note, created_at, report)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                    kept.version, name, number, kind, artefact, note, now, told,
                )  # fmt: skip
            except Conflict:  # somebody else took the number
                continue
            return kept
        raise Conflict(f"Others add versions of {name} at the same time; try again.")

    async def all(self) -> list[StoredPolicy]:
        """Every version, newest first."""
        rows = await self._database.fetch(f"SELECT {_COLUMNS} FROM policies ORDER BY created_at DESC, number DESC")  # noqa: S608 - our own names
        return [_policy(row) for row in rows]

    async def get(self, version: str) -> StoredPolicy:
        """
        Raises:
            NotFound: there is no such version.
        """
        found = await self._found(version)
        if found is None:
            raise NotFound(f"There is no policy {version!r}; `pointsman policies list` shows which there are.")
        return found

    async def _found(self, version: str) -> StoredPolicy | None:
        rows = await self._database.fetch(f"SELECT {_COLUMNS} FROM policies WHERE version = $1", version)  # noqa: S608
        return _policy(rows[0]) if rows else None

    async def promoted(self) -> StoredPolicy | None:
        """The policy that was promoted; None when the built-in policy serves."""
        return (await self.standing()).serving

    async def standing(self) -> Standing:
        """Who chooses, who is on trial, and who would choose after a rollback. A version that is gone is left out, but
        for the name of the promoted one."""
        held = await self._database.fetch(
            "SELECT version, promoted_at FROM promotions WHERE rolled_back = 0 ORDER BY number DESC LIMIT $1",
            1 + MOST_EARLIER,
        )
        versions = list(dict.fromkeys(itertools.takewhile(bool, (row[0] for row in held))))
        serving, *earlier = [await self._found(version) for version in versions] or [None]
        tried = [
            (trial, stored) for trial in await self.trials() if (stored := await self._found(trial.version)) is not None
        ]
        staged = [pair for pair in tried if pair[0].role == "staged"]
        return Standing(
            promoted=held[0][0] if held else BUILT_IN,
            serving=serving,
            earlier=tuple(stored for stored in earlier if stored is not None),
            since=held[0][1] if held else 0.0,
            before=held[1][0] if len(held) > 1 else BUILT_IN,
            staged=staged[0] if staged else None,
            shadows=tuple(pair for pair in tried if pair[0].role == "shadow"),
        )

    async def trials(self) -> list[Trial]:
        """Those staged and in the shadow, the oldest first."""
        rows = await self._database.fetch(
            "SELECT role, version, share, started_at FROM policy_trials ORDER BY started_at, version"
        )
        return [Trial(role=row[0], version=row[1], share=row[2], started_at=row[3]) for row in rows]

    async def promote(self, version: str, *, why: Why | None = None) -> None:
        """Let a version, or with `BUILT_IN` the built-in policy, serve in every process within a second. A trial of it
        is over, and so is that of another which had a share.

        Raises:
            NotFound: there is no such version.
        """
        if version != BUILT_IN:
            await self.get(version)
        await self._do(
            [
                Statement(
                    "INSERT INTO promotions (number, version, promoted_at)"
                    " SELECT COALESCE(MAX(number), 0) + 1, CAST($1 AS TEXT), CAST($2 AS DOUBLE PRECISION)"
                    " FROM promotions",
                    (version, self._clock.now()),
                ),
                Statement("DELETE FROM policy_trials WHERE role = 'staged' OR version = $1", (version,)),
            ],
            "promoted", version, None, why,
        )  # fmt: skip

    async def stage(self, version: str, share: float, *, why: Why | None = None) -> None:
        """Give a version a share of the decisions, in place of any other that had one.

        Raises:
            NotFound: there is no such version.
            InvalidRequest: the share makes no sense, or the version serves already.
        """
        if not 0 < share < 1:
            raise InvalidRequest(f"share is {share}: it must be more than 0 and less than 1.")
        await self._check_other(version)
        await self._do(
            [
                Statement("DELETE FROM policy_trials WHERE role = 'staged' OR version = $1", (version,)),
                _try("staged", version, share, self._clock.now()),
            ],
            "staged", version, share, why,
        )  # fmt: skip

    async def shadow(self, version: str, *, why: Why | None = None) -> None:
        """Have a version say of every decision what it would have chosen.

        Raises:
            NotFound: there is no such version.
            InvalidRequest: it serves or is on trial already, or too many are in the shadow.
        """
        await self._check_other(version)
        trials = await self.trials()
        if any(trial.version == version for trial in trials):
            raise InvalidRequest(f"{version} is on trial already.")
        if sum(trial.role == "shadow" for trial in trials) >= MOST_SHADOWS:
            raise InvalidRequest(
                f"{MOST_SHADOWS} policies are in the shadow already; end one with `pointsman policies shadow VERSION"
                " --off`."
            )
        await self._do([_try("shadow", version, 0.0, self._clock.now())], "shadowed", version, None, why)

    async def withdraw(self, version: str, *, why: Why | None = None) -> None:
        """End a trial.

        Raises:
            InvalidRequest: it is not on trial.
            Conflict: somebody else ended it at the same time.
        """
        if not any(trial.version == version for trial in await self.trials()):
            raise InvalidRequest(f"{version} is not on trial.")
        gone = Statement("DELETE FROM policy_trials WHERE version = $1", (version,), expect=1)
        await self._do([gone], "withdrawn", version, None, why, tries=1)

    async def roll_back(self, *, expect: str | None = None, why: Why | None = None) -> str:
        """End the trial of the version that has a share, or undo the latest promotion; returns the version that serves
        now, '' for the built-in policy.

        Args:
            expect: the version that is to go; whoever comes second must not undo one more.

        Raises:
            InvalidRequest: nothing is left to undo.
            Conflict: somebody else did it at the same time.
        """
        staged = [trial for trial in await self.trials() if trial.role == "staged"]
        if staged:
            version, undo = staged[0].version, Statement(
                "DELETE FROM policy_trials WHERE role = 'staged' AND version = $1", (staged[0].version,), expect=1
            )  # fmt: skip
        else:
            rows = await self._database.fetch(
                "SELECT number, version FROM promotions WHERE rolled_back = 0 ORDER BY number DESC LIMIT 1"
            )
            if not rows:
                raise InvalidRequest("There is nothing to roll back: the built-in policy serves.")
            version, undo = rows[0][1], Statement(
                "UPDATE promotions SET rolled_back = 1 WHERE number = $1 AND rolled_back = 0", (rows[0][0],), expect=1
            )  # fmt: skip
        if expect not in (None, version):
            raise Conflict(f"{expect} was rolled back already.")
        await self._do([undo], "rolled_back", version, None, why, tries=1)
        return (await self.standing()).promoted

    async def history(self, limit: int = 50) -> list[Event]:
        """What was done, the latest first."""
        rows = await self._database.fetch(
            "SELECT number, at, action, version, share, by_whom, reason, detail FROM policy_events"
            " ORDER BY number DESC LIMIT $1",
            limit,
        )
        return [
            Event(number=row[0], at=row[1], action=row[2], version=row[3], share=row[4], by=row[5], reason=row[6],
                  detail=msgspec.json.decode(row[7]))
            for row in rows
        ]  # fmt: skip

    async def _check_other(self, version: str) -> None:
        await self.get(version)
        if (await self.standing()).promoted == version:
            raise InvalidRequest(f"{version} serves already.")

    async def _do(
        self,
        statements: Sequence[Statement],
        action: Action,
        version: str,
        share: float | None,
        why: Why | None,
        *,
        tries: int = TRIES,
    ) -> None:
        """A change, its line of history, and word to every process, in one transaction."""
        why = why or Why()
        detail = msgspec.json.encode(why.detail or {}).decode()
        values = (self._clock.now(), action, version, share, why.by, why.reason, detail)
        for left in reversed(range(tries)):
            try:
                await self._database.transaction([*statements, Statement(_EVENT, values), bump(REVISION)])
            except Conflict:  # somebody else took the number
                if left:
                    continue
                raise Conflict("Others change policies at the same time; try again.") from None
            return


def _try(role: Role, version: str, share: float, now: float) -> Statement:
    return Statement(
        "INSERT INTO policy_trials (role, version, share, started_at) VALUES ($1, $2, $3, $4)",
        (role, version, share, now),
    )


def _policy(row: tuple[str, str, str, str, float, str]) -> StoredPolicy:
    version, kind, artefact, note, created_at, report = row
    return StoredPolicy(version=version, kind=kind, artefact=artefact, note=note, created_at=created_at, report=report)
