"""A database that is away on demand."""

from __future__ import annotations

from pointsman.core.errors import StoreError
from pointsman.stores.database import Database


class AwayDatabase:
    """The inner one while `away` is false; then every question is refused as by a server that is gone."""

    def __init__(self, inner: Database) -> None:
        self._inner = inner
        self.away = False

    def __getattr__(self, name):
        if self.away and name in ("fetch", "execute", "transaction"):
            return self._refuse
        return getattr(self._inner, name)

    async def _refuse(self, *values):
        raise StoreError("The database is away.", code="store_unavailable")
