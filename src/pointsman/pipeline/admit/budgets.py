"""Budgets: money is reserved before a call and settled after it, and what a crash left open is reconciled.

The counters that decide are in the shared state, where a reservation raises every total in one atomic step or none.
The truth is in the books: the row of a call is durable before the call is made, and the counters are seeded from the
rows. Whoever holds a reservation in the shared state corrects the totals: the process that made it, by settling, or
whoever takes it when its lease has lapsed. Every doubt is decided for the higher sum, so that no cap is ever exceeded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Protocol

import msgspec

from pointsman.core.books import Booked, Books
from pointsman.core.budget import Means, Refused
from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog
from pointsman.core.decision import Decision
from pointsman.core.errors import StoreError
from pointsman.core.ports import Clock, DecisionLog
from pointsman.core.shared import SharedState, StateUnavailable

from .budget_alerts import Alerts, Notify
from .budget_report import Report, make_report
from .budget_rules import BudgetRules, budgets_of
from .holding import Holding
from .purse import Grant
from .reconcile import Reconciler
from .totals import Totals

log = logging.getLogger(__name__)

FRESH = 1.0
"""Seconds between two looks at the totals."""
REAP = 5.0
ARCHIVE = 600.0
GRACE = 5.0
"""Seconds that settling gets when the gateway stops; what is left then is reconciled later."""


class Sole(Protocol):
    """Says who counts, where processes that share no counters share a database."""

    def take(self) -> bool:
        """Whether this process may count: no other one does."""

    def release(self) -> None: ...


class Budgets:
    """Keeps the accounts. A `pipeline.protocols.Spends`.

    Args:
        sole: asked where the counters are in this process alone; None: nobody else can be there.
    """

    def __init__(
        self,
        *,
        rules: BudgetRules,
        state: SharedState,
        books: Books,
        log: DecisionLog,
        clock: Clock,
        notify: Notify | None = None,
        sole: Sole | None = None,
    ) -> None:
        self.rules = rules
        self._for_all = bool(rules.caps or rules.models)
        self._for_every_key = bool(rules.per_key)
        self._state = state
        self._books = books
        self._clock = clock
        self._sole = sole if not rules.shared else None
        self._totals = Totals(rules=rules, state=state, books=books, clock=clock, open_books=self._prepare)
        self._holding = Holding(
            rules=rules, state=state, books=books, totals=self._totals, clock=clock, prepare=self._prepare_softly
        )
        self._reconciler = Reconciler(books, log, state, self._totals)
        self._alerts = Alerts(rules=rules, state=state, books=books, totals=self._totals, notify=notify)
        self._ready = asyncio.Lock()
        self._started = False
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def overspent_micro_usd(self) -> int:
        """By how much providers have billed more than had been reserved, since the start."""
        return self._holding.overspent_micro_usd

    @property
    def alerts(self) -> int:
        return self._alerts.count

    # ── what a request asks ──────────────────────────────────────────────────────────────────────────────────────

    def concerns(self, caller: Caller) -> bool:
        """Whether any budget holds for a caller: when none does, nothing else here is asked."""
        if self._for_all:
            return True
        if caller.key_id is None and caller.user_id is None:
            return False
        scopes = caller.scopes
        return self._for_every_key or scopes.daily_micro_usd is not None or scopes.monthly_micro_usd is not None

    def means(self, caller: Caller) -> Means | None:
        """What a caller can spend, from totals at most about a second old; None when some are not known yet."""
        return self._totals.means(caller)

    async def learn(self, caller: Caller) -> Means:
        """The same, after asking for the totals that are not known.

        Raises:
            StateUnavailable: they cannot be had, and the settings say to refuse then. Free models pass all the same:
                see `destitute`.
        """
        nothing_known = Means(default_output=self.rules.default_output)
        try:
            await self._prepare()
            await self._totals.load(budgets_of(self.rules, caller, self.rules.models, self._state.now()))
        except StoreError as error:
            self._holding.tell_away(error)
            if self.rules.hard and not self.rules.open_when_away:
                raise StateUnavailable(f"Budgets cannot be counted now: {error.message}") from None
            return nothing_known
        self._holding.tell_back()
        return self.means(caller) or nothing_known

    def destitute(self, caller: Caller) -> Means:
        """The means of somebody who can spend nothing: only free models pass."""
        known = self.means(caller) or Means(default_output=self.rules.default_output)
        return msgspec.structs.replace(known, remaining_micro_usd=0)

    async def reserve(self, decision: Decision, catalog: Catalog, caller: Caller) -> Grant | Refused | None:
        """Reserve the worst case of a decision's plan; None when nothing can be charged, or nothing is capped.

        The reservation is in the shared state and in the books when this returns.

        Raises:
            StateUnavailable: it cannot be counted, and the settings say to refuse then.
        """
        return await self._holding.reserve(decision, catalog, caller)

    # ── what people ask ──────────────────────────────────────────────────────────────────────────────────────────

    async def report(self, caller: Caller, *, period: str | None = None) -> Report:
        """How the budgets stand: an admin's, of everything; others see their key's alone.

        Raises:
            StoreError: the database is away.
        """
        await self._prepare()
        found = await make_report(self.rules, self._totals, self._books, self._state.now(), caller, period)
        if not caller.admin:
            return found
        return found._replace(overspent_micro_usd=self.overspent_micro_usd, alerts=self.alerts)

    async def release(self, identifier: str) -> Booked | None:
        """Say that a call of which nobody knows what it cost has cost nothing; None when there is no such one.

        Raises:
            StoreError: the state or the database is away.
        """
        await self._prepare()
        return await self._reconciler.release(identifier)

    async def reap(self) -> None:
        """Settle what processes that died have left open, as far as the decision log knows.

        Raises:
            StoreError: the state or the database is away; nothing is lost.
        """
        await self._reconciler.reap(self._holding.own, alone=not self.rules.shared)

    # ── beside the requests ──────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Load what is known, so that the first request finds it. Never raises: it is tried again later."""
        try:
            await self._prepare()
            await self._totals.load(budgets_of(self.rules, LOCAL, self.rules.models, self._state.now()))
        except StoreError as error:
            self._holding.tell_away(error)

    async def close(self) -> None:
        """Settle what ended; the rest is reconciled by whoever comes next."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop_task
        await self._holding.close(GRACE)
        await self._alerts.close()
        if self._sole is not None:
            self._sole.release()

    async def _prepare(self) -> None:
        """Open the books and, where no other process counts, close what an earlier one left open, before any total is
        seeded from it.

        Raises:
            StoreError: the database is away, or another process counts.
        """
        if self._started:
            return
        async with self._ready:
            await self._open()

    async def _open(self) -> None:
        if not self._started:
            if self._sole is not None and not self._sole.take():
                raise StateUnavailable(
                    "another gateway with this data folder counts them already. Give both one REDIS_URL, or stop one."
                )
            await self._books.start()
            if self._loop_task is None:
                self._loop_task = asyncio.create_task(self._run(), name="budgets")
            if not self.rules.shared:
                await self._reconciler.close_all()
            self._started = True

    async def _prepare_softly(self) -> None:
        with contextlib.suppress(StoreError):  # the books are open all the same, and have their spool
            await self._prepare()

    async def _run(self) -> None:
        reap_at = archive_at = self._clock.monotonic()
        chores: asyncio.Task[None] | None = None
        try:
            while True:
                await asyncio.sleep(FRESH)
                now = self._clock.monotonic()
                try:
                    await self._round(now)
                except StoreError as error:
                    self._holding.tell_away(error)
                except Exception:  # the accounts must go on whatever one round found
                    log.exception("budgets: a round failed unexpectedly")
                # Beside the rounds: a database that hangs must not make the totals old.
                if now >= reap_at and (chores is None or chores.done()):
                    reap_at = now + REAP
                    chores = asyncio.create_task(self._chores(archive=now >= archive_at), name="budgets-chores")
                    archive_at = now + ARCHIVE if now >= archive_at else archive_at
        finally:
            if chores is not None:
                chores.cancel()

    async def _round(self, now: float) -> None:
        await self._holding.catch_up()
        await self._totals.refresh(now)
        if self._totals.watched:
            self._holding.tell_back()
        await self._alerts.look()

    async def _chores(self, *, archive: bool) -> None:
        try:
            await self.reap()
            if archive:
                dropped = await self._books.archive(self._state.now(), keep_seconds=self.rules.keep_seconds)
                if dropped:
                    log.info("dropped %d rows of closed periods from the ledger; their sums are kept", dropped)
        except StateUnavailable as error:
            self._holding.tell_away(error)
        except StoreError:  # whoever writes the books has said so; they are counted all the same
            pass
        except Exception:
            log.exception("budgets: reconciling failed unexpectedly")


LOCAL = Caller()
