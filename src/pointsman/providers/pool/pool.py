"""Several servers of one kind behind one provider: each request goes to one that is up, has its model, and is least
busy. Not to be taken for `transport.pool`, which keeps connections.

The pool has no task of its own: it looks after its servers whenever it is asked for its models, every few seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from itertools import count
from typing import cast

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import UpstreamConnectError, UpstreamError, UpstreamTimeout
from pointsman.core.events import Event
from pointsman.core.instances import InstanceStanding
from pointsman.core.ports import ChatCall, Completes, Embeds, Health, Provider

from .cards import pooled_cards
from .choice import choose
from .conversations import Conversations
from .instance import Instance
from .library import PooledLibrary

LOOK_SECONDS = 3.0
STRAGGLERS = 1.0
"""Seconds that the first look waits for other servers when one has answered, so that the start does not wait for one
that is away."""

Ask = Callable[[Provider], Callable[[ChatCall], AsyncIterator[Event]]]


class Pool:
    """A provider over the providers of its servers.

    Args:
        name: the part before the colon of its models' ids; the providers of the servers have it too.
        instances: in the order in which they are told of.
        total: seconds that an attempt may take over all servers that it tries; None: as each call says.
    """

    look_seconds = LOOK_SECONDS

    def __init__(self, name: str, instances: Sequence[Instance], *, total: float | None = None) -> None:
        self.name = name
        self.instances = tuple(instances)
        self._total = total
        self._turns = count(1)
        self._conversations = Conversations()
        libraries = [instance.library for instance in self.instances]
        self.library = PooledLibrary(name, self.instances) if None not in libraries else None
        """The models that its Ollamas keep; None: they are no Ollamas."""

    async def discover(self) -> Sequence[ModelCard]:
        """Look at every server; the models that any of them has.

        Raises:
            UpstreamConnectError: none of them answers.
        """
        await self._look(hurried=not any(instance.looked for instance in self.instances))
        if not any(instance.up for instance in self.instances):
            raise UpstreamConnectError(self._none_answers())
        return pooled_cards(self.instances)

    def chat(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Answer one request; see `core.ports.Provider`. Servers that do nothing for it are passed over."""
        return self._answer(call, lambda provider: provider.chat)

    def complete(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        return self._answer(call, lambda provider: cast(Completes, provider).complete)

    def embed(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        return self._answer(call, lambda provider: cast(Embeds, provider).embed)

    async def health(self) -> Health:
        """How its servers fare, asked now."""
        await self._look()
        standing = tuple(self.standing())
        up = sum(instance.up for instance in standing)
        mend = "" if up == len(standing) else f"Start it, or take it out of providers.{self.name}.instances."
        if not up:
            mend = f"Start one, or correct providers.{self.name}.instances."
            return Health(ok=False, detail=self._none_answers(), mend=mend, instances=standing)
        return Health(ok=True, detail=f"{up} of {len(standing)} instances answer.", mend=mend, instances=standing)

    @property
    def slots(self) -> int:
        """Answers that the servers which are up give at once."""
        return sum(instance.slots for instance in self.instances if instance.up)

    def standing(self) -> Sequence[InstanceStanding]:
        return [instance.standing() for instance in self.instances]

    def unavailable(self) -> Mapping[str, str]:
        found = {}
        for name in dict.fromkeys(name for instance in self.instances for name in instance.cards):
            having = self._having(name)
            if not any(instance.up for instance in having):
                found[name] = "; ".join(f"{instance.url}: {instance.reason}" for instance in having)
        return found

    def where(self, name: str) -> str | None:
        """The address of a server that is up and has a model, as last seen."""
        return next((instance.url for instance in self.instances if instance.up and instance.has(name)), None)

    async def close(self) -> None:
        for instance in self.instances:
            await instance.provider.close()

    async def _answer(self, call: ChatCall, ask: Ask) -> AsyncGenerator[Event, None]:
        name = call.card.name
        total = min(call.timeouts.total, self._total or call.timeouts.total)
        until = time.monotonic() + total
        having = self._having(name)
        key = self._conversations.key(call) if len(having) > 1 else None
        failure: UpstreamError | None = None
        tried: list[Instance] = []
        while (instance := self._next(name, having, tried, self._conversations.last(key))) is not None:
            left = until - time.monotonic()
            if left <= 0:
                raise failure or UpstreamTimeout("total", total)
            tried.append(instance)
            instance.in_flight += 1
            answering = False
            try:
                events = ask(instance.provider)(_placed(call, instance, left))
                async with aclosing(cast("AsyncGenerator[Event, None]", events)) as events:
                    async for event in events:
                        if not answering:
                            answering = True
                            instance.answered(name)
                            self._conversations.keep(key, instance)
                            event = _noted(event, len(tried) - 1)
                        yield event
                return
            except UpstreamError as error:
                may_go_on = instance.failed(error, call)
                if answering or not may_go_on:
                    raise
                failure = error
            finally:
                instance.in_flight -= 1
        raise failure or UpstreamConnectError(self._none_answers())

    def _having(self, name: str) -> Sequence[Instance]:
        """Who has a model, up or not; everybody where nobody is known to, as before the first look."""
        return [instance for instance in self.instances if instance.has(name)] or self.instances

    def _next(
        self, name: str, having: Sequence[Instance], tried: Sequence[Instance], last: Instance | None
    ) -> Instance | None:
        """Whom to ask now. Where nobody is up, one that was away a moment ago: it may be back before the next look."""
        left = [instance for instance in having if instance not in tried]
        up = [instance for instance in left if instance.up]
        if up:
            picked = choose(up, name, now=time.monotonic(), last=last)
        elif left and not any(instance.up for instance in having) and len(tried) < 2:
            picked = min(left, key=lambda instance: instance.last_picked)
        else:
            return None
        picked.last_picked = next(self._turns)
        return picked

    async def _look(self, *, hurried: bool = False) -> None:
        """Ask every server how it fares; hurried, stragglers count as away when another has answered."""
        looks = [asyncio.create_task(instance.refresh()) for instance in self.instances]
        try:
            await asyncio.wait(looks, timeout=STRAGGLERS if hurried else None)
            if not any(instance.looked for instance in self.instances):
                await asyncio.wait(looks)
            for look, instance in zip(looks, self.instances, strict=True):
                if not look.done():
                    instance.went_down(f"it has not answered within {STRAGGLERS:g} s")
        finally:
            for look in looks:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)

    def _none_answers(self) -> str:
        told = "; ".join(f"{instance.url}: {instance.reason}" for instance in self.instances)
        return f"None of the {len(self.instances)} instances of {self.name} answers. {told}"


def _placed(call: ChatCall, instance: Instance, left: float) -> ChatCall:
    """The call as this server may have it: what passes requests on to servers elsewhere is not local, whatever the
    others of the pool are."""
    own = instance.cards.get(call.card.name)
    card = call.card
    if card.local and own is not None and not own.local:
        card = msgspec.structs.replace(card, local=False)
    timeouts = msgspec.structs.replace(call.timeouts, total=min(call.timeouts.total, left))
    return msgspec.structs.replace(call, card=card, timeouts=timeouts)


def _noted(event: Event, passed_over: int) -> Event:
    """The event, with a word for the decision where others were asked in vain; no addresses, callers read it."""
    if not passed_over or event.note is not None:
        return event
    return msgspec.structs.replace(event, note=f"pool: {passed_over + 1} instances were asked, the last one answered")
