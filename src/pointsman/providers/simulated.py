"""A provider's chat with tool calls made up for, where a model has none of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, cast

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.events import Event
from pointsman.core.ports import ChatCall, Health, Provider

from .custom_tools import with_functions

Chat = Callable[[ChatCall], AsyncGenerator[Event, None]]


def with_simulated_tools(card: ModelCard) -> ModelCard:
    """A card of a model that knows no tools, as one that is taught them in the prompt."""
    if "chat" not in card.capabilities or "tools" in card.capabilities:
        return card
    return msgspec.structs.replace(
        card, capabilities=card.capabilities | {"tools"}, simulated=card.simulated | {"tools"}
    )


def simulating(chat: Chat, call: ChatCall) -> AsyncGenerator[Event, None]:
    """The provider's own chat, with the tools in the prompt where the card says so."""
    if "tools" not in call.card.simulated:
        return chat(call)
    return _simulated(chat, call)


async def _simulated(chat: Chat, call: ChatCall) -> AsyncGenerator[Event, None]:
    from pointsman.dialects.prompted.simulated import simulate

    from .simulated_answer import SimulatedAnswer

    simulation = simulate(call.request)
    if simulation is not None:
        call = msgspec.structs.replace(call, request=simulation.request)
    answer = SimulatedAnswer(simulation) if simulation is not None and simulation.plan is not None else None
    async with aclosing(chat(call)) as events:
        async for event in events:
            told = event if answer is None else answer.told(event)
            if told is not None:
                yield told


class SimulatedTools:
    """A provider all of whose chat models that know no tools are taught them in the prompt."""

    def __init__(self, inner: Provider) -> None:
        self._inner = inner
        self.name = inner.name

    def __getattr__(self, name: str) -> Any:
        """What else the provider can do: completions, embeddings."""
        return getattr(self._inner, name)

    async def discover(self) -> Sequence[ModelCard]:
        return [with_simulated_tools(card) for card in await self._inner.discover()]

    def chat(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        return with_functions(partial(simulating, cast(Chat, self._inner.chat)), call)

    async def health(self) -> Health:
        return await self._inner.health()

    async def close(self) -> None:
        await self._inner.close()
