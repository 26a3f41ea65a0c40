"""Stored credentials in use: providers are built anew when theirs changes, so that no request decrypts anything."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pointsman.core.credential import Credential
from pointsman.core.errors import SettingsError, StoreError
from pointsman.providers.discovery import CatalogKeeper
from pointsman.settings import Settings
from pointsman.stores.credentials import Credentials
from pointsman.transport.http import Outbound

from .providers import build_provider

log = logging.getLogger(__name__)


class LiveCredentials:
    """Keeps a catalog's providers at the stored credentials."""

    def __init__(self, settings: Settings, outbound: Outbound, credentials: Credentials) -> None:
        self._settings = settings
        self._outbound = outbound
        self._credentials = credentials
        self._known: dict[str, Credential] = {}

    @property
    def known(self) -> Mapping[str, Credential]:
        """What was stored when it was last read, by provider."""
        return self._known

    async def load(self) -> Mapping[str, Credential]:
        """What is stored now, by provider; those that cannot be decrypted are told in the log, and hold as last known.

        Raises:
            StoreError: the database is away.
        """
        found: dict[str, Credential] = {}
        for stored in await self._credentials.all():
            if stored.credential is not None:
                found[stored.provider] = stored.credential
            else:
                log.error("The credential of %s cannot be used: %s", stored.provider, stored.problem)
                if stored.provider in self._known:
                    found[stored.provider] = self._known[stored.provider]
        self._known = found
        return found

    async def load_if_possible(self) -> Mapping[str, Credential]:
        """As `load`; nothing, with a line in the log, while the database is away."""
        try:
            return await self.load()
        except StoreError as error:
            log.warning("Stored credentials cannot be read now. %s", error.message)
            return {}

    async def apply(self, keeper: CatalogKeeper) -> None:
        """Build anew the providers whose credential has changed since the last load. Raises StoreError."""
        before = self._known
        now = await self.load()
        for name in before.keys() | now.keys():
            own = self._settings.providers.get(name)
            if before.get(name) == now.get(name) or (own is not None and own.api_key is not None):
                continue
            try:
                provider = build_provider(name, self._settings, self._outbound, now.get(name))
            except SettingsError as error:
                log.error("%s cannot be used with its stored credential: %s", name, error.message)
                provider = None
            log.info("the credential of %s was %s", name, "changed" if name in now else "removed")
            if provider is None:
                keeper.drop(name)
            else:
                keeper.put(provider)
