"""The policy that serves: the promoted one, or the built-in rules under the settings."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from pointsman.core.errors import PointsmanError, StoreError
from pointsman.core.ports import Clock
from pointsman.pipeline.decide import Decide, Policy, RulePolicy, load_policy
from pointsman.settings import Settings
from pointsman.stores.database import Database
from pointsman.stores.policies import REVISION, PolicyStore
from pointsman.stores.watch import Watcher

log = logging.getLogger(__name__)


def built_in(settings: Settings) -> RulePolicy:
    routing = settings.routing
    return RulePolicy(complexity_threshold=routing.complexity_threshold, default_provider=routing.default_provider)


def follow_promotions(
    settings: Callable[[], Settings], decide: Decide, database: Database, watcher: Watcher, clock: Clock
) -> Callable[[], Awaitable[None]]:
    """Let `decide` take up what is promoted, at the start and whenever it changes; returns what does so now.

    Args:
        settings: those that hold now.
    """
    store = PolicyStore(database, clock)

    async def reload() -> None:
        base = built_in(settings())
        policy: Policy = base
        try:
            promoted = await store.promoted()
            if promoted is not None:
                policy = load_policy(promoted.kind, promoted.artefact, version=promoted.version, base=base)
        except StoreError:
            raise
        except PointsmanError as error:
            log.error("The promoted policy cannot serve; %s goes on. %s", decide.policy.version, error.message)
            return
        if policy.version != decide.policy.version:
            log.info("The policy %s serves now.", policy.version)
        decide.policy = policy

    watcher.watch(REVISION, reload)
    return reload
