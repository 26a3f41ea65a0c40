"""What the endpoints that look after Ollama's models need of the Ollamas behind the gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from pointsman.dialects.ollama.manage import Loaded, Progress, Stored


class Servers(Protocol):
    """The Ollamas that are set up, by the names of their providers."""

    def names(self) -> Sequence[str]: ...

    async def stored(self, provider: str) -> list[Stored]:
        """The models that it keeps. Raises UpstreamError."""

    async def loaded(self, provider: str) -> list[Loaded]:
        """The models that are in memory now. Raises UpstreamError."""

    def pull(self, provider: str, name: str) -> AsyncGenerator[Progress, None]:
        """Have it fetch a model; told when the model is in the catalog. Closing the generator ends the pull.

        Raises ModelNotFound, UpstreamError.
        """
