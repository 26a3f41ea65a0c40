"""The decision log as learning reads it: whole stretches, oldest first, page by page, while gateways write to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from .database import Database

PAGE = 2_000
"""Decisions at a time: some ten megabytes."""


class LoggedRow(NamedTuple):
    """One decision with what became of it, as it lies in the database; JSON stays JSON. Fields of the outcome are None
    while it runs, and those of the observation where nobody judged the answer."""

    id: str
    created_at: float
    key_id: str | None
    requested_model: str
    model: str
    mode: str
    policy: str
    propensity: float
    candidates: str
    signals: str
    explored: int
    conversation: str
    effort: str | None
    status: str | None
    answered_by: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    cost_micro_usd: int | None
    seconds: float | None
    attempts: str | None
    success: float | None
    weight: float | None
    source: str | None


_OBSERVED = ("success", "weight", "source")
_COLUMNS = ", ".join(f"{'o' if name in _OBSERVED else 'd'}.{name}" for name in LoggedRow._fields)
_PAGE = (
    f"SELECT {_COLUMNS} FROM decisions d LEFT JOIN observations o ON o.decision_id = d.id"  # noqa: S608 - our own names
    " WHERE (d.created_at, d.id) > ($1, $2) AND d.created_at < $3 ORDER BY d.created_at, d.id LIMIT $4"
)


class LearningLog:
    """Reads decisions with their outcomes and observations. Raises StoreError when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, *, since: float, until: float) -> int:
        """How many decisions there are in the stretch; times are seconds since the epoch, UTC."""
        sql = "SELECT COUNT(*) FROM decisions WHERE created_at >= $1 AND created_at < $2"
        return int((await self._database.fetch(sql, since, until))[0][0])

    async def pages(self, *, since: float, until: float, page: int = PAGE) -> AsyncIterator[list[LoggedRow]]:
        """Decisions of the stretch, oldest first. What is written meanwhile within it may or may not be among them;
        nothing comes twice."""
        at, last = since, ""
        while rows := await self._database.fetch(_PAGE, at, last, until, page):
            read = [LoggedRow(*row) for row in rows]
            yield read
            at, last = read[-1].created_at, read[-1].id
            if len(rows) < page:
                return
