"""The models that an Ollama keeps: what is there, what is in memory, and fetching one more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

import msgspec

from pointsman.core.caller import DEFAULT_TAG
from pointsman.core.errors import UpstreamClosed, UpstreamConnectError, UpstreamStatus
from pointsman.core.locality import Destination
from pointsman.core.ports import Timeouts
from pointsman.dialects.ollama.manage import (
    Loaded,
    Progress,
    PullStream,
    Stored,
    loaded_decoder,
    pull_error,
    stored_decoder,
)

from .endpoint import MAX_MODELS, Endpoint, settled, unreadable

PULLING = Timeouts(connect=5.0, first_byte=120.0, between_bytes=300.0, total=24 * 3600.0)
"""Seconds. Ollama is silent while it checks the digest of what it fetched."""

T = TypeVar("T")


class Library:
    """Calls of one Ollama about its models. None of them carries anything of a request.

    Args:
        local: whether the owner declared the server's models local.
    """

    def __init__(self, endpoint: Endpoint, *, local: bool) -> None:
        self._endpoint = endpoint
        self._local = local

    async def stored(self) -> list[Stored]:
        """Raises UpstreamError."""
        raw = await self._endpoint.ask("/api/tags", local=self._local)
        return self._read(lambda: stored_decoder.decode(raw).models, "a list of models")[:MAX_MODELS]

    async def loaded(self) -> list[Loaded]:
        """Raises UpstreamError."""
        raw = await self._endpoint.ask("/api/ps", local=self._local)
        return self._read(lambda: loaded_decoder.decode(raw).models, "a list of loaded models")[:MAX_MODELS]

    async def where(self, name: str) -> str | None:
        """The server's address where it has a model, None where it has not. Raises UpstreamError."""
        names = {model.name for model in await self.stored()}
        return self._endpoint.shown_url if names & {name, name + DEFAULT_TAG} else None

    def _read(self, read: Callable[[], T], what: str) -> T:
        try:
            return read()
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise unreadable(self._endpoint.name, what, error) from None

    async def pull(self, name: str) -> AsyncGenerator[Progress, None]:
        """Fetch a model. Closing the generator ends the pull; Ollama goes on with what is there the next time.

        Raises:
            ModelNotFound: the registry has no such model.
            UpstreamError: Ollama cannot be asked, refused, or broke off.
        """
        try:
            response = await self._endpoint.send(
                "POST",
                "/api/pull",
                destination=Destination(f"{self._endpoint.name}:/api/pull", local=self._local),
                local_only=False,
                timeouts=PULLING,
                body=msgspec.json.encode({"model": name, "stream": True}),
                accept=b"application/x-ndjson",
            )
        except (UpstreamConnectError, UpstreamClosed) as error:
            mend = f"Start that Ollama, or mend `providers.{self._endpoint.name}.base_url`."
            raise UpstreamConnectError(f"{error.message} {mend}") from None
        try:
            try:
                await self._endpoint.accepted(response)
            except UpstreamStatus as error:
                raise pull_error(f"{error.upstream_status} {error.body[:300].decode(errors='replace')}") from None
            stream = PullStream()
            async for block in response:
                for line in stream.feed(block):
                    yield line
                if stream.failure is not None:
                    raise stream.failure
                if stream.done:
                    await settled(response)
                    return
            for line in stream.end():
                yield line
            if stream.failure is not None:
                raise stream.failure
        finally:
            response.close()
