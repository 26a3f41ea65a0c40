"""Providers that take the places of others: those before go on answering until the new ones know their models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.ports import Provider


class Told(msgspec.Struct, frozen=True):
    """What a provider said when it was asked for its models."""

    cards: Sequence[ModelCard] | None
    """None: it did not tell them."""
    reason: str = ""
    """Why not."""


class Handover:
    """Who comes, and who goes when they are there.

    Args:
        ask: a provider's models; raises nothing.
        takes_over: puts a provider, with what it told, in the place of the one with its name.
        drop: forgets the provider of a name.
        patience: seconds after which those who go do so, and those who come and are slow come one by one.
    """

    def __init__(
        self,
        *,
        ask: Callable[[Provider], Coroutine[Any, Any, Told]],
        takes_over: Callable[[Provider, Told], None],
        drop: Callable[[str], None],
        patience: float,
    ) -> None:
        self._ask = ask
        self._takes_over = takes_over
        self._drop = drop
        self._patience = patience
        self._coming: dict[str, Provider] = {}
        self._going: set[str] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        """Under way; whoever ends the keeping of the catalog cancels them."""

    def comes(self, name: str) -> bool:
        """Whether another provider is about to take the place of the one with this name."""
        return name in self._coming

    def leaves(self, name: str) -> bool:
        """Whether the provider of this name only stays until others are there."""
        return name in self._coming or name in self._going

    def stays(self, name: str) -> None:
        """The provider of this name does not go after all."""
        self._going.discard(name)

    def forget(self, name: str) -> None:
        """Nobody has this name any more, nor is to have it."""
        self._going.discard(name)
        self._coming.pop(name, None)

    def begin(
        self,
        coming: Sequence[Provider],
        firsts: Sequence[asyncio.Task[None]] = (),
        gone: Collection[str] = (),
        left: Callable[[str], None] = lambda name: None,
    ) -> Awaitable[None]:
        """Ask those who come for their models; in one step they take their places, and others go.

        What is returned is over when that step is done.

        Args:
            firsts: first questions to those that take nobody's place.
            gone: names of those that go.
            left: told each name whose place was taken.
        """
        for provider in coming:
            self._coming[provider.name] = provider
        for name in gone:
            self._going.add(name)
            self._coming.pop(name, None)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if coming or firsts:
            task = asyncio.create_task(self._hand_over(coming, firsts, gone, left, done), name="new providers")
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            self._let_go(gone)
            done.set_result(None)
        return done

    async def _hand_over(
        self,
        coming: Sequence[Provider],
        firsts: Sequence[asyncio.Task[None]],
        gone: Collection[str],
        left: Callable[[str], None],
        done: asyncio.Future[None],
    ) -> None:
        asked = {asyncio.create_task(self._ask(provider)): provider for provider in coming}

        def take_over(tasks: Collection[asyncio.Task[Told]]) -> None:
            for task in tasks:
                provider = asked[task]
                if self._coming.get(provider.name) is provider:  # else yet another one is to come, or none
                    del self._coming[provider.name]
                    self._takes_over(provider, task.result())
                    left(provider.name)

        try:
            await asyncio.wait([*asked, *firsts], timeout=self._patience)
            take_over([task for task in asked if task.done()])
            self._let_go(gone)
            if not done.done():  # whoever waited may have left
                done.set_result(None)
            while late := [task for task in asked if not task.done()]:
                there, _ = await asyncio.wait(late, return_when=asyncio.FIRST_COMPLETED)
                take_over(there)
        finally:
            for task in asked:
                task.cancel()
            done.cancel()

    def _let_go(self, names: Collection[str]) -> None:
        for name in self._going.intersection(names):
            self._drop(name)
