"""One request, start to end. Read `Pipeline.run`: it is the product in one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import msgspec

from pointsman.core.budget import AMPLE, Means
from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog
from pointsman.core.credential import Credential, NoKeysTaken, TakesKeys
from pointsman.core.decision import Decision
from pointsman.core.errors import (
    ModelNotFound,
    NoCapableModel,
    NoHealthyModel,
    Overloaded,
    PointsmanError,
    PrivacyWall,
    StoreError,
)
from pointsman.core.mask import Mask
from pointsman.core.ports import CatalogSource, Clock
from pointsman.core.request import ChatRequest, Priority, PrivacyLevel
from pointsman.core.signals import Needs, Signals
from pointsman.core.trail import Trail

from .afford import afford
from .answer import Answer, settling
from .decide.threads import Threads
from .execute import Execute
from .protocols import Decides, Grant, Health, Notices, Redacts, Spends, TellsIntent, Understands
from .record import Record
from .shape import Defaults

LARGE = 512 * 1024
"""Bytes of a body from which on it is understood in a thread. Reading takes some 10 ms a megabyte, most of it without
the interpreter's lock: on the loop nobody else would be answered meanwhile."""

LARGE_TO_REDACT = 64 * 1024
"""The same for redaction, which takes some 70 ms a megabyte."""


T = TypeVar("T")


class Wishes(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a caller asked of the router outside the body."""

    privacy_level: PrivacyLevel | None = None
    priority: Priority | None = None
    force_provider: str | None = None
    """The only provider whose models may answer."""
    local_first: bool = False
    """Whether local models go before all others wherever they will do."""
    quality_floor: float | None = None
    """How far below the best model's success the choice may lie; None: as the settings say."""
    explore: bool = True
    """Whether a model may be tried with this request, to learn of it."""
    escalate: bool | None = None
    """Whether a stronger model takes over where the first's answer is not convincing; None: as the settings say."""
    timeout: float | None = None
    """Seconds that the caller waits for the whole answer; None: it does not say."""
    credentials: Mapping[str, Credential] = MappingProxyType({})
    """The caller's own keys, by provider."""


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
        unhealthy: Health,
        clock: Clock,
        holds_private: Callable[[str], bool] = lambda text: False,
        coming: Callable[[str], str | None] = lambda requested_model: None,
        redact: Redacts | None = None,
        people: Notices | None = None,
        intents: TellsIntent | None = None,
        budgets: Spends | None = None,
        caller_keys: TakesKeys | None = None,
        threads: Threads | None = None,
        takes_long: Callable[[ChatRequest], bool] = lambda request: False,
    ) -> None:
        """
        Args:
            takes_long: whether a request is to be understood in a thread, however small it is.
            threads: the running conversations; None: those of this pipeline alone.
            caller_keys: for which providers callers may bring keys of their own; None: for none.
            budgets: where money is reserved before a call; None: nothing is capped.
            people: looks for names of people; None: nobody does.
            intents: tells intents that nothing else is sure of; None: nobody does.
            redact: makes the copies of private requests that remote models may get; None: they stay local.
            coming: why a model that a requested name may mean is not there yet, or None when none is on its way.
            holds_private: whether a model's name that nobody knows is a key or the like, and must not be logged.
        """
        self._understand = understand
        self._takes_long = takes_long
        self._decide = decide
        self._shape = shape
        self._execute = execute
        self._record = record
        self._models = models
        self._unhealthy = unhealthy
        self._coming = coming
        self._clock = clock
        self._redact = redact
        self._people = people
        self._intents = intents
        self._budgets = budgets
        self.caller_keys = caller_keys or NoKeysTaken()
        self._threads = threads if threads is not None else Threads()
        self._holds_private = holds_private
        self._large = asyncio.Lock()  # more at once would only take the processor from one another

    async def run(self, request: ChatRequest, caller: Caller, wishes: Wishes) -> Answer:
        """Understand, decide, shape, execute and record one admitted request.

        Raises:
            PointsmanError: typed, with `decision_id` naming the log's entry.
        """
        signals, mask = await self.understand(request, caller, wishes)
        decision, grant = await self.decide(request, signals, caller, wishes)
        self._threads.keep(decision, self._clock.monotonic())
        trail = Trail(self._clock)
        attempts = self._execute(
            decision,
            self._shape(request),
            catalog=self._models.catalog,
            trail=trail,
            tier=caller.scopes.tier,
            mask=mask and mask.with_request(self._shape(mask.request)),
            purse=grant,
            credentials=wishes.credentials,
            timeout=wishes.timeout,
            escalate=wishes.escalate,
        )
        events = self._record.watch(decision, request, trail, attempts)
        if grant is not None:
            events = settling(grant, trail, events)
        return Answer(decision, trail, await anext(events, None), events)

    async def understand(self, request: ChatRequest, caller: Caller, wishes: Wishes) -> tuple[Signals, Mask | None]:
        """The signals, and the copy for remote models of a private request that may leave redacted."""
        try:
            if request.size >= LARGE or self._takes_long(request):
                signals = await self._beside(partial(self._read, request, caller, wishes))
            else:
                signals = self._read(request, caller, wishes)
            if self._people is not None:
                signals = await self._people(request, signals)
            if self._intents is not None:
                signals = await self._intents(request, signals, caller, provider=wishes.force_provider)
            if self._redact is None or not signals.privacy.local_only or request.kind != "chat":
                return signals, None  # a vector of placeholders would be wrong unsaid; completions are not restored
            redact = partial(self._redact, request, signals)
            return redact() if request.size < LARGE_TO_REDACT else await self._beside(redact)
        except PointsmanError as error:
            self.refused(error, caller, request)
            raise

    def _read(self, request: ChatRequest, caller: Caller, wishes: Wishes) -> Signals:
        return self._understand(
            request, privacy_level=wishes.privacy_level, priority=wishes.priority, usual=caller.scopes.priority
        )

    async def measure(self, request: ChatRequest) -> Needs:
        """What a request needs, its tokens among them; nothing is decided, called or logged.

        Raises:
            InvalidRequest: it cannot be read.
        """
        understand = partial(self._understand, request)
        beside = request.size >= LARGE or self._takes_long(request)
        signals = await self._beside(understand) if beside else understand()
        return signals.needs

    async def _beside(self, work: Callable[[], T]) -> T:
        """In a thread, one after another."""
        async with self._large:
            return await asyncio.to_thread(work)

    async def decide(
        self, request: ChatRequest, signals: Signals, caller: Caller, wishes: Wishes
    ) -> tuple[Decision, Grant | None]:
        """The decision, and what was reserved for it where a budget is set."""
        try:
            if self._budgets is None or not self._budgets.concerns(caller):
                return self._choose(request, signals, caller, wishes), None
            choose = partial(self._choose, request, signals, caller, wishes)
            return await afford(choose, caller, self._budgets, partial(self._priced, wishes))
        except PointsmanError as error:
            self.refused(error, caller, request, signals)
            raise

    def _priced(self, wishes: Wishes, decision: Decision) -> Catalog:
        """What the decision's models cost us."""
        return self._models.catalog.free_of(wishes.credentials, decision.plan)

    def preview(self, request: ChatRequest, caller: Caller, wishes: Wishes) -> Decision:
        """The decision that `run` would take now; nothing is called and nothing is logged."""
        signals = self._read(request, caller, wishes)
        if self._people is not None:
            signals = self._people.judge(request, signals)
        if self._intents is not None:
            signals = self._intents.recall(request, signals)
        if self._redact is not None and signals.privacy.local_only and request.kind == "chat":
            signals, _ = self._redact(request, signals)
        means = self._budgets.means(caller) if self._budgets is not None and self._budgets.concerns(caller) else None
        wishes = msgspec.structs.replace(wishes, explore=False)  # what is only asked about teaches nothing
        return self._choose(request, signals, caller, wishes, means or AMPLE)

    def refused(
        self, error: PointsmanError, caller: Caller, request: ChatRequest | None, signals: Signals | None = None
    ) -> None:
        """Log a request that ends here."""
        model = request.model if request is not None else ""
        named = not self._holds_private(model[:1000])
        told = named and not isinstance(error, StoreError)
        self._record.refused(
            error,
            caller=caller,
            model=model if named else "",
            # What a store says of the machine is for the log of the process; keys read their decisions.
            reason=(error.message if caller.admin else error.plain or error.message)
            if told
            else (type(error).__doc__ or "").strip().splitlines()[0],
            signals=signals,
            stream=request is not None and request.stream,
        )

    def _choose(
        self, request: ChatRequest, signals: Signals, caller: Caller, wishes: Wishes, means: Means = AMPLE
    ) -> Decision:
        try:
            return self._decide(
                request.model,
                signals,
                catalog=self._models.catalog,
                unhealthy=self._unhealthy() if caller.admin else self._unhealthy.plain(),
                key_id=caller.key_id,
                now=self._clock.now(),
                stream=request.stream,
                caller=caller,
                means=means,
                force_provider=wishes.force_provider,
                local_first=wishes.local_first,
                credentials=wishes.credentials,
                quality_floor=wishes.quality_floor,
                explore=wishes.explore,
                place=self._threads.place(caller.key_id, signals, self._clock.monotonic()),
            )
        except NoHealthyModel as error:
            error.retry_after = self._unhealthy.back_in(error.models) or error.retry_after
            raise
        except (ModelNotFound, NoCapableModel, PrivacyWall):
            soon = self._coming(request.model)
            if soon is None:
                raise
            raise Overloaded(soon, code="model_loading") from None
