"""The Ollamas among the providers, and pools of them, for whoever looks after their models."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from pointsman.core.caller import DEFAULT_TAG
from pointsman.core.errors import InvalidRequest, NotFound, UpstreamConnectError
from pointsman.core.instances import Ensured
from pointsman.core.ports import Provider
from pointsman.dialects.ollama.manage import Loaded, Progress, Stored

from .discovery import CatalogKeeper
from .ollama import Ollama
from .ollama_library import Library
from .pool import Pool
from .pool.library import PooledLibrary


class OllamaServers:
    """Implements `surfaces.ollama.servers.Servers` over the providers that the keeper has now."""

    def __init__(self, keeper: CatalogKeeper) -> None:
        self._keeper = keeper

    def names(self) -> list[str]:
        return [provider.name for provider in self._keeper.providers if _library(provider) is not None]

    async def stored(self, provider: str) -> list[Stored]:
        return await self._named(provider).stored()

    async def loaded(self, provider: str) -> list[Loaded]:
        return await self._named(provider).loaded()

    async def pull(self, provider: str, name: str) -> AsyncGenerator[Progress, None]:
        """Relay a pull. Its end is told when the catalog has the model."""
        async with aclosing(self._named(provider).pull(name)) as lines:
            async for line in lines:
                if line.status == "success":
                    await self._keeper.refresh(provider)
                yield line

    async def ensure(self, model: str, provider: str | None = None) -> AsyncGenerator[Progress | Ensured, None]:
        """Have a model at one server of a provider: fetched, when none of them has it.

        Args:
            model: its name, or `provider:name`.
            provider: None: the one that the name says, else one that has it, else an Ollama.

        Raises:
            InvalidRequest: the provider's servers have not got it, and cannot fetch models.
            NotFound: there is no such provider, or none that could fetch a model.
            ModelNotFound, UpstreamError: as `pull`.
        """
        provider, name = self._which(model, provider)
        library = next((_library(one) for one in self._keeper.providers if one.name == provider), None)
        at = await library.where(name) if library is not None else None
        pulled = library is not None and at is None
        if pulled:
            async with aclosing(self.pull(provider, name)) as lines:
                async for line in lines:
                    if line.status != "success":
                        yield line
            at = await self._named(provider).where(name)
        elif library is None:
            await self._keeper.refresh(provider)
            at = self._served(provider, name)
        yield Ensured(model=f"{provider}:{name}", provider=provider, instance=at, pulled=pulled)

    def _which(self, model: str, provider: str | None) -> tuple[str, str]:
        names = {one.name for one in self._keeper.providers}
        if provider is not None and provider not in names:
            raise NotFound(f"There is no provider {provider[:100]!r}; there are {', '.join(sorted(names))}.")
        prefix, _, rest = model.partition(":")
        if rest and prefix in names and provider in (None, prefix):
            return prefix, rest
        if provider is not None:
            return provider, model
        catalog = self._keeper.catalog
        card = catalog.find(model) or catalog.find(model + DEFAULT_TAG)
        if card is not None:
            return card.provider, card.name
        ollamas = self.names()
        if not ollamas:
            raise NotFound("No Ollama is set up that could pull a model; set providers.ollama.base_url.")
        return ("ollama" if "ollama" in ollamas else ollamas[0]), model

    def _served(self, provider: str, name: str) -> str | None:
        """Where a provider that fetches nothing has a model; None: at its only server.

        Raises:
            InvalidRequest: nowhere.
        """
        why = self._keeper.away().get(provider)
        if why is not None:
            raise UpstreamConnectError(f"{provider} is away: {why}")
        pool = next((one for one in self._keeper.providers if one.name == provider and isinstance(one, Pool)), None)
        at = pool.where(name) if pool is not None else None
        if f"{provider}:{name}" not in self._keeper.catalog or (pool is not None and at is None):
            raise InvalidRequest(
                f"{provider} does not serve {name[:200]!r}, and it cannot fetch models: it serves those that it was"
                " started with. Start a server of it with that model, or name an Ollama as `provider`.",
                code="cannot_fetch",
                param="model",
            )
        return at

    def _named(self, name: str) -> Library | PooledLibrary:
        """
        Raises:
            UpstreamConnectError: it was taken out of the settings meanwhile.
        """
        found = next((_library(one) for one in self._keeper.providers if one.name == name), None)
        if found is None:
            raise UpstreamConnectError(f"There is no Ollama called {name}.")
        return found


def _library(provider: Provider) -> Library | PooledLibrary | None:
    """The models that a provider keeps; None: it is no Ollama."""
    return provider.library if isinstance(provider, Ollama | Pool) else None
