"""Queues before engines, from the settings."""

from __future__ import annotations

from pointsman.core.ports import Clock
from pointsman.pipeline.admit.tiers import Tiers
from pointsman.pipeline.execute.queueing import LineRules
from pointsman.pipeline.execute.queues import WEIGHTS, EngineQueues
from pointsman.providers.discovery import CatalogKeeper
from pointsman.providers.pool import Pool
from pointsman.settings import ProviderSettings, Settings

EMBEDDED = "embedded"


def build_queues(settings: Settings, keeper: CatalogKeeper, tiers: Tiers, clock: Clock) -> EngineQueues:
    """A queue before each embedded model, and before each provider whose slots are known."""
    queues = EngineQueues(clock=clock, weight=lambda tier: WEIGHTS[tiers.of(tier)[1].priority])
    embedded = settings.embedded
    if embedded.enabled:
        seconds = settings.limits.first_byte_timeout if embedded.queue_seconds is None else embedded.queue_seconds
        queues.put_by_model(EMBEDDED, LineRules(slots=embedded.slots, queue=embedded.queue, seconds=seconds))
    keeper.on_told = queues.look_again
    for name in settings.providers:
        put_queue(queues, name, settings, keeper)
    return queues


def put_queue(queues: EngineQueues, name: str, settings: Settings, keeper: CatalogKeeper) -> None:
    """Have a provider's queue be as the settings say now."""
    own = settings.providers.get(name) or ProviderSettings()
    all_slots = own.all_slots
    if all_slots is None:
        queues.put(name, None)
        return
    seconds = settings.limits.first_byte_timeout if own.queue_seconds is None else own.queue_seconds
    rules = LineRules(slots=all_slots, queue=own.queue, seconds=seconds, batch_window=own.batch_window)

    def slots_up() -> int:
        """Those of the servers that are up."""
        pool = next((one for one in keeper.providers if one.name == name), None)
        return pool.slots if isinstance(pool, Pool) else rules.slots

    queues.put(name, rules, slots=slots_up if own.instances else None)
