"""Settings that are changed while the gateway runs: kept in the database, followed by every gateway that uses it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from pointsman.core.errors import InvalidRequest, SettingsError
from pointsman.pipeline.decide import Decide, DecideRules
from pointsman.pipeline.execute import Execute
from pointsman.pipeline.execute.breaker import CircuitBreakers
from pointsman.pipeline.shape import Defaults
from pointsman.pipeline.understand import Understand
from pointsman.providers.discovery import CatalogKeeper
from pointsman.settings import Settings
from pointsman.settings.change import CHANGEABLE, at, changed, choices, flat
from pointsman.settings.shown import flatten
from pointsman.stores.runtime_settings import REVISION, RuntimeSetting, RuntimeSettingsStore
from pointsman.stores.watch import Watcher

from .breakers import breaker_rules
from .execution import execution_rules

log = logging.getLogger(__name__)


def decide_rules(settings: Settings) -> DecideRules:
    routing = settings.routing
    return DecideRules(
        model_names=routing.model_names,
        force_provider=routing.force_provider,
        default_provider=routing.default_provider,
        fallbacks=routing.fallbacks,
        equivalents=routing.equivalents,
        named_stand_ins=routing.named_stand_ins,
        max_attempts=routing.max_attempts,
        choose_effort=routing.choose_effort,
        development=routing.development.enabled,
        complexity_threshold=routing.complexity_threshold,
        tier_models=routing.tier_models,
        embedding_model=routing.embedding_model,
        quality_floor=routing.quality_floor,
    )


class LiveSettings:
    """Implements `surfaces.services.ChangesSettings`.

    Args:
        base: what the file, the environment and the command line say.
        providers: names of those that are set up now.
    """

    def __init__(
        self, base: Settings, store: RuntimeSettingsStore, watcher: Watcher, providers: Callable[[], Collection[str]]
    ) -> None:
        self.base = base
        self.current = base
        """What holds now."""
        self._store = store
        self._watcher = watcher
        self._providers = providers
        self._changes: dict[str, RuntimeSetting] = {}
        self._turn = asyncio.Lock()

    def follow(
        self,
        *,
        understand: Understand,
        decide: Decide,
        shape: Defaults,
        execute: Execute,
        keeper: CatalogKeeper,
        breakers: CircuitBreakers,
        load_policy: Callable[[], Awaitable[None]],
    ) -> None:
        """Let the stages take up every change, at the start and whenever one is made."""

        async def reload() -> None:
            changes = {change.name: change for change in await self._store.all()}
            try:
                settings = changed(self.base, {name: change.value for name, change in changes.items()})
            except SettingsError as error:
                log.error("What was changed at run time does not fit the settings any more, which hold: %s", error)
                settings, changes = self.base, {}
            self.current, self._changes = settings, changes
            routing = settings.routing
            understand.adjust(level=settings.privacy.level, priority=routing.priority)
            shape.temperature, shape.max_tokens = routing.default_temperature, routing.default_max_tokens
            decide.rules = decide_rules(settings)
            execute.rules = execution_rules(settings, execute.rules.escalation.model)
            rules = breaker_rules(settings)
            if breakers.rules != rules:
                breakers.rules = rules
            if keeper.catalog.aliases != routing.aliases:
                keeper.rename(routing.aliases)
            await load_policy()

        self._watcher.watch(REVISION, reload)

    def shown(self) -> dict[str, Any]:
        return dict(flatten(self.current))

    def changed(self) -> dict[str, dict[str, Any]]:
        return {
            name: {"value": change.value, "changed_at": change.changed_at, "changed_by": change.changed_by}
            for name, change in self._changes.items()
        }

    def changeable(self) -> dict[str, list[str] | None]:
        return {name: choices(name) for name in CHANGEABLE}

    async def change(self, tree: Mapping[str, Any], *, by: str | None) -> list[str]:
        try:
            wanted = flat(tree)
            async with self._turn:
                held = {change.name: change.value for change in await self._store.all()}
                settings = changed(self.base, {**held, **wanted}, providers=self._providers())
                if wanted:
                    # As it was read, so that what lies in the database is what was checked.
                    await self._store.put({name: at(settings, name) for name in wanted}, by=by)
        except SettingsError as error:
            raise _refusal(error) from None
        await self._watcher.look()
        if wanted:
            log.info("changed at run time: %s", ", ".join(wanted))
        return list(wanted)

    async def undo(self, names: Collection[str] = ()) -> list[str]:
        for name in names:
            if name not in CHANGEABLE:
                raise InvalidRequest(
                    f"Invalid `field`: there is no such setting here; there are {', '.join(CHANGEABLE)}.", param="field"
                )
        async with self._turn:
            held = [change.name for change in await self._store.all()]
            undone = [name for name in held if not names or name in names]
            if undone:
                try:
                    rest = {name: change.value for name, change in self._changes.items() if name not in undone}
                    changed(self.base, rest)
                except SettingsError as error:
                    raise _refusal(error) from None
                await self._store.remove(undone)
        await self._watcher.look()
        return undone


def _refusal(error: SettingsError) -> InvalidRequest:
    """The field and the mend, without the value: it may be anything."""
    key = error.key[:200]
    return InvalidRequest(f"Invalid `{key}`: {error.mend}.", param=key)
