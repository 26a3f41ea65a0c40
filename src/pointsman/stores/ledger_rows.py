"""The ledger's rows: the statements that write them, and what is read back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pointsman.core.books import Booked, Entry, Raise, Settle
from pointsman.core.periods import period_of

from .database import Row, Statement

LATE = 10.0
"""Seconds for which a row that was settled late still counts by its worst case when counters are seeded: whoever
settled it corrects them afterwards, and must not find the correction made."""


def _values(rows: int, columns: int) -> str:
    return ", ".join(
        "(" + ", ".join(f"${row * columns + column}" for column in range(1, columns + 1)) + ")" for row in range(rows)
    )


@cache
def _insert_rows(count: int) -> str:
    return (
        "INSERT INTO ledger (id, at, month, day, key_id, process, lease_until, reserved, state) VALUES"  # noqa: S608
        f" {_values(count, 9)} ON CONFLICT (id) DO NOTHING"
    )


@cache
def _insert_models(count: int) -> str:
    return (
        "INSERT INTO ledger_models (id, model, month, day, reserved) VALUES"  # noqa: S608
        f" {_values(count, 5)} ON CONFLICT (id, model) DO NOTHING"
    )


def inserts(entries: Sequence[Entry], process: str) -> list[Statement]:
    """Write reservations of a process; those that are there stay as they are."""
    rows: list[object] = []
    models: list[object] = []
    for entry in entries:
        period = period_of(entry.at)
        rows += (entry.id, entry.at, period.month, period.day, entry.key_id, process, entry.lease_until,
                 entry.reserved, "reserved")  # fmt: skip
        for model, reserved in entry.models.items():
            models += (entry.id, model, period.month, period.day, reserved)
    statements = [Statement(_insert_rows(len(entries)), tuple(rows))]
    if models:
        statements.append(Statement(_insert_models(len(models) // 5), tuple(models)))
    return statements


def raises(change: Raise) -> list[Statement]:
    """Reserve more for a call under way. The last statement touches one row where it still is."""
    found = [
        Statement(
            "INSERT INTO ledger_models (id, model, month, day, reserved)"
            " SELECT id, $2, month, day, CAST($3 AS BIGINT) FROM ledger"
            " WHERE id = $1 ON CONFLICT (id, model) DO UPDATE SET reserved = excluded.reserved",
            (change.id, model, reserved),
        )
        for model, reserved in change.models.items()
    ]
    return [*found, Statement("UPDATE ledger SET reserved = $2 WHERE id = $1 AND state = 'reserved'",
                              (change.id, change.reserved))]  # fmt: skip


def settles(settled: Settle) -> list[Statement]:
    """Write what a call cost; the last statement touches one row where that was not known yet.

    The models first: whether the row is open still decides for both. A row becomes unsettled only from reserved.
    """
    if settled.state == "unsettled":
        return [Statement("UPDATE ledger SET state = 'unsettled' WHERE id = $1 AND state = 'reserved'", (settled.id,))]
    found = [
        Statement(
            "INSERT INTO ledger_models (id, model, month, day, reserved, settled)"
            " SELECT id, $2, month, day, 0, CAST($3 AS BIGINT) FROM ledger"
            " WHERE id = $1 AND state IN ('reserved', 'unsettled')"
            " ON CONFLICT (id, model) DO UPDATE SET settled = excluded.settled",
            (settled.id, model, micro_usd),
        )
        for model, micro_usd in settled.models.items()
    ]
    values = (settled.id, settled.state, settled.micro_usd, settled.at, settled.at + LATE if settled.late else None)
    found.append(
        Statement(
            "UPDATE ledger SET state = $2, settled = $3, settled_at = $4, late_until = $5"
            " WHERE id = $1 AND state IN ('reserved', 'unsettled')",
            values,
        )
    )
    return found


def booked(row: Row, models: Sequence[Row]) -> Booked:
    """A row of the ledger and those of its models."""
    identifier, at, key_id, process, lease_until, reserved, settled, state = row
    return Booked(
        id=identifier,
        at=at,
        key_id=key_id,
        process=process,
        lease_until=lease_until,
        reserved=int(reserved),
        settled=None if settled is None else int(settled),
        state=state,
        models={model: (int(most), int(cost or 0)) for model, most, cost in models},
    )
