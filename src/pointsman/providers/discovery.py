"""The catalog, kept: every provider is asked for its models at the start and again and again."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress

import msgspec

from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.errors import PointsmanError, UpstreamConnectError, UpstreamTimeout
from pointsman.core.instances import InstanceStanding, Pooled
from pointsman.core.ports import Health, Provider

from .handover import Handover, Told

CALM_SECONDS = 0.2
"""Between a call that could not reach a provider and the question whether it is there."""
RETRY_SECONDS = 2.5
"""Doubled for each question that a provider did not answer, up to the interval, before the next one."""

log = logging.getLogger(__name__)


class CatalogKeeper:
    """Implements `core.ports.CatalogSource` over several providers.

    A provider that is away keeps the models it had; they are told as unhealthy until it is back.

    Args:
        providers: in the order in which the catalog lists their models; names are unique.
        aliases: the owner's names for models.
        uninvited: names of providers that nobody asked for, such as an Ollama on its usual port: they are welcome, and
            their absence is no news.
        interval: seconds between two questions to a provider, give or take a tenth.
        start_timeout: how long `start` and `change` wait. A slower provider's models join the catalog when they come.
        ask_timeout: seconds after which a provider that does not answer counts as away.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        aliases: Mapping[str, str] | None = None,
        uninvited: Collection[str] = (),
        interval: float = 60.0,
        start_timeout: float = 2.0,
        ask_timeout: float = 10.0,
    ) -> None:
        self._providers = {provider.name: provider for provider in providers}
        if len(self._providers) != len(providers):
            raise ValueError("two providers have the same name")
        self._aliases = dict(aliases or {})
        self.uninvited = frozenset(uninvited)
        self._interval = interval
        self._start_timeout = start_timeout
        self._ask_timeout = ask_timeout
        self._cards: dict[str, tuple[ModelCard, ...]] = dict.fromkeys(self._providers, ())
        self._away: dict[str, str] = dict.fromkeys(self._providers, "It has not been asked yet.")
        self._unhealthy: dict[str, str] = {}
        self._lacking: dict[str, Mapping[str, str]] = {}
        """Provider of several servers → name of a model → why none of those that have it can be asked."""
        self._hurry = {name: asyncio.Event() for name in self._providers}
        self._catalog = Catalog((), self._aliases)
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._handover = Handover(ask=self._told, takes_over=self._takes_over, drop=self.drop, patience=start_timeout)
        self.on_replaced: Callable[[str], None] = lambda name: None
        """Told the name of a provider that another one has taken the place of, or that is gone."""
        self.on_back: Callable[[str], None] = lambda name: None
        """Told the name of a provider that answers again."""
        self.on_told: Callable[[str], None] = lambda name: None
        """Told the name of a provider that was asked how it fares, when what it said is taken up."""

    @property
    def catalog(self) -> Catalog:
        """Every model that is known now, those of providers that are away too."""
        return self._catalog

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Every provider that there is now."""
        return tuple(self._providers.values())

    def unhealthy(self) -> Mapping[str, str]:
        """Model id → why its provider cannot be asked now."""
        return self._unhealthy

    def away(self) -> Mapping[str, str]:
        """Provider name → why it cannot be asked now."""
        return self._away

    def instances(self) -> Mapping[str, Sequence[InstanceStanding]]:
        """Provider of several servers → how each of them fares, as last seen."""
        return {name: one.standing() for name, one in self._providers.items() if isinstance(one, Pooled)}

    def provider_for(self, card: ModelCard) -> Provider:
        """The provider of a card of this catalog.

        Raises:
            UpstreamConnectError: there is no such provider.
        """
        provider = self._providers.get(card.provider)
        if provider is None:
            raise UpstreamConnectError(f"{card.id} belongs to the provider {card.provider}, which is not set up.")
        return provider

    async def start(self) -> None:
        """Ask every provider, all at once, and go on asking in the background until `close`."""
        firsts = [self._begin(name) for name in self._providers]
        if firsts:
            await asyncio.wait(firsts, timeout=self._start_timeout)

    def is_local(self, card: ModelCard) -> bool:
        """Whether a model is local as far as is known now: what a decision saw may be out of date when it is sent."""
        now = self._catalog.get(card.id)
        return card.local and now is not None and now.local

    def put(self, provider: Provider) -> None:
        """Take a provider in, or put it in the place of the one with its name: calls from now on go to it.

        Its models are asked for at once; until they are here those of the one before stay. Only after `start`.
        """
        name = provider.name
        if self._handover.comes(name):
            self._handover.begin([provider])
        elif name in self._keeping:
            self._providers[name] = provider
            self._hurry[name].set()
            self.on_replaced(name)
        else:
            self._add(provider)

    def change(
        self,
        providers: Iterable[Provider],
        *,
        moved: Collection[str] = (),
        gone: Collection[str] = (),
        distrusted: Collection[str] = (),
        left: Callable[[str], None] = lambda name: None,
    ) -> Awaitable[None]:
        """Take providers in, as `put` does, and let others go, so that no request finds a model missing meanwhile.

        What is awaited with the result: all of it has happened, but for providers that take longer than
        `start_timeout` to tell their models. Only after `start`.

        Args:
            moved: names of those of which nothing holds that was known of the one before. The one before goes on
                answering with its models until the new one has told its own, or could not.
            gone: names of those to be dropped, once everybody who is new has told its models, or `start_timeout` is
                over.
            distrusted: names of those that are not local any more, at once, for as long as they still answer.
            left: told the name of each moved one when nothing is sent to where it was any more.
        """
        coming, firsts = [], []
        for provider in providers:
            name = provider.name
            self._handover.stays(name)
            if name not in self._keeping:
                firsts.append(self._add(provider))
            elif name in moved or self._handover.comes(name):
                coming.append(provider)
            else:
                self.put(provider)
        for name in distrusted:
            cards = self._cards.get(name, ())
            self._cards[name] = tuple(msgspec.structs.replace(card, local=False) for card in cards)
        if distrusted:
            self._rebuild()
        return self._handover.begin(coming, firsts, gone, left)

    def drop(self, name: str) -> None:
        """Forget a provider and its models; running answers go on."""
        self._handover.forget(name)
        keeping = self._keeping.pop(name, None)
        if keeping is not None:
            keeping.cancel()
        for known in (self._providers, self._cards, self._away, self._lacking, self._hurry):
            known.pop(name, None)
        self._rebuild()
        self.on_replaced(name)

    def rename(self, aliases: Mapping[str, str]) -> None:
        """Take up the owner's names for models anew."""
        self._aliases = dict(aliases)
        self._rebuild()

    async def refresh(self, *names: str) -> None:
        """Ask providers, or every one, for their models now. Never raises for one that is away; `away` tells of it."""
        await asyncio.gather(*map(self._ask, names or self._providers))

    async def health(self) -> dict[str, Health]:
        """How each provider fares, asked now; one that does not answer in time is not well."""
        asked = dict(self._providers)
        reports = await asyncio.gather(*map(self._health, asked.values()))
        return {
            name: report for name, report in zip(asked, reports, strict=True) if report.ok or name not in self.uninvited
        }

    def suspect(self, card: ModelCard) -> None:
        """A call could not reach this model's provider: ask it now, so that decisions know it before the next turn."""
        hurry = self._hurry.get(card.provider)
        if hurry is not None and card.provider not in self._away:
            hurry.set()

    async def close(self) -> None:
        """Stop asking. The providers themselves are closed by whoever made them."""
        keeping, self._keeping = [*self._keeping.values(), *self._handover.tasks], {}
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)

    async def _health(self, provider: Provider) -> Health:
        try:
            async with asyncio.timeout(self._ask_timeout):
                return await provider.health()
        except TimeoutError:
            return Health(ok=False, detail=f"It did not answer within {self._ask_timeout:g} s.")

    def _begin(self, name: str) -> asyncio.Task[None]:
        """Ask a provider, and go on asking it; returns the first question."""
        first = asyncio.create_task(self._ask(name))
        self._keeping[name] = asyncio.create_task(self._keep(name, first), name=f"models of {name}")
        return first

    def _add(self, provider: Provider) -> asyncio.Task[None]:
        name = provider.name
        self._providers[name] = provider
        self._cards[name] = ()
        self._away[name] = "It has not been asked yet."
        self._hurry[name] = asyncio.Event()
        return self._begin(name)

    def _takes_over(self, provider: Provider, told: Told) -> None:
        """A provider takes the place of the one with its name, and nothing holds that was known of that one."""
        name = provider.name
        self._providers[name] = provider
        self._cards[name] = ()
        self._away[name] = "It has not been asked yet."
        self.on_replaced(name)
        self._hears(provider, told)
        if told.cards is None:
            self._hurry[name].set()

    async def _ask(self, name: str) -> None:
        asked = self._providers.get(name)
        if asked is None or self._handover.leaves(name):
            return
        told = await self._told(asked)
        if self._providers.get(name) is asked and not self._handover.leaves(name):
            self._hears(asked, told)

    async def _told(self, provider: Provider) -> Told:
        try:
            async with asyncio.timeout(self._ask_timeout):
                return Told(await provider.discover())
        except TimeoutError:
            return Told(None, UpstreamTimeout("total", self._ask_timeout).message)
        except PointsmanError as error:
            return Told(None, error.message)
        except Exception:  # a provider's mistake must not end the keeping of the others
            log.exception("%s could not be asked for its models", provider.name)
            return Told(None, "Asking it for its models failed; the log has the details.")

    def _hears(self, provider: Provider, told: Told) -> None:
        """Take up what a provider has told of its models."""
        name, cards = provider.name, told.cards
        before = self._cards[name], self._away.get(name), self._lacking.get(name)
        if isinstance(provider, Pooled):
            self._lacking[name] = provider.unavailable()
        else:
            self._lacking.pop(name, None)
        if cards is None:
            self._went_away(name, told.reason)
        else:
            if self._away.pop(name, None) is not None:
                level = logging.INFO if cards else logging.DEBUG  # the embedded models join a moment later
                log.log(level, "%s offers %d model%s", name, len(cards), "" if len(cards) == 1 else "s")
                self.on_back(name)
            self._cards[name] = tuple(cards)
        if before != (self._cards[name], self._away.get(name), self._lacking.get(name)):
            self._rebuild()
        self.on_told(name)

    async def _keep(self, name: str, first: asyncio.Task[None]) -> None:
        try:
            await first
        finally:
            first.cancel()
        misses = 0
        while True:
            misses = misses + 1 if name in self._away else 0
            interval = self._pace(name)
            pause = min(RETRY_SECONDS * 2 ** min(misses, 10), interval) if misses else interval
            hurry = self._hurry[name]
            with suppress(TimeoutError):
                # Gateways that start together drift apart.
                async with asyncio.timeout(pause * (0.9 + os.urandom(1)[0] / 1280)):
                    await hurry.wait()
                    await asyncio.sleep(CALM_SECONDS)  # one question for many calls that fail at once
            hurry.clear()
            await self._ask(name)

    def _pace(self, name: str) -> float:
        provider = self._providers.get(name)
        return min(provider.look_seconds, self._interval) if isinstance(provider, Pooled) else self._interval

    def _went_away(self, name: str, reason: str) -> None:
        if self._away.get(name) != reason:
            unasked = name in self.uninvited and not self._cards[name]
            log.log(logging.DEBUG if unasked else logging.WARNING, "%s is away: %s", name, reason)
        self._away[name] = reason

    def _rebuild(self) -> None:
        absent = {name: reason for name, reason in self._away.items() if not self._cards[name]}
        self._catalog = Catalog((card for cards in self._cards.values() for card in cards), self._aliases, absent)
        self._unhealthy = {
            card.id: f"{name} is away: {self._away[name]}"
            for name, cards in self._cards.items()
            if name in self._away
            for card in cards
        } | {
            f"{name}:{model}": f"no instance of {name} that has it answers: {reason}"
            for name, models in self._lacking.items()
            if name not in self._away
            for model, reason in models.items()
        }
