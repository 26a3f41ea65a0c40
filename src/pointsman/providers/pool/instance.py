"""One server of a pool: what is known of it, and how it changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping

from pointsman.core.caller import DEFAULT_TAG
from pointsman.core.catalog import ModelCard
from pointsman.core.errors import (
    OutOfFiles,
    PointsmanError,
    UpstreamBroken,
    UpstreamConnectError,
    UpstreamContextTooLong,
    UpstreamError,
    UpstreamLacks,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.core.instances import InstanceStanding
from pointsman.core.ports import ChatCall, Provider
from pointsman.providers.ollama_library import Library

from .look import Look

PATIENCE = 5.0
"""Seconds that a look may take."""
SHUNNED_SECONDS = 15.0
"""How long a server that answered with an error of its own is asked last: fast failures look like an idle server."""
REFUSED_SECONDS = 2.0
"""The same for one that is full and does not say for how long, or that broke off: the next look tells more."""

log = logging.getLogger(__name__)


class Instance:
    """A server, in the words of the provider that asks it.

    Args:
        provider: asks this server alone.
        url: as it may be shown.
        slots: how many answers it gives at once.
        counted: whether somebody said so: while another server has a slot free, it is not asked for more.
        look: asks it how it fares; None: it is not asked, and taken to be up.
        library: its models, where it is an Ollama.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        url: str,
        slots: int = 1,
        counted: bool = False,
        look: Callable[[], Awaitable[Look]] | None,
        library: Library | None = None,
    ) -> None:
        self.provider = provider
        self.url = url
        self.slots = slots
        self.counted = counted
        self.library = library
        self.up = True
        self.reason = ""
        self.looked = False
        """Whether anything is known of it."""
        self.cards: Mapping[str, ModelCard] = {}
        """Name → card, as this server describes it."""
        self.in_flight = 0
        self.others = 0
        self.shunned_until = 0.0
        self.last_picked = 0
        self._look = look
        self._stored: frozenset[str] | None = frozenset()
        self._loaded: frozenset[str] | None = None
        self._mark: Hashable = self  # like nothing that a look tells

    def has(self, name: str) -> bool:
        """Whether it is known to have a model."""
        if self._stored is None:
            return name in self.cards
        return name in self._stored or name + DEFAULT_TAG in self._stored

    def holds(self, name: str) -> bool:
        """Whether a model is in its memory."""
        return self._loaded is None or name in self._loaded or name + DEFAULT_TAG in self._loaded

    def load(self, now: float) -> float:
        """How many requests it has for each of its slots; far more while it is shunned."""
        return (self.in_flight + self.others) / self.slots + (1000.0 if now < self.shunned_until else 0.0)

    @property
    def full(self) -> bool:
        """Whether all of its slots are known to be taken."""
        return self.counted and self.in_flight + self.others >= self.slots

    async def refresh(self) -> None:
        """Ask how it fares. Never raises; a server that does not answer is down."""
        try:
            async with asyncio.timeout(PATIENCE):
                look = await self._look() if self._look is not None else None
                if look is None or look.mark != self._mark:
                    self.cards = {card.name: card for card in await self.provider.discover()}
        except TimeoutError:
            self.went_down(f"it did not answer within {PATIENCE:g} s")
            return
        except OutOfFiles:
            return  # says nothing of the server
        except PointsmanError as error:
            self.went_down(error.message)
            return
        if look is None:
            self._stored = None
        else:
            self._stored, self._loaded, self._mark = look.stored, look.loaded, look.mark
            self.others = max(0, look.busy - self.in_flight) if look.busy is not None else 0
        if not self.up:
            self.shunned_until = 0.0
            log.info("%s: %s is back", self.provider.name, self.url)
        self.up, self.reason, self.looked = True, "", True

    def went_down(self, reason: str) -> None:
        """It cannot be asked; the next look that goes well ends that."""
        if self.up:
            log.warning("%s: %s is away: %s", self.provider.name, self.url, reason)
        self.up, self.reason, self.others = False, reason, 0
        self._mark = self  # what it has may be something else when it is back

    def answered(self, name: str) -> None:
        """An answer has begun, so that the model is in memory."""
        self.shunned_until = 0.0
        if self._loaded is not None:
            self._loaded |= {name}

    def failed(self, error: UpstreamError, call: ChatCall) -> bool:
        """Take note of a call that failed; returns whether another server may be asked instead within the attempt: this
        one did nothing for it. One whose connection broke may have, or may have died of the request as others would."""
        if isinstance(error, OutOfFiles):
            return False
        name = call.card.name
        if isinstance(error, UpstreamConnectError) or (isinstance(error, UpstreamTimeout) and error.phase == "connect"):
            self.went_down(error.message)
            return True
        if isinstance(error, UpstreamLacks | UpstreamContextTooLong):
            return False  # of the request, not of the server
        if isinstance(error, UpstreamStatus) and call.credential is not None:
            return False  # of the caller's key
        now = time.monotonic()
        if isinstance(error, UpstreamBroken):
            self.shunned_until = now + REFUSED_SECONDS
            return False
        if isinstance(error, UpstreamStatus):
            if error.upstream_status == 404:
                if self._stored is not None:
                    self._stored -= {name, name + DEFAULT_TAG}
                return True
            if error.upstream_status in (429, 503):
                self.shunned_until = now + min(error.retry_after or REFUSED_SECONDS, SHUNNED_SECONDS)
                return True
        if not isinstance(error, UpstreamStatus) or error.upstream_status >= 500:
            self.shunned_until = now + SHUNNED_SECONDS
        return False

    def standing(self) -> InstanceStanding:
        known = [name for name in self.cards if self.has(name)]
        return InstanceStanding(
            url=self.url,
            up=self.up,
            reason=self.reason,
            models=len(known),
            loaded=tuple(sorted(self._loaded)) if self._loaded is not None and self.up else (),
            in_flight=self.in_flight,
            others=self.others,
            slots=self.slots,
        )
