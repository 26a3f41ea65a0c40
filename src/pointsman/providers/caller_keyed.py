"""A provider of which the installation has no key: it answers those who bring their own, and is never asked without."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import cast

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import NoCapableModel
from pointsman.core.events import Event
from pointsman.core.ports import ChatCall, Completes, Embeds, Health, Provider


class CallerKeyed:
    """Wraps a provider that knows its models without asking for them."""

    def __init__(self, inner: Provider) -> None:
        self.name = inner.name
        self._inner = inner

    async def discover(self) -> Sequence[ModelCard]:
        return [msgspec.structs.replace(card, needs_credential=True) for card in await self._inner.discover()]

    def chat(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        return self._with_key(call, self._inner.chat)

    def complete(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        return self._with_key(call, cast(Completes, self._inner).complete)

    def embed(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        return self._with_key(call, cast(Embeds, self._inner).embed)

    async def _with_key(
        self, call: ChatCall, ask: Callable[[ChatCall], AsyncIterator[Event]]
    ) -> AsyncGenerator[Event, None]:
        """
        Raises:
            NoCapableModel: a stage asked for what the constraint on credentials excludes.
        """
        if call.credential is None:
            raise NoCapableModel(f"{call.card.id} cannot be asked without a key of the caller's.", param="model")
        async with aclosing(cast("AsyncGenerator[Event, None]", ask(call))) as events:
            async for event in events:
                yield event

    async def health(self) -> Health:
        return Health(ok=True, detail="Callers bring their own keys; it is not asked without one.")

    async def close(self) -> None:
        await self._inner.close()
