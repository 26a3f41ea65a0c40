"""The models that the Ollamas of a pool keep, together: listed once each, and fetched to one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from pointsman.core.errors import UpstreamConnectError, UpstreamError
from pointsman.dialects.ollama.manage import Loaded, Progress, Stored
from pointsman.providers.ollama_library import Library

from .instance import Instance

Entry = TypeVar("Entry", Stored, Loaded)


class PooledLibrary:
    """As `Library`, over several Ollamas.

    Args:
        instances: all of them Ollamas.
    """

    def __init__(self, name: str, instances: Sequence[Instance]) -> None:
        self._name = name
        self._instances = instances
        self._pulling: dict[str, Instance] = {}

    async def stored(self) -> list[Stored]:
        """Raises UpstreamError: none of them answers."""
        return await self._together(lambda library: library.stored())

    async def loaded(self) -> list[Loaded]:
        """Raises UpstreamError: none of them answers."""
        return await self._together(lambda library: library.loaded())

    async def where(self, name: str) -> str | None:
        """The address of one that has a model, asked now; None: none of those that answer.

        Raises:
            UpstreamError: none of them answers.
        """
        await asyncio.gather(*(instance.refresh() for instance in self._instances))
        having = [instance for instance in self._up() if instance.has(name)]
        return having[0].url if having else None

    async def pull(self, name: str) -> AsyncGenerator[Progress, None]:
        """Have one of them fetch a model: one that has it, to renew it; else the least busy.

        Raises:
            ModelNotFound, UpstreamError: as `Library.pull`; UpstreamConnectError: none of them is up.
        """
        up = self._up()
        target = self._pulling.get(name)
        if target is None or not target.up:
            having = [instance for instance in up if instance.has(name)] or up
            target = min(having, key=lambda one: (one.in_flight / one.slots, len(one.cards), one.last_picked))
        self._pulling[name] = target
        try:
            async with aclosing(_library(target).pull(name)) as lines:
                async for line in lines:
                    if line.status == "success":
                        await target.refresh()
                    yield line
        finally:
            self._pulling.pop(name, None)

    def _up(self) -> list[Instance]:
        up = [instance for instance in self._instances if instance.up]
        if not up:
            raise UpstreamConnectError(f"None of the {len(self._instances)} instances of {self._name} answers.")
        return up

    async def _together(self, ask: Callable[[Library], Awaitable[list[Entry]]]) -> list[Entry]:
        up = self._up()
        answers = await asyncio.gather(*(ask(_library(instance)) for instance in up), return_exceptions=True)
        found: dict[str, Entry] = {}
        failure: BaseException | None = None
        for answer in answers:
            if isinstance(answer, BaseException):
                if not isinstance(answer, UpstreamError):
                    raise answer
                failure = answer
            else:
                found = {**{entry.name: entry for entry in answer}, **found}
        if failure is not None and all(isinstance(answer, BaseException) for answer in answers):
            raise failure
        return list(found.values())


def _library(instance: Instance) -> Library:
    assert instance.library is not None  # it is built of Ollamas alone
    return instance.library
