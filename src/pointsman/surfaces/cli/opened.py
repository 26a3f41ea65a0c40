"""The database, opened for one command: works whether or not a gateway runs, which sees a change within a second."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pointsman.settings import Settings
    from pointsman.stores.database import Database


@asynccontextmanager
async def opened_database(settings: Settings) -> AsyncIterator[Database]:
    """The database that the settings name; a fresh embedded one is made.

    Raises:
        StoreError: it is away, or its schema is not the one that this version knows.
    """
    app = importlib.import_module("pointsman.app.stores")  # it stands above this layer, so it is loaded as the entry is
    database: Database = app.build_database(settings)
    await database.open()
    try:
        yield database
    finally:
        await database.close()
