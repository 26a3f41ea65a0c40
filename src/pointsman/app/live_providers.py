"""Providers in force: new settings of theirs take the place of the old ones, all or none."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

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
        self._moving: dict[str, frozenset[Origin]] = {}
        """Addresses that were declared local, of providers that move to another local one."""

    def apply(self, new: Settings) -> Awaitable[None]:
        """Put the providers of `new` in force; those that have not changed are not touched, and answers go on.

        What is returned is over when the new ones answer, or are slow to tell their models: until then those before do.

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
        moved = {name for name in changed if _moved(name, before.get(name), new.providers.get(name))}
        # From here on nothing waits and nothing fails: no request sees a half.
        distrusted = self._withdraw(before, new.providers, changed, moved)
        old.clear()
        old.update(new.providers)
        self._limits.set_rules(provider_rules(self._settings))
        for name in changed:
            put_queue(self._queues, name, self._settings, self._keeper)
        self._keeper.uninvited = uninvited(self._settings)
        for name, provider in built.items():
            became = "taken away" if provider is None else "changed" if name in before else "added"
            log.info("the provider %s was %s", name, became)
        return self._keeper.change(
            [provider for provider in built.values() if provider is not None],
            moved=moved,
            gone=[name for name, provider in built.items() if provider is None],
            distrusted=distrusted,
            left=self._left,
        )

    def _withdraw(
        self,
        before: dict[str, ProviderSettings],
        now: dict[str, ProviderSettings],
        changed: list[str],
        moved: set[str],
    ) -> set[str]:
        """Let nothing private go where it may not any more; returns the providers of which none is local now.

        An address that a provider only moves away from is trusted until it has moved.
        """
        trusted, withdrawn, distrusted = _local(now), set[Origin](), set[str]()
        for name in changed:
            addresses = _local({name: before[name]} if name in before else {}) | self._moving.pop(name, frozenset())
            still = _local({name: now[name]} if name in now else {})
            if name in moved and still:
                self._moving[name] = addresses
            elif addresses:
                withdrawn |= addresses - trusted
                if not still and (name in now or not addresses <= trusted):
                    distrusted.add(name)
        self._outbound.remote = (self._outbound.remote | withdrawn) - trusted
        return distrusted

    def _left(self, name: str) -> None:
        """A provider has moved."""
        self._outbound.remote |= self._moving.pop(name, frozenset()) - _local(self._settings.providers)


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
