"""What the ledger's rows add up to: where a total stands, what was spent, and the archive of closed periods."""

from __future__ import annotations

from functools import cache

from pointsman.core.books import Spent
from pointsman.core.budget import Scope
from pointsman.core.periods import bounds_of, period_of

from .database import Database, Statement


class LedgerSums:
    """Sums over the rows of everybody. Every method raises StoreError when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._summed: dict[str, str] = {}
        """Closed month → the day on which this process last summed it up."""

    async def stands_at(self, scope: Scope, name: str, period: str, now: float, *, under_way: bool) -> int:
        """What a total stands at, in micro-dollars: what was settled, and the worst case of what was not.

        Args:
            under_way: of calls that began by now and did not end, alone.
        """
        counted, counted_model = (_UNDER_WAY, _UNDER_WAY_MODEL) if under_way else (_COUNTED, _COUNTED_MODEL)
        column = "month" if len(period) == 7 else "day"
        # Of calls under way there are few, and an index of their own finds them; the period's would find all calls.
        at = f"{column} || '' = $2 AND l.state IN ('reserved', 'unsettled')" if under_way else f"{column} = $2"
        archived = await self._database.fetch(
            "SELECT micro_usd FROM spend WHERE scope = $1 AND name = $2 AND period = $3 AND final = 1",
            scope, name, period,
        )  # fmt: skip
        if archived:
            return int(archived[0][0])
        if scope == "model":
            sql = (
                f"SELECT COALESCE(SUM({counted_model}), 0) FROM ledger l CROSS JOIN ledger_models m"  # noqa: S608
                f" WHERE l.{at} AND m.id = l.id AND m.model = $3"
                if under_way
                else f"SELECT COALESCE(SUM({counted_model}), 0) FROM ledger_models m JOIN ledger l ON l.id = m.id"  # noqa: S608
                f" WHERE m.{at} AND m.model = $3"
            )
        elif scope == "key":
            sql = f"SELECT COALESCE(SUM({counted}), 0) FROM ledger l WHERE l.{at} AND l.key_id = $3"  # noqa: S608
        else:
            sql = f"SELECT COALESCE(SUM({counted}), 0) FROM ledger l WHERE l.{at}"  # noqa: S608
        values = (now, period, name) if scope != "global" else (now, period)
        return int((await self._database.fetch(sql, *values))[0][0])

    async def spent(self, period: str) -> list[Spent]:
        """What everybody and every model spent in a day or month, from the archive or the rows."""
        rows = await self._database.fetch(
            "SELECT scope, name, micro_usd, requests FROM spend WHERE period = $1 ORDER BY scope, name", period
        )
        if not rows:
            column = "month" if len(period) == 7 else "day"
            for select in _summaries(column):
                rows += [row[:2] + row[3:] for row in await self._database.fetch(select, period)]
        if not rows:  # no budget held in it: the decision log knows what was paid
            for select in _LOGGED:
                rows += await self._database.fetch(select, *bounds_of(period))
        return [
            Spent(scope=scope, name=name, period=period, micro_usd=int(sum_), requests=int(count))
            for scope, name, sum_, count in rows
        ]

    async def archive(self, now: float, *, keep_seconds: float) -> int:
        """Sum up closed periods, and drop their rows after a while; returns how many rows went.

        Several replicas may do this at once: the sums are the same whoever writes them, and are final once rows go.
        A month with calls that nobody settled keeps its rows.
        """
        today = period_of(now)
        months = [row[0] for row in await self._database.fetch(
            "SELECT DISTINCT month FROM ledger WHERE month < $1", today.month)]  # fmt: skip
        days = [row[0] for row in await self._database.fetch(
            "SELECT DISTINCT day FROM ledger WHERE day < $1", today.day)]  # fmt: skip
        archived = {row[0] for row in await self._database.fetch("SELECT DISTINCT period FROM spend")}
        soon = period_of(now - 2 * 86_400).day
        # A closed month is summed up again once a day, for what was settled or released late: it may have many rows.
        old = period_of(now - keep_seconds).month
        stale = [
            month for month in months
            if month not in archived or month < old or self._summed.get(month) != today.day
        ]  # fmt: skip
        for period in [*stale, *(day for day in days if day not in archived or day >= soon)]:
            column = "month" if len(period) == 7 else "day"
            statements = [
                Statement(
                    f"INSERT INTO spend (scope, name, period, micro_usd, requests) {select}"
                    " ON CONFLICT (scope, name, period) DO UPDATE SET micro_usd = excluded.micro_usd,"
                    " requests = excluded.requests WHERE spend.final = 0",
                    (period,),
                )
                for select in _summaries(column)
            ]
            await self._database.transaction(statements)
        self._summed = dict.fromkeys(months, today.day)
        dropped = 0
        for month in (month for month in months if month < old):
            open_rows = await self._database.fetch(
                "SELECT 1 FROM ledger WHERE month = $1 AND state IN ('reserved', 'unsettled') LIMIT 1", month
            )
            if not open_rows:
                touched = await self._database.transaction(
                    [
                        Statement(
                            "UPDATE spend SET final = 1 WHERE period = $1 OR period LIKE $2", (month, f"{month}-%")
                        ),
                        Statement("DELETE FROM ledger_models WHERE month = $1", (month,)),
                        Statement("DELETE FROM ledger WHERE month = $1", (month,)),
                    ]
                )
                dropped += touched[-1]
        return dropped


_COUNTED = (
    "CASE WHEN l.state = 'released' THEN 0"
    " WHEN l.state = 'settled' AND l.late_until IS NOT NULL AND l.late_until > $1 AND l.reserved > l.settled"
    " THEN l.reserved WHEN l.state = 'settled' THEN l.settled ELSE l.reserved END"
)
_UNDER_WAY = "CASE WHEN l.state = 'reserved' AND l.at <= $1 THEN l.reserved ELSE 0 END"
_UNDER_WAY_MODEL = "CASE WHEN l.state = 'reserved' AND l.at <= $1 THEN m.reserved ELSE 0 END"
_COUNTED_MODEL = (
    "CASE WHEN l.state = 'released' THEN 0"
    " WHEN l.state = 'settled' AND l.late_until IS NOT NULL AND l.late_until > $1"
    " AND m.reserved > COALESCE(m.settled, 0)"
    " THEN m.reserved WHEN l.state = 'settled' THEN COALESCE(m.settled, 0) ELSE m.reserved END"
)


@cache
def _summaries(column: str) -> tuple[str, ...]:
    """Scope, name, period, sum and count of every scope, for one period ($1)."""
    row = "CASE WHEN l.state = 'released' THEN 0 WHEN l.state = 'settled' THEN l.settled ELSE l.reserved END"
    model = (
        "CASE WHEN l.state = 'released' THEN 0 WHEN l.state = 'settled' THEN COALESCE(m.settled, 0) ELSE m.reserved END"
    )
    return (
        f"SELECT 'global', '', l.{column}, SUM({row}), COUNT(*) FROM ledger l WHERE l.{column} = $1"  # noqa: S608
        f" GROUP BY l.{column}",
        f"SELECT 'key', COALESCE(l.key_id, ''), l.{column}, SUM({row}), COUNT(*) FROM ledger l"  # noqa: S608
        f" WHERE l.{column} = $1 GROUP BY COALESCE(l.key_id, ''), l.{column}",
        f"SELECT 'model', m.model, m.{column}, SUM({model}), COUNT(*) FROM ledger_models m JOIN ledger l ON l.id = m.id"  # noqa: S608
        f" WHERE m.{column} = $1 GROUP BY m.model, m.{column}",
    )


_OF_LOG = (
    "SUM(cost_micro_usd), COUNT(*) FROM decisions WHERE created_at >= $1 AND created_at < $2 AND cost_micro_usd > 0"
)
_LOGGED = (
    f"SELECT 'global', '', {_OF_LOG} HAVING COUNT(*) > 0",
    f"SELECT 'key', COALESCE(key_id, ''), {_OF_LOG} GROUP BY COALESCE(key_id, '')",
    f"SELECT 'model', COALESCE(answered_by, ''), {_OF_LOG} GROUP BY COALESCE(answered_by, '')",
)
