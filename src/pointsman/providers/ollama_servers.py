"""The Ollamas among the providers, for whoever looks after their models."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from pointsman.core.errors import UpstreamConnectError
from pointsman.dialects.ollama.manage import Loaded, Progress, Stored

from .discovery import CatalogKeeper
from .ollama import Ollama


class OllamaServers:
    """Implements `surfaces.ollama.servers.Servers` over the providers that the keeper has now."""

    def __init__(self, keeper: CatalogKeeper) -> None:
        self._keeper = keeper

    def names(self) -> list[str]:
        return [provider.name for provider in self._keeper.providers if isinstance(provider, Ollama)]

    async def stored(self, provider: str) -> list[Stored]:
        return await self._named(provider).library.stored()

    async def loaded(self, provider: str) -> list[Loaded]:
        return await self._named(provider).library.loaded()

    async def pull(self, provider: str, name: str) -> AsyncGenerator[Progress, None]:
        """Relay a pull. Its end is told when the catalog has the model."""
        async with aclosing(self._named(provider).library.pull(name)) as lines:
            async for line in lines:
                if line.status == "success":
                    await self._keeper.refresh(provider)
                yield line

    def _named(self, name: str) -> Ollama:
        """
        Raises:
            UpstreamConnectError: it was taken out of the settings meanwhile.
        """
        found = next((one for one in self._keeper.providers if one.name == name and isinstance(one, Ollama)), None)
        if found is None:
            raise UpstreamConnectError(f"There is no Ollama called {name}.")
        return found
