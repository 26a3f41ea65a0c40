"""One request, start to end. Read `Pipeline.run`: it is the product in one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from typing import Protocol

import msgspec

from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog
from pointsman.core.decision import Decision
from pointsman.core.errors import ModelNotFound, NoCapableModel, Overloaded, PointsmanError, PrivacyWall
from pointsman.core.events import Event
from pointsman.core.mask import Mask
from pointsman.core.ports import CatalogSource, Clock
from pointsman.core.request import ChatRequest, Priority, PrivacyLevel
from pointsman.core.signals import Signals
from pointsman.core.trail import Trail

from .execute import Execute
from .record import Record
from .shape import Defaults

LARGE = 512 * 1024
"""Bytes of a body from which on it is understood in a thread. Reading takes some 10 ms a megabyte, most of it without
the interpreter's lock: on the loop nobody else would be answered meanwhile."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a caller asked of the router outside the body."""

    privacy_level: PrivacyLevel | None = None
    priority: Priority | None = None


class Understands(Protocol):
    def __call__(
        self, request: ChatRequest, *, privacy_level: PrivacyLevel | None = None, priority: Priority | None = None
    ) -> Signals: ...


class Redacts(Protocol):
    def __call__(self, request: ChatRequest, signals: Signals) -> tuple[Signals, Mask | None]:
        """The signals as they hold once private values are replaced for remote models, and the copy."""


class Decides(Protocol):
    def __call__(
        self,
        requested_model: str,
        signals: Signals,
        *,
        catalog: Catalog,
        unhealthy: Mapping[str, str],
        key_id: str | None,
        now: float,
        stream: bool,
        caller: Caller | None = None,
    ) -> Decision: ...


class Answer:
    """An answer under way: its first event has come, so a model has taken the request."""

    def __init__(
        self, decision: Decision, trail: Trail, first: Event | None, rest: AsyncGenerator[Event, None]
    ) -> None:
        self.decision = decision
        self._trail = trail
        self._first = first
        self._rest = rest

    @property
    def placeholders(self) -> int:
        """How many private values were replaced in what the answering model got; 0 for a local one."""
        cards = self._trail.cards
        return self.decision.signals.privacy.placeholders if cards and not cards[-1].local else 0

    @property
    def model(self) -> str:
        """The model that answers: the decision's, unless a fallback stepped in."""
        return self._trail.model or self.decision.model

    async def events(self) -> AsyncGenerator[Event, None]:
        """Every event, once. Close it (`contextlib.aclosing`) to cancel the upstream call."""
        try:
            if self._first is not None:
                yield self._first
            async for event in self._rest:
                yield event
        finally:
            await self._rest.aclose()


class Pipeline:
    """The stages, joined."""

    def __init__(
        self,
        *,
        understand: Understands,
        decide: Decides,
        shape: Defaults,
        execute: Execute,
        record: Record,
        models: CatalogSource,
        unhealthy: Callable[[], Mapping[str, str]],
        clock: Clock,
        holds_private: Callable[[str], bool] = lambda text: False,
        coming: Callable[[str], str | None] = lambda requested_model: None,
        redact: Redacts | None = None,
    ) -> None:
        """
        Args:
            redact: makes the copies of private requests that remote models may get; None: they stay local.
            coming: why a model that a requested name may mean is not there yet, or None when none is on its way.
            holds_private: whether a model's name that nobody knows is a key or the like, and must not be logged.
        """
        self._understand = understand
        self._decide = decide
        self._shape = shape
        self._execute = execute
        self._record = record
        self._models = models
        self._unhealthy = unhealthy
        self._coming = coming
        self._clock = clock
        self._redact = redact
        self._holds_private = holds_private
        self._large = asyncio.Lock()  # more at once would only take the processor from one another

    async def run(self, request: ChatRequest, caller: Caller, wishes: Wishes) -> Answer:
        """Understand, decide, shape, execute and record one admitted request.

        Raises:
            PointsmanError: typed, with `decision_id` naming the log's entry.
        """
        signals = await self.understand(request, caller, wishes)
        mask = None
        if self._redact is not None and signals.privacy.local_only:
            signals, mask = await self.redact(request, signals)
        decision = self.decide(request, signals, caller)
        self._record.decided(decision, request)
        shaped = self._shape(request)
        if mask is not None:
            mask = mask.with_request(self._shape(mask.request))
        trail = Trail(self._clock)
        attempts = self._execute(
            decision, shaped, catalog=self._models.catalog, trail=trail, tier=caller.scopes.tier, mask=mask
        )
        events = self._record.watch(decision, trail, attempts)
        return Answer(decision, trail, await anext(events, None), events)

    async def understand(self, request: ChatRequest, caller: Caller, wishes: Wishes) -> Signals:
        understand = partial(self._understand, request, privacy_level=wishes.privacy_level, priority=wishes.priority)
        try:
            if request.size < LARGE:
                return understand()
            async with self._large:
                return await asyncio.to_thread(understand)
        except PointsmanError as error:
            self.refused(error, caller, request)
            raise

    async def redact(self, request: ChatRequest, signals: Signals) -> tuple[Signals, Mask | None]:
        assert self._redact is not None
        if request.size < LARGE:
            return self._redact(request, signals)
        async with self._large:
            return await asyncio.to_thread(self._redact, request, signals)

    def decide(self, request: ChatRequest, signals: Signals, caller: Caller) -> Decision:
        try:
            return self._choose(request, signals, caller)
        except PointsmanError as error:
            self.refused(error, caller, request, signals)
            raise

    def preview(self, request: ChatRequest, caller: Caller, wishes: Wishes) -> Decision:
        """The decision that `run` would take now; nothing is called and nothing is logged."""
        signals = self._understand(request, privacy_level=wishes.privacy_level, priority=wishes.priority)
        if self._redact is not None and signals.privacy.local_only:
            signals, _ = self._redact(request, signals)
        return self._choose(request, signals, caller)

    def refused(
        self, error: PointsmanError, caller: Caller, request: ChatRequest | None, signals: Signals | None = None
    ) -> None:
        """Log a request that ends here."""
        model = request.model if request is not None else ""
        named = not self._holds_private(model[:1000])
        self._record.refused(
            error,
            caller=caller,
            model=model if named else "",
            reason=error.message if named else (type(error).__doc__ or "").strip().splitlines()[0],
            signals=signals,
            stream=request is not None and request.stream,
        )

    def _choose(self, request: ChatRequest, signals: Signals, caller: Caller) -> Decision:
        try:
            return self._decide(
                request.model,
                signals,
                catalog=self._models.catalog,
                unhealthy=self._unhealthy(),
                key_id=caller.key_id,
                now=self._clock.now(),
                stream=request.stream,
                caller=caller,
            )
        except (ModelNotFound, NoCapableModel, PrivacyWall):
            soon = self._coming(request.model)
            if soon is None:
                raise
            raise Overloaded(soon, code="model_loading") from None
