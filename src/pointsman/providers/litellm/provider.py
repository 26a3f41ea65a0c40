"""A LiteLLM proxy as an upstream: one at an address of the settings, or the one that runs beside the gateway."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import UpstreamConnectError, UpstreamError, UpstreamStatus
from pointsman.core.locality import Destination
from pointsman.core.ports import Health
from pointsman.providers.endpoint import ASKING, MAX_ANSWER, Endpoint
from pointsman.providers.openai_compatible import OpenAICompatible
from pointsman.transport.http import Outbound

from .model_info import Known, known_models

NOWHERE = "http://127.0.0.1:4000/v1"
START = "`pointsman litellm up` starts one, and so does `pointsman serve --litellm`."

Where = Callable[[], tuple[str, str] | None]
"""The base address and the key of the proxy beside the gateway now; None when none runs."""

log = logging.getLogger(__name__)


class LiteLLM(OpenAICompatible):
    """LiteLLM speaks OpenAI's API; beyond it, it tells what it knows of each model, which fills the cards.

    Models that a wildcard (`bedrock/*`) stands for can be asked for by name, and `auto` leaves them alone: the list is
    LiteLLM's own, of hundreds, whatever the account may use. Those that its configuration or ours names are candidates.

    Args:
        where: asked at each discovery, since the proxy's port and key change with each of its starts; `base_url` and
            `api_key` are then not used.
        amend: replaces what the owner's settings say of a card, and comes last.
        rest: as for `OpenAICompatible`.

    Raises:
        SettingsError: the address or a header cannot be used.
    """

    def __init__(
        self,
        name: str,
        *,
        outbound: Outbound,
        where: Where | None = None,
        base_url: str = NOWHERE,
        api_key: str | None = None,
        models: Sequence[str] = (),
        default_model: str | None = None,
        headers: Mapping[str, str] | None = None,
        amend: Callable[[ModelCard], ModelCard] = lambda card: card,
        **rest: Any,
    ) -> None:
        self._name = name
        self._outbound = outbound
        self._own_headers = {header.lower(): value for header, value in (headers or {}).items()}
        self._rest = {**rest, "models": models, "default_model": default_model, "headers": headers}
        self._where = where
        self._amend = amend
        self._named = frozenset([*models, *([default_model] if default_model else [])])
        self._move(base_url, api_key)

    def _move(self, base_url: str, key: str | None) -> None:
        """Go to another address from now on; running answers go on."""
        super().__init__(self._name, base_url=base_url, outbound=self._outbound, api_key=key, **self._rest)
        headers = {**({"authorization": f"Bearer {key}"} if key else {}), **self._own_headers}
        self._asked = Endpoint(
            self._name, base_url=base_url, outbound=self._outbound, headers=headers, secrets=tuple(headers.values())
        )
        self._place = (base_url, key)
        self._told: dict[str, Known] = {}
        self._told_of: frozenset[str] = frozenset()

    async def discover(self) -> Sequence[ModelCard]:
        """The models that it lists now, with what it knows of them.

        Raises:
            UpstreamError: the list cannot be had.
        """
        self._find()
        try:
            cards = await super().discover()
        except UpstreamStatus as error:
            if _wrong_key(error):
                raise UpstreamStatus(401, error.body) from None
            raise
        names = frozenset(card.name for card in cards)
        if names != self._told_of:
            try:
                self._told = known_models(await self._ask_for_models())
                self._told_of = names
            except (UpstreamError, msgspec.MsgspecError) as error:
                # A key that may only chat cannot ask this: the cards then say what our own tables do.
                log.info("LiteLLM does not tell what it knows of its models: %s", error)
                self._told, self._told_of = {}, names
        return [self._described(card) for card in cards if self._can_be_asked(card.name)]

    async def health(self) -> Health:
        try:
            self._find()
            await self._asked.ask("/models", local=self.local)
        except UpstreamStatus as error:
            if _wrong_key(error):
                return Health(
                    ok=False,
                    detail=f"{self._asked.shown_url} refuses the key.",
                    mend=f"Check the key in providers.{self._name}.api_key, or LITELLM_MASTER_KEY.",
                )
        except UpstreamError as error:
            if self._where is not None:
                return Health(ok=False, detail=error.message, mend=START)
        return await super().health()

    def _find(self) -> None:
        """Look where the proxy beside the gateway is now.

        Raises:
            UpstreamConnectError: none runs.
        """
        if self._where is None:
            return
        at = self._where()
        if at is None:
            raise UpstreamConnectError(f"No LiteLLM runs beside the gateway; {START}")
        if at != self._place:
            self._move(*at)

    async def _ask_for_models(self) -> bytes:
        response = await self._asked.send(
            "GET",
            "/model/info",
            destination=Destination(f"{self._name}:/model/info", local=self.local),
            local_only=False,
            timeouts=ASKING,
        )
        try:
            await self._asked.accepted(response)
            return await response.read(MAX_ANSWER)  # 7 kB a model: hundreds behind one wildcard are megabytes
        finally:
            response.close()

    def _can_be_asked(self, name: str) -> bool:
        """Whether it is a model that answers text; images, sound and rankings are left out."""
        known = self._told.get(name)
        return known is None or known.row is not None or name in self._named

    def _described(self, card: ModelCard) -> ModelCard:
        known = self._told.get(card.name)
        if known is None:
            return card
        card = known.applied(card)
        if known.wild and card.name not in self._named:
            card = msgspec.structs.replace(card, routable=False)
        return self._amend(card)


def _wrong_key(error: UpstreamStatus) -> bool:
    """Without a database LiteLLM answers a wrong key with 400 `no_db_connection`, and none with a bare 500."""
    return b"no_db_connection" in error.body
