"""What one look at a server of a pool tells: which models it has and holds in memory, and how busy it is."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping

import msgspec

from pointsman.core.errors import UpstreamError, UpstreamStatus
from pointsman.core.locality import Destination
from pointsman.providers.endpoint import ASKING, Endpoint
from pointsman.providers.ollama_library import Library
from pointsman.providers.openai_compatible import OpenAICompatible

MAX_METRICS = 4 * 1024 * 1024
_BUSY = re.compile(rb"^vllm:num_requests_(?:running|waiting)(?:\{[^}\n]*\})? ([0-9.eE+]+)\s*$", re.MULTILINE)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One server, now."""

    stored: frozenset[str] | None
    """Names of the models that it has; None: it does not tell, and is taken to have what the settings name."""
    loaded: frozenset[str] | None
    """Those in memory; None: whatever it has is."""
    busy: int | None = None
    """Requests that it answers or keeps waiting, whosever they are; None: it does not tell."""
    mark: Hashable
    """Changes when its models do; they are described anew then."""


class OllamaLook:
    """Looks at an Ollama: two short lists. It does not tell how busy it is."""

    def __init__(self, library: Library) -> None:
        self._library = library

    async def __call__(self) -> Look:
        """Raises UpstreamError."""
        stored = await self._library.stored()
        try:
            loaded = frozenset(model.name for model in await self._library.loaded())
        except UpstreamStatus:  # before 0.1.38 there was no such list
            loaded = None
        return Look(
            stored=frozenset(model.name for model in stored),
            loaded=loaded,
            mark=frozenset((model.name, model.digest) for model in stored),
        )


class OpenAILook:
    """Looks at a server that speaks OpenAI's chat: its list of models, and vLLM's gauges where it has them.

    Args:
        named: whether the settings name its models, so that it need not list them.
        deployments: model name → what the server calls it.
    """

    def __init__(self, provider: OpenAICompatible, *, named: bool, deployments: Mapping[str, str]) -> None:
        self._provider = provider
        self._named = named
        self._deployments = deployments
        self._gauges = Gauges(provider.endpoint, local=provider.local)

    async def __call__(self) -> Look:
        """Raises UpstreamError."""
        try:
            listed = frozenset(await self._provider.listed())
        except UpstreamStatus as error:
            if not self._named or error.upstream_status not in (404, 405):
                raise
            return Look(stored=None, loaded=None, busy=await self._gauges.busy(), mark=None)
        ours = {name for name, deployment in self._deployments.items() if deployment in listed}
        return Look(stored=listed | ours, loaded=None, busy=await self._gauges.busy(), mark=listed)


class Gauges:
    """vLLM's `GET /metrics`. A server that has none is not asked again."""

    def __init__(self, endpoint: Endpoint, *, local: bool) -> None:
        self._endpoint = endpoint
        self._local = local
        self._there = True

    async def busy(self) -> int | None:
        """Requests that run and wait; None where it does not tell."""
        if not self._there:
            return None
        try:
            response = await self._endpoint.send(
                "GET",
                "/metrics",
                destination=Destination(f"{self._endpoint.name}:/metrics", local=self._local),
                local_only=False,
                timeouts=ASKING,
                accept=b"text/plain",
                from_root=True,
            )
            try:
                if response.status != 200:
                    self._there = response.status >= 500
                    return None
                found = _BUSY.findall(await response.read(MAX_METRICS))
            finally:
                response.close()
        except UpstreamError:
            return None
        self._there = bool(found)
        return round(sum(map(float, found))) if found else None
