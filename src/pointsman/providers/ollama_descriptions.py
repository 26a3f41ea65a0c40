"""What an Ollama's models are: listed, each asked for once, and described as cards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from pointsman.core.catalog import ModelCard, Prefill
from pointsman.core.errors import PrivacyWall, UpstreamError, UpstreamStatus
from pointsman.dialects.ollama.models import (
    Listed,
    Shown,
    Version,
    completed,
    runs_elsewhere,
    show_decoder,
    tags_decoder,
    version_decoder,
)

from .endpoint import MAX_MODELS, MAX_NAME, Endpoint, unreadable
from .openai_compatible import Cards
from .simulated import with_simulated_tools

SHOWS_AT_ONCE = 8
PREFILL = Prefill(fields={"think": False})
"""Its templates leave a last message of the assistant's open. What was told already is not to be thought about anew."""


class Descriptions:
    """The models of one Ollama as it describes them.

    Args:
        local: whether the owner declared the server's models local; cloud models are remote all the same.
        cards: where facts come from that the server does not tell.
        amend: what the owner says of a model in place of what the table and the server tell.
        models: names to offer without asking for the list.
        default_model: offered too when the list lacks it.
        simulate_tools: offer tool calls by prompt for models that Ollama says have none.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        local: bool,
        cards: Cards,
        amend: Callable[[ModelCard], ModelCard],
        models: Sequence[str],
        default_model: str | None,
        simulate_tools: bool,
    ) -> None:
        self.name = endpoint.name
        self.local = local
        self._endpoint = endpoint
        self._cards = cards
        self._amend = amend
        self._models = tuple(models)
        self._default_model = default_model
        self._simulate_tools = simulate_tools
        self._shown: dict[str, tuple[str | None, Shown]] = {}
        """Name → digest and description; asked for again only when the digest changes."""

    def thinks(self, name: str) -> bool:
        """Whether a model is known to think."""
        shown = self._shown.get(name)
        return shown is not None and shown[1].thinks

    async def cards(self) -> Sequence[ModelCard]:
        """The models that are there now, or those of the settings.

        Raises:
            UpstreamError: the list cannot be had.
        """
        listed = [Listed(name=name) for name in self._models] or await self._list()
        if self._default_model is not None and not any(_same(model.name, self._default_model) for model in listed):
            listed = [*listed, Listed(name=self._default_model)]
        try:
            version = await self.version()
        except UpstreamStatus:
            version = None
        gate = asyncio.Semaphore(SHOWS_AT_ONCE)
        return await asyncio.gather(*(self._card(model, version, gate) for model in listed))

    async def prove_local(self, card: ModelCard) -> None:
        """Ask what a model is before it gets a local-only request, when nothing is known of it yet.

        Raises:
            PrivacyWall: Ollama passes its requests on to servers elsewhere.
            UpstreamError: it cannot be asked.
        """
        if card.name not in self._shown and card.local:
            self._shown[card.name] = (None, await self._show(card.name))
        known = self._shown.get(card.name)
        if runs_elsewhere(card.name, known[1] if known is not None else None):
            raise PrivacyWall(
                f"This request holds content that must stay on this machine, and {self.name} passes requests for"
                f" {card.name} on to servers elsewhere. Use a model that runs here."
            )

    async def _list(self) -> list[Listed]:
        raw = await self._endpoint.ask("/api/tags", local=self.local)
        try:
            models = tags_decoder.decode(raw).models[:MAX_MODELS]
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise unreadable(self.name, "a list of models", error) from None
        return [model for model in models if 0 < len(model.name) <= MAX_NAME and model.name.isprintable()]

    async def _card(self, listed: Listed, version: Version | None, gate: asyncio.Semaphore) -> ModelCard:
        known = self._shown.get(listed.name)
        if known is None or known[0] != listed.digest or listed.digest is None:
            async with gate:
                try:
                    known = listed.digest, await self._show(listed.name)
                    self._shown[listed.name] = known
                except UpstreamError:
                    self._shown.pop(listed.name, None)
                    known = None
        shown = known[1] if known is not None else None
        elsewhere = runs_elsewhere(listed.name, listed) or runs_elsewhere(listed.name, shown)
        card = self._cards(self.name, listed.name, local=self.local and not elsewhere)
        if not elsewhere:
            # What Ollama runs itself costs nothing, declared local or not.
            card = msgspec.structs.replace(card, price_input=0, price_cached_input=0, price_output=0)
        card = self._amend(completed(card, listed, shown, version))
        card = msgspec.structs.replace(card, prefill=PREFILL)
        told = shown is not None and shown.capabilities is not None
        return with_simulated_tools(card) if told and self._simulate_tools else card

    async def _show(self, name: str) -> Shown:
        raw = await self._endpoint.ask("/api/show", local=self.local, body=msgspec.json.encode({"model": name}))
        try:
            shown: Shown = show_decoder.decode(raw)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise unreadable(self.name, f"a description of {name}", error) from None
        return shown

    async def version(self) -> Version | None:
        """Its version; None from a server that has no such thing."""
        raw = await self._endpoint.ask("/api/version", local=self.local)
        try:
            version: Version = version_decoder.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return version


def _same(listed: str, name: str) -> bool:
    return listed == name or listed == f"{name}:latest"
