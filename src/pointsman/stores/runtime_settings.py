"""Settings that were changed while gateways run, shared by all that use the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from pointsman.core.ports import Clock

from .database import Database, Statement
from .watch import bump

REVISION = "runtime-settings"


class RuntimeSetting(msgspec.Struct, frozen=True, kw_only=True):
    """One change that holds."""

    name: str
    """Dotted, as `routing.priority`."""
    value: Any
    changed_at: float
    changed_by: str | None


class RuntimeSettingsStore:
    """Raises StoreError when the database is away."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def all(self) -> list[RuntimeSetting]:
        """By name."""
        rows = await self._database.fetch(
            "SELECT name, value, changed_at, changed_by FROM runtime_settings ORDER BY name"
        )
        return [
            RuntimeSetting(name=row[0], value=msgspec.json.decode(row[1]), changed_at=row[2], changed_by=row[3])
            for row in rows
        ]

    async def put(self, changes: Mapping[str, Any], *, by: str | None) -> None:
        """Keep all changes or none; every gateway takes them up within a second."""
        now = self._clock.now()
        await self._database.transaction(
            [
                *(
                    Statement(
                        "INSERT INTO runtime_settings (name, value, changed_at, changed_by) VALUES ($1, $2, $3, $4)"
                        " ON CONFLICT (name) DO UPDATE SET value = $2, changed_at = $3, changed_by = $4",
                        (name, msgspec.json.encode(value).decode(), now, by),
                    )
                    for name, value in changes.items()
                ),
                bump(REVISION),
            ]
        )

    async def remove(self, names: Collection[str]) -> None:
        """Forget changes, so that the settings file holds again."""
        await self._database.transaction(
            [*(Statement("DELETE FROM runtime_settings WHERE name = $1", (name,)) for name in names), bump(REVISION)]
        )
