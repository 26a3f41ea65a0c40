"""One request, start to end. Read `Pipeline.run`: it is the product in one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Protocol

import msgspec

from pointsman.core.budget import AMPLE, Means, Purse, Refused
from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog
from pointsman.core.decision import Decision
from pointsman.core.errors import (
    BudgetExceeded,
    ModelNotFound,
    NoCapableModel,
    Overloaded,
    PointsmanError,
    PrivacyWall,
)
from pointsman.core.events import Event
from pointsman.core.mask import Mask
from pointsman.core.ports import CatalogSource, Clock
from pointsman.core.request import ChatRequest, Priority, PrivacyLevel
from pointsman.core.shared import StateUnavailable
from pointsman.core.signals import Signals
from pointsman.core.trail import Trail

from .execute import Execute
from .record import Record
from .shape import Defaults

LARGE = 512 * 1024
"""Bytes of a body from which on it is understood in a thread. Reading takes some 10 ms a megabyte, most of it without
the interpreter's lock: on the loop nobody else would be answered meanwhile."""


TRIES = 5
"""How often a request decides anew because others took the money; the last time, only free models are left."""

LARGE_TO_REDACT = 64 * 1024
"""The same for redaction, which takes some 70 ms a megabyte."""


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


class Grant(Purse, Protocol):
    """What was reserved for a request."""

    def settle(self, trail: Trail | None) -> None:
        """Charge what the attempts cost, once; None: no attempt was made."""


class Spends(Protocol):
    """Budgets, as a request meets them."""

    def concerns(self, caller: Caller) -> bool: ...

    def means(self, caller: Caller) -> Means | None:
        """What a caller can spend; None when that must be asked for."""

    async def learn(self, caller: Caller) -> Means:
        """The same, asked for now. Raises StateUnavailable."""

    def destitute(self, caller: Caller) -> Means:
        """The means of somebody for whom only free models are left."""

    async def reserve(self, decision: Decision, catalog: Catalog, caller: Caller) -> Grant | Refused | None:
        """Reserve the worst case; None when nothing can be charged. Raises StateUnavailable."""


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
        means: Means = AMPLE,
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

    @property
    def passed_over(self) -> bool:
        """Whether the decision's model was not even asked, because a limit or a budget stood in the way."""
        tried = [attempt.status for attempt in self._trail.attempts if attempt.model == self.decision.model]
        return bool(tried) and all(status == "refused" for status in tried)

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
        budgets: Spends | None = None,
    ) -> None:
        """
        Args:
            budgets: where money is reserved before a call; None: nothing is capped.
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
        self._budgets = budgets
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
        grant: Grant | None = None
        if self._budgets is not None and self._budgets.concerns(caller):
            decision, grant = await self.afford(request, signals, caller, self._budgets)
        else:
            decision = self.decide(request, signals, caller)
        trail = Trail(self._clock)
        try:
            self._record.decided(decision, request)
            shaped = self._shape(request)
            if mask is not None:
                mask = mask.with_request(self._shape(mask.request))
        except BaseException:
            if grant is not None:
                grant.settle(None)
            raise
        attempts = self._execute(
            decision, shaped, catalog=self._models.catalog, trail=trail, tier=caller.scopes.tier, mask=mask, purse=grant
        )
        events = self._record.watch(decision, trail, attempts)
        if grant is not None:
            events = _settling(grant, trail, events)
        return Answer(decision, trail, await anext(events, None), events)

    async def afford(
        self, request: ChatRequest, signals: Signals, caller: Caller, budgets: Spends
    ) -> tuple[Decision, Grant | None]:
        """Decide and reserve; decides anew when somebody else took the money in between.

        Raises:
            PointsmanError: typed, logged as refused.
        """
        away: StateUnavailable | None = None
        try:
            means: Means | None = budgets.means(caller)
            for tries in range(TRIES):
                try:
                    if means is None:
                        means = await budgets.learn(caller)
                    decision = self._choose(request, signals, caller, means)
                    grant = await budgets.reserve(decision, self._models.catalog, caller)
                except StateUnavailable as error:
                    if away is not None:
                        raise
                    away, means = error, budgets.destitute(caller)
                    continue
                if not isinstance(grant, Refused):
                    return decision, grant
                # Somebody else was faster: with what is left now another model may do.
                means = budgets.means(caller) if tries < TRIES - 2 else budgets.destitute(caller)
            raise BudgetExceeded("Too many requests want the rest of the budget at once.")
        except PointsmanError as error:
            told = away if away is not None and isinstance(error, BudgetExceeded) else error
            self.refused(told, caller, request, signals)
            raise told from None

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
        if request.size < LARGE_TO_REDACT:
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
        means = self._budgets.means(caller) if self._budgets is not None and self._budgets.concerns(caller) else None
        return self._choose(request, signals, caller, means or AMPLE)

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

    def _choose(self, request: ChatRequest, signals: Signals, caller: Caller, means: Means = AMPLE) -> Decision:
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
                means=means,
            )
        except (ModelNotFound, NoCapableModel, PrivacyWall):
            soon = self._coming(request.model)
            if soon is None:
                raise
            raise Overloaded(soon, code="model_loading") from None


async def _settling(grant: Grant, trail: Trail, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """Pass the events on; when they end, in whatever way, settle what was reserved."""
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    finally:
        grant.settle(trail)
