"""What the endpoints that look after Ollama's models need of the Ollamas behind the gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from pointsman.core.instances import Ensured
from pointsman.dialects.ollama.manage import Loaded, Progress, Stored


class Servers(Protocol):
    """The Ollamas that are set up, single ones and pools, by the names of their providers."""

    def names(self) -> Sequence[str]: ...

    async def stored(self, provider: str) -> list[Stored]:
        """The models that it keeps. Raises UpstreamError."""

    async def loaded(self, provider: str) -> list[Loaded]:
        """The models that are in memory now. Raises UpstreamError."""

    def pull(self, provider: str, name: str) -> AsyncGenerator[Progress, None]:
        """Have it fetch a model; told when the model is in the catalog. Closing the generator ends the pull.

        Raises ModelNotFound, UpstreamError.
        """

    def ensure(self, model: str, provider: str | None = None) -> AsyncGenerator[Progress | Ensured, None]:
        """Have a model at some server of a provider, fetched where it is missing everywhere; `Ensured` comes last.

        Raises InvalidRequest (the provider's servers cannot fetch it), NotFound, ModelNotFound, UpstreamError.
        """
