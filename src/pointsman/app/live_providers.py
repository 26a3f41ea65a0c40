"""Providers in force: new settings of theirs take the place of the old ones, all or none."""

from __future__ import annotations

import logging

import msgspec

from pointsman.core.errors import SettingsError
from pointsman.core.ports import Provider
from pointsman.pipeline.admit.provider_limits import ProviderLimits
from pointsman.pipeline.execute.queues import EngineQueues
from pointsman.providers.cards import presets
from pointsman.providers.discovery import CatalogKeeper
from pointsman.providers.endpoint import origin_of
from pointsman.settings import ProviderSettings, Settings
from pointsman.transport.http import Origin, Outbound

from .credentials import LiveCredentials
from .limits import provider_rules
from .providers import build_provider, provider_names, uninvited
from .queues import put_queue

log = logging.getLogger(__name__)


class LiveProviders:
    """Keeps the catalog's providers at their settings.

    Args:
        settings: those in force, whose `providers` change in place: whoever holds them sees the new ones.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        outbound: Outbound,
        keeper: CatalogKeeper,
        credentials: LiveCredentials,
        limits: ProviderLimits,
        queues: EngineQueues,
    ) -> None:
        self._settings = settings
        self._outbound = outbound
        self._keeper = keeper
        self._credentials = credentials
        self._limits = limits
        self._queues = queues

    def apply(self, new: Settings) -> None:
        """Put the providers of `new` in force; those that have not changed are not touched, and answers go on.

        Raises:
            SettingsError: one of them cannot be used; nothing was changed.
        """
        old, stored = self._settings.providers, self._credentials.known
        wanted = msgspec.structs.replace(self._settings, providers=new.providers)
        changed = [name for name in dict.fromkeys([*old, *new.providers]) if old.get(name) != new.providers.get(name)]
        names = provider_names(wanted, stored)
        built: dict[str, Provider | None] = {
            name: build_provider(name, wanted, self._outbound, stored.get(name)) if name in names else None
            for name in changed
        }
        before = dict(old)
        distrusted = _local(before) - _local(new.providers)
        # From here on nothing waits and nothing fails: no request sees a half.
        self._outbound.remote = (self._outbound.remote | distrusted) - _local(new.providers)
        old.clear()
        old.update(new.providers)
        self._limits.set_rules(provider_rules(self._settings))
        for name in changed:
            put_queue(self._queues, name, self._settings, self._keeper)
        self._keeper.uninvited = uninvited(self._settings)
        for name, provider in built.items():
            if provider is None:
                self._keeper.drop(name)
                log.info("the provider %s was taken away", name)
            else:
                self._keeper.put(provider, elsewhere=_moved(name, before.get(name), new.providers.get(name)))
                log.info("the provider %s was %s", name, "changed" if name in before else "added")


def _moved(name: str, before: ProviderSettings | None, now: ProviderSettings | None) -> bool:
    """Whether what was known of a provider's models does not hold any more."""
    before, now = before or ProviderSettings(), now or ProviderSettings()
    was, is_ = (one.addresses.keys() or {one.base_url} for one in (before, now))
    return not was & is_ or (before.local, before.speaks, before.models) != (now.local, now.speaks, now.models)


def _local(providers: dict[str, ProviderSettings]) -> frozenset[Origin]:
    """The addresses that are declared local."""
    found = set()
    for name, own in providers.items():
        preset = presets().get(name)
        base_url = own.base_url or (preset.base_url if preset is not None else None)
        addresses = own.addresses.keys() or ({base_url} if base_url is not None else ())
        for address in addresses if own.enabled and own.local else ():
            try:
                found.add(origin_of(name, address))
            except SettingsError:  # it was never built
                continue
    return frozenset(found)
