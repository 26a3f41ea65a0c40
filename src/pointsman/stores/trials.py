"""What became of decisions under policies on trial, and what shadows would have chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pointsman.core.decision import Candidate
from pointsman.core.signals import Signals

from .database import Database, Statement

_INSERT = (
    "INSERT INTO shadow_choices (decision_id, version, model, propensity, cost_micro_usd, agreement)"
    " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (decision_id, version) DO NOTHING"
)
_ENDED = (
    "SELECT d.policy, d.created_at + COALESCE(d.seconds, 0), d.status, o.success, o.weight, o.revision"
    " FROM decisions d LEFT JOIN observations o ON o.decision_id = d.id"
    " WHERE d.created_at >= $1 AND d.created_at < $2 AND d.policy = $3 AND d.status IN ('ok', 'error')"
)
_signals = msgspec.json.Decoder(Signals)
_candidates = msgspec.json.Decoder(tuple[Candidate, ...])


class Ended(NamedTuple):
    """How a decision ended, and what is known of its answer."""

    policy: str
    at: float
    """When it ended, in seconds since the epoch, UTC."""
    failed: bool
    success: float | None
    """None: nobody has judged it."""
    weight: float
    judged: int
    """Grows in the order in which answers were judged."""


class Seen(NamedTuple):
    """A decision, for a shadow to look at."""

    id: str
    at: float
    model: str
    requested_model: str
    hinted: bool
    candidates: tuple[Candidate, ...]
    signals: Signals


class ShadowChoice(NamedTuple):
    """What a policy would have done."""

    decision_id: str
    version: str
    model: str
    propensity: float
    cost_micro_usd: int | None
    agreement: float
    """Its propensity of the model that was chosen."""


class ShadowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a shadow would have changed."""

    version: str
    decisions: int
    agreement: float
    """Mean probability that it chooses as was chosen."""
    cost_micro_usd: int
    """Expected of its choices, where both prices are known."""
    actual_micro_usd: int
    """Expected of what was chosen."""


class TrialStore:
    """Raises StoreError when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ended(self, policy: str, *, since: float, until: float, most: int, latest: bool = False) -> list[Ended]:
        """Decisions of a policy that have ended, in the order in which they were taken; those that were refused or
        abandoned by the caller say nothing of it.

        Args:
            policy: `name@version` as decisions have it.
            latest: the last of them instead of the first, where there are more than `most`.
        """
        order = "DESC" if latest else "ASC"
        rows = await self._database.fetch(
            f"{_ENDED} ORDER BY d.created_at {order} LIMIT $4", since, until, policy, most
        )
        return [
            Ended(policy, at, status == "error", success, weight or 0.0, int(revision or 0))
            for policy, at, status, success, weight, revision in rows
        ]

    async def unseen(self, *, after: float, most: int) -> list[Seen]:
        """Decisions among several models that were taken since, the oldest first."""
        rows = await self._database.fetch(
            "SELECT id, created_at, model, requested_model, mode, candidates, signals FROM decisions"
            " WHERE created_at > $1 AND mode IN ('auto', 'hint') AND model <> '' ORDER BY created_at LIMIT $2",
            after, most,
        )  # fmt: skip
        return [
            Seen(row[0], row[1], row[2], row[3], row[4] == "hint", _candidates.decode(row[5]), _signals.decode(row[6]))
            for row in rows
        ]

    async def keep(self, choices: Sequence[ShadowChoice]) -> None:
        """Keep what shadows said. What is kept already stays."""
        await self._database.transaction([Statement(_INSERT, tuple(choice)) for choice in choices])

    async def summaries(self) -> list[ShadowSummary]:
        """Of every version that was ever a shadow."""
        rows = await self._database.fetch(
            "SELECT s.version, COUNT(*), AVG(s.agreement),"
            " SUM(CASE WHEN d.estimated_cost_micro_usd IS NULL THEN 0 ELSE COALESCE(s.cost_micro_usd, 0) END),"
            " SUM(CASE WHEN s.cost_micro_usd IS NULL THEN 0 ELSE COALESCE(d.estimated_cost_micro_usd, 0) END)"
            " FROM shadow_choices s JOIN decisions d ON d.id = s.decision_id GROUP BY s.version ORDER BY s.version"
        )
        return [
            ShadowSummary(
                version=version, decisions=int(count), agreement=float(agreement), cost_micro_usd=int(cost),
                actual_micro_usd=int(actual),
            )
            for version, count, agreement, cost, actual in rows
        ]  # fmt: skip
