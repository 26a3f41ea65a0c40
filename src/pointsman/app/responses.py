"""Earlier responses in use: found, kept, and forgotten in time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack

from pointsman.core.caller import Caller
from pointsman.core.errors import StoreError
from pointsman.core.ports import CatalogSource, Clock
from pointsman.pipeline.run import Pipeline
from pointsman.settings import Settings
from pointsman.stores.database import Database
from pointsman.stores.responses import ResponseStore
from pointsman.stores.sealed import SealedValues
from pointsman.surfaces.converse import Converse
from pointsman.surfaces.entry import HotHandler

from .ways_in import Later

log = logging.getLogger(__name__)

BETWEEN = 600.0
"""Seconds between two looks for what is over its time."""
DAY = 86_400.0


def build_responses(
    settings: Settings, database: Database, sealed: SealedValues, clock: Clock, stack: AsyncExitStack
) -> ResponseStore:
    """The store, and a task that purges it, which `stack` ends."""
    chosen = settings.responses
    store = ResponseStore(
        database,
        sealed,
        clock,
        seconds=chosen.keep_days * DAY,
        most_of_one=chosen.max_turn_bytes,
        most_of_all=chosen.max_bytes,
    )
    purging = asyncio.create_task(_purge(store), name="responses")
    stack.callback(purging.cancel)
    return store


def responses_ways(
    pipeline: Pipeline, store: ResponseStore, *, keeps: bool, clock: Clock, hosts: Callable[[str, Caller], bool]
) -> dict[tuple[str, str], HotHandler]:
    """The way in that may keep its answers.

    Args:
        keeps: whether it does.
        hosts: whether the model that a request of a caller names is at an upstream that speaks Responses.
    """

    def make() -> HotHandler:
        from pointsman.surfaces.responses.memory import Memory
        from pointsman.surfaces.responses.responses import ResponsesDialect

        return Converse(ResponsesDialect(Memory(store, keeps=keeps, clock=clock), clock, hosts=hosts), pipeline)

    return {("POST", "/v1/responses"): Later(make)}


def hosts_responses(models: CatalogSource, requested_model: str, caller: Caller) -> bool:
    """Whether a name means models of upstreams that speak Responses, of those that the caller may use."""
    catalog = models.catalog
    name = catalog.aliases.get(requested_model, requested_model)
    meant = [card for card in catalog if name in (card.id, card.name) and caller.may_use(card.id, card.name)]
    return bool(meant) and all(card.responses for card in meant)


async def _purge(store: ResponseStore) -> None:
    while True:
        await asyncio.sleep(BETWEEN)
        try:
            gone = await store.purge()
        except StoreError as error:
            log.warning("Old responses cannot be purged now. %s", error.message)
        else:
            if gone:
                log.info("%d old responses were forgotten", gone)
