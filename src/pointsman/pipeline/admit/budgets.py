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
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from pointsman.core.books import Booked, Books, Entry, Raise, Settle
from pointsman.core.budget import Budget, Charge, Means, Refused, by_model, dollars, worst_case_micro_usd
from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog
from pointsman.core.decision import Decision
from pointsman.core.errors import StoreError
from pointsman.core.periods import period_of, shown_time
from pointsman.core.ports import Clock, DecisionLog
from pointsman.core.shared import Amount, Lapsed, Reserved, SharedState, StateUnavailable
from pointsman.core.signals import Tier

from .budget_report import Alert, Report
from .budget_rules import BudgetRules, budgets_of, key_caps, owner_of
from .purse import Grant
from .reconcile import Reconciler, shares_of

log = logging.getLogger(__name__)

FRESH = 1.0
"""Seconds between two looks at the totals."""
SEED_PAUSE = 0.3
"""Seconds between finding a shared state empty and reading the books: what was reserved in it just before it lost its
memory is in the books by then."""
SEED_TRIES = 5
REAP = 5.0
ARCHIVE = 600.0
FORGET = 600.0
"""Seconds after which the totals of a key that asks nothing are watched no more."""
GRACE = 5.0
"""Seconds that settling gets when the gateway stops; what is left then is reconciled later."""


class Budgets:
    """Keeps the accounts. A `pipeline.run.Spends` and an `admit.purse.Bank`."""

    def __init__(
        self,
        *,
        rules: BudgetRules,
        state: SharedState,
        books: Books,
        log: DecisionLog,
        clock: Clock,
        notify: Callable[[Alert], Awaitable[None]] | None = None,
    ) -> None:
        self.rules = rules
        self._state = state
        self._books = books
        self._log = log
        self._clock = clock
        self._reconciler = Reconciler(books, log, state.now)
        self._notify = notify
        self._totals: dict[str, int] = {}
        """Totals as last seen: spent and reserved."""
        self._watched: dict[str, tuple[Budget, float]] = {}
        """Total → its budget, and when it was last asked for, on the monotonic clock."""
        self._own: dict[str, int] = {}
        """Total → what requests of this process have reserved now."""
        self._alerted: set[str] = set()
        self._grants: set[Grant] = set()
        self._late: list[tuple[Grant, list[Charge]]] = []
        """Settlements that wait for the shared state to come back."""
        self._taken: list[Lapsed] = []
        """Lapsed reservations that wait for the database."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._seeding = asyncio.Lock()
        self._ready = asyncio.Lock()
        self._started = False
        self._away = False
        self._loop_task: asyncio.Task[None] | None = None
        self.overspent_micro_usd = 0
        """By how much providers have billed more than had been reserved, since the start."""
        self.alerts = 0

    # ── what a request asks ──────────────────────────────────────────────────────────────────────────────────────

    def concerns(self, caller: Caller) -> bool:
        """Whether any budget holds for a caller: when none does, nothing else here is asked."""
        rules = self.rules
        return bool(rules.caps or rules.models) or bool(key_caps(rules, caller))

    def means(self, caller: Caller) -> Means | None:
        """What a caller can spend, from totals at most about a second old; None when some are not known yet."""
        found = list(budgets_of(self.rules, caller, self.rules.models, self._state.now()))
        now = self._clock.monotonic()
        standing = []
        for budget in found:
            used = self._totals.get(budget.total)
            if used is None:
                return None
            self._watched[budget.total] = (budget, now)
            standing.append(msgspec.structs.replace(budget, used_micro_usd=used))
        return self._means(standing)

    async def learn(self, caller: Caller) -> Means:
        """The same, after asking for the totals that are not known.

        Raises:
            StateUnavailable: they cannot be had, and the settings say to refuse then. Free models pass all the same:
                see `destitute`.
        """
        try:
            await self._prepare()
            found = list(budgets_of(self.rules, caller, self.rules.models, self._state.now()))
            await self._load(found)
        except StoreError as error:
            self._tell_away(error)
            if self.rules.hard and not self.rules.open_when_away:
                raise StateUnavailable(f"Budgets cannot be counted now: {error.message}") from None
            return Means(default_output=self.rules.default_output)
        return self.means(caller) or Means(default_output=self.rules.default_output)

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
        task = asyncio.create_task(self._reserve(decision, catalog, caller))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_give_back)
            self._keep(task)
            raise

    async def _reserve(self, decision: Decision, catalog: Catalog, caller: Caller) -> Grant | Refused | None:
        needs, default_output = decision.signals.needs, self.rules.default_output
        models: dict[str, int] = {}
        for model in decision.plan:
            card = catalog.get(model)
            worst = worst_case_micro_usd(card, needs, default_output) if card is not None else 0
            if worst != 0:
                models[model] = worst or 0
        if not models:
            return None
        now = self._state.now()
        budgets = tuple(budgets_of(self.rules, caller, models, now))
        if not budgets:
            return None
        grant = Grant(
            self,
            decision,
            key_id=owner_of(caller),
            at=now,
            reserved=max(models.values()),
            models=models,
            budgets=budgets,
            default_output=default_output,
        )
        await self._prepare_softly()
        held = await self._hold(grant, grant.id, grant.shares(grant.reserved, models))
        if held is not None:
            return held
        entry = Entry(
            id=grant.id,
            at=now,
            key_id=grant.key_id,
            lease_until=now + self.rules.lease_seconds,
            reserved=grant.reserved,
            models=models,
        )
        try:
            durable = await self._books.reserve(entry)
        except StoreError as error:
            self._grants.discard(grant)
            await self._let_go(grant)
            if self.rules.hard and not self.rules.open_when_away:
                raise StateUnavailable(f"The budget's books cannot be written now: {error.message}") from None
            return None
        if not durable:
            await self._detach(grant)
        return grant

    async def _hold(self, grant: Grant, name: str, shares: Mapping[str, int]) -> Refused | None:
        """Raise the totals; None when that was done, or when the settings say to go on without."""
        caps = {budget.total: budget.cap_micro_usd for budget in grant.budgets}
        amounts = [
            Amount(total=total, micro_usd=micro_usd, cap_micro_usd=caps[total] if self.rules.hard else None)
            for total, micro_usd in shares.items()
        ]
        now = self._clock.monotonic()
        for budget in grant.budgets:
            self._watched[budget.total] = (budget, now)
        try:
            reserved = await self._ask(grant, name, amounts)
        except StoreError as error:
            self._tell_away(error)
            if self.rules.hard and not self.rules.open_when_away:
                raise StateUnavailable(f"Budgets cannot be counted now: {error.message}") from None
            for total in shares:
                grant.standing.setdefault(total, 0)
            self._grants.add(grant)
            return None
        self._tell_back()
        self._totals.update(reserved.totals)
        if not reserved.ok:
            return Refused(reserved.refused or amounts[0].total)
        grant.held[name] = dict(shares)
        grant.leased = grant.leased or name == grant.id
        self._grants.add(grant)
        for total, micro_usd in shares.items():
            self._own[total] = self._own.get(total, 0) + micro_usd
        return None

    async def _ask(self, grant: Grant, name: str, amounts: Sequence[Amount]) -> Reserved:
        """
        Raises:
            StoreError: the state, or the books that it must be seeded from, are away.
        """
        for _ in range(SEED_TRIES):
            reserved = await self._state.reserve(name, amounts, lease_seconds=self.rules.lease_seconds)
            if not reserved.unseeded:
                return reserved
            await self._seed([budget for budget in grant.budgets if budget.total in reserved.unseeded])
        raise StateUnavailable("The budgets' totals cannot be kept: the shared state forgets them.")

    async def top_up(self, grant: Grant, reserved: int, models: Mapping[str, int]) -> bool:
        before = grant.shares(grant.reserved, grant.models)
        raised = {**grant.models, **models}
        after = grant.shares(reserved, raised)
        missing = {total: micro_usd - before[total] for total, micro_usd in after.items() if micro_usd > before[total]}
        if missing:
            try:
                refused = await self._hold(grant, f"{grant.id}+{len(grant.held)}", missing)
            except StateUnavailable:
                return False
            if refused is not None:
                return False
        grant.reserved, grant.models = reserved, raised
        try:
            durable = await self._books.raise_to(
                Raise(id=grant.id, at=self._state.now(), reserved=reserved, models=dict(models))
            )
        except StoreError:
            return not self.rules.hard or self.rules.open_when_away
        if not durable:
            await self._detach(grant)
        return True

    async def _let_go(self, grant: Grant) -> None:
        """Give back what was held for a call that is not made."""
        for name, shares in grant.held.items():
            self._unown(shares)
            with contextlib.suppress(StateUnavailable):  # its lease will lapse, and there is no row
                await self._state.settle(name, {})

    async def _detach(self, grant: Grant) -> None:
        """Turn leases into plain sums: other processes cannot see the row and would take a lapsed lease for a call
        that was never made."""
        with contextlib.suppress(StateUnavailable):
            for name, shares in list(grant.held.items()):
                if await self._state.settle(name, shares):
                    del grant.held[name]
                    self._unown(shares)
                    grant.leased = grant.leased and name != grant.id
                    for total, micro_usd in shares.items():
                        grant.standing[total] = grant.standing.get(total, 0) + micro_usd

    def settle(self, grant: Grant, found: list[Charge]) -> None:
        self._keep(asyncio.ensure_future(self._finish(grant, found)))

    # ── settling ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _finish(self, grant: Grant, found: list[Charge]) -> None:
        cost = sum(charge.micro_usd for charge in found)
        models = by_model(found)
        if cost > grant.reserved:
            self.overspent_micro_usd += cost - grant.reserved
            log.warning(
                "%s cost %d micro-dollars, more than the %d that were reserved: its provider counts more than its own"
                " bounds allow", grant.id, cost, grant.reserved,
            )  # fmt: skip
        try:
            corrections = await self._settle_state(grant, grant.shares(cost, models))
        except StateUnavailable as error:
            self._tell_away(error)
            grant.doubtful = True
            self._late.append((grant, found))
            return
        self._grants.discard(grant)
        late = corrections is not None
        try:
            changed = await self._books.settle(
                Settle(id=grant.id, at=self._state.now(), micro_usd=cost, models=models, late=late)
            )
        except StoreError as error:
            log.error("what %s cost could not be kept; it stands at its worst case: %s", grant.id, error.message)
            return
        if corrections and changed:
            with contextlib.suppress(StateUnavailable):
                await self._state.adjust(corrections)

    async def _settle_state(self, grant: Grant, actual: Mapping[str, int]) -> dict[str, int] | None:
        """Replace what is held; returns corrections for the totals that are to be made only by the one who settles
        the row, or None when everything was settled in place."""
        corrections = {total: -micro_usd for total, micro_usd in grant.standing.items()}
        late = bool(grant.standing) or not grant.leased
        if not grant.leased:
            for total, micro_usd in actual.items():
                corrections[total] = corrections.get(total, 0) + micro_usd
        for name, shares in list(grant.held.items()):
            used = actual if name == grant.id else {}
            if await self._state.settle(name, used):
                for total, micro_usd in shares.items():
                    if total in self._totals:
                        self._totals[total] += used.get(total, 0) - micro_usd
            elif not grant.doubtful:  # else an earlier try, whose answer was lost, may have done it
                late = True
                for total in {*used, *shares}:
                    corrections[total] = corrections.get(total, 0) + used.get(total, 0) - shares.get(total, 0)
            del grant.held[name]
            self._unown(shares)
        return corrections if late else None

    def _unown(self, shares: Mapping[str, int]) -> None:
        for total, micro_usd in shares.items():
            left = self._own.get(total, 0) - micro_usd
            if left > 0:
                self._own[total] = left
            else:
                self._own.pop(total, None)

    # ── reconciling ──────────────────────────────────────────────────────────────────────────────────────────────

    async def reap(self) -> None:
        """Settle what processes that died have left open, as far as the decision log knows.

        Raises:
            StoreError: the state or the database is away; nothing is lost.
        """
        own = {grant.id for grant in self._grants}
        for row in await self._books.lapsed(self._state.now() - 1.0, alone=not self.rules.shared):
            if row.id not in own:
                await self._reconciler.close(row)
        self._taken += await self._state.take_lapsed()
        while self._taken:
            deltas = await self._reconciler.corrections(self._taken[0], own)
            self._taken.pop(0)  # before the totals change: a change whose answer is lost must not be made twice
            if any(deltas.values()):
                await self._state.adjust(deltas)
                self._forget(deltas)

    async def release(self, identifier: str) -> Booked | None:
        """Say that a call of which nobody knows what it cost has cost nothing; None when there is no such one.

        Raises:
            StoreError: the state or the database is away.
        """
        await self._prepare()
        row = await self._books.get(identifier)
        if row is None or row.state != "unsettled":
            return None
        deltas = shares_of(row)
        released = Settle(id=identifier, at=self._state.now(), micro_usd=0, models={}, state="released")
        if not await self._books.settle(released):
            return None
        await self._state.adjust({total: -micro_usd for total, micro_usd in deltas.items()})
        self._forget(deltas)
        return row

    def _forget(self, totals: Iterable[str]) -> None:
        """Ask for these anew."""
        for total in totals:
            self._totals.pop(total, None)

    # ── what is known of the totals ──────────────────────────────────────────────────────────────────────────────

    async def _prepare(self) -> None:
        """Open the books and, where no other process counts, close what an earlier one left open, before any total is
        seeded from it.

        Raises:
            StoreError: the database is away.
        """
        if self._started:
            return
        async with self._ready:
            if not self._started:
                await self._books.start()
                if self._loop_task is None:
                    self._loop_task = asyncio.create_task(self._run(), name="budgets")
                if not self.rules.shared:
                    for row in await self._books.lapsed(self._state.now(), alone=True, limit=10_000):
                        await self._reconciler.close(row)
                self._started = True

    async def _prepare_softly(self) -> None:
        with contextlib.suppress(StoreError):  # the books are open all the same, and have their spool
            await self._prepare()

    async def start(self) -> None:
        """Load what is known, so that the first request finds it. Never raises: it is tried again later."""
        try:
            await self._prepare()
            await self._load(budgets_of(self.rules, LOCAL, self.rules.models, self._state.now()))
        except StoreError as error:
            self._tell_away(error)

    async def close(self) -> None:
        """Settle what ended; the rest is reconciled by whoever comes next."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop_task
        late, self._late = self._late, []
        for grant, found in late:
            self.settle(grant, found)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE)

    async def _load(self, budgets: Iterable[Budget]) -> None:
        """Learn the totals of these budgets; seeds those that the state does not know."""
        found = {budget.total: budget for budget in budgets}
        if not found:
            return
        for _ in range(SEED_TRIES):
            totals = await self._state.totals(list(found))
            missing = [found[total] for total, used in totals.items() if used is None]
            self._totals.update({total: used for total, used in totals.items() if used is not None})
            if not missing:
                self._tell_back()
                return
            await self._seed(missing)

    async def _seed(self, budgets: Sequence[Budget]) -> None:
        """Set totals that the state does not know to what the books say."""
        async with self._seeding:
            known = await self._state.totals([budget.total for budget in budgets])
            missing = [budget for budget in budgets if known[budget.total] is None]
            if not missing:
                return
            if self.rules.shared:
                await asyncio.sleep(SEED_PAUSE)
            await self._prepare()
            sums = await self._books.sums(
                [(budget.scope, budget.name, budget.period) for budget in missing], self._state.now()
            )
            for budget, used in zip(missing, sums, strict=True):
                await self._state.seed({budget.total: used}, expires_at=budget.resets_at + self.rules.lease_seconds)

    def _means(self, budgets: Sequence[Budget]) -> Means:
        scarcest: Budget | None = None
        scarcest_of: dict[str, Budget] = {}
        left: float | None = None
        for budget in budgets:
            if budget.cycle == "monthly" and budget.scope != "model":
                left = budget.left_share if left is None else min(left, budget.left_share)
            if not self.rules.hard:
                continue
            if budget.scope == "model":
                other = scarcest_of.get(budget.name)
                if other is None or budget.left_micro_usd < other.left_micro_usd:
                    scarcest_of[budget.name] = budget
            elif scarcest is None or budget.left_micro_usd < scarcest.left_micro_usd:
                scarcest = budget
        return Means(
            tier=self.tier(left),
            left_share=left,
            remaining_micro_usd=scarcest.left_micro_usd if scarcest is not None else None,
            models={model: budget.left_micro_usd for model, budget in scarcest_of.items()},
            scarcest=scarcest,
            scarcest_of=scarcest_of,
            default_output=self.rules.default_output,
        )

    def tier(self, left: float | None) -> Tier:
        """The tier of a share of the monthly budget that is left."""
        if left is None or left >= self.rules.medium_below:
            return "high"
        return "medium" if left >= self.rules.low_below else "low"

    # ── beside the requests ──────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        reap_at = archive_at = self._clock.monotonic()
        chores: asyncio.Task[None] | None = None
        try:
            while True:
                await asyncio.sleep(FRESH)
                now = self._clock.monotonic()
                try:
                    await self._catch_up()
                    await self._refresh(now)
                    await self._look_for_alerts()
                except StoreError as error:
                    self._tell_away(error)
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

    async def _chores(self, *, archive: bool) -> None:
        try:
            await self.reap()
            if archive:
                dropped = await self._books.archive(self._state.now(), keep_seconds=self.rules.keep_seconds)
                if dropped:
                    log.info("dropped %d rows of closed periods from the ledger; their sums are kept", dropped)
        except StateUnavailable as error:
            self._tell_away(error)
        except StoreError:  # whoever writes the books has said so; they are counted all the same
            pass
        except Exception:
            log.exception("budgets: reconciling failed unexpectedly")

    async def _catch_up(self) -> None:
        late, self._late = self._late, []
        for grant, found in late:
            await self._finish(grant, found)

    async def _refresh(self, now: float) -> None:
        """Look at the totals that requests have lately asked for; periods that are over go."""
        at = self._state.now()
        for total, (budget, asked) in list(self._watched.items()):
            if budget.resets_at <= at or now - asked > FORGET:
                del self._watched[total]
                self._totals.pop(total, None)
                self._alerted.discard(total)
        if self._watched:
            totals = await self._state.totals(list(self._watched))
            for total, used in totals.items():
                if used is None:
                    self._totals.pop(total, None)
                else:
                    self._totals[total] = used
            self._tell_back()

    async def _look_for_alerts(self) -> None:
        for total, (budget, _) in list(self._watched.items()):
            used = self._totals.get(total, 0) - self._own.get(total, 0)  # what is only reserved here may yet come back
            if total in self._alerted or budget.cap_micro_usd <= 0 or used < self.rules.alert_at * budget.cap_micro_usd:
                continue
            at = self._state.now()
            seconds = budget.resets_at - at + self.rules.lease_seconds
            first = await self._state.once(f"budget-alert:{total}", seconds=seconds)
            self._alerted.add(total)
            with contextlib.suppress(StoreError):  # the books remember it over restarts, when they can
                first = await self._books.first_alert(total, at) and first
            if first:
                self._raise_alert(msgspec.structs.replace(budget, used_micro_usd=used), at)

    def _raise_alert(self, budget: Budget, at: float) -> None:
        self.alerts += 1
        share = budget.used_micro_usd / budget.cap_micro_usd
        log.warning(
            "%s (%s): %s of %s spent (%.0f %%); it starts anew at %s", budget.title, budget.period,
            dollars(budget.used_micro_usd), dollars(budget.cap_micro_usd), share * 100,
            shown_time(budget.resets_at),
        )  # fmt: skip
        if self._notify is not None:
            alert = Alert(
                budget=budget.title,
                scope=budget.scope,
                name=budget.name,
                cycle=budget.cycle,
                period=budget.period,
                cap_micro_usd=budget.cap_micro_usd,
                used_micro_usd=budget.used_micro_usd,
                share=round(share, 4),
                resets_at=budget.resets_at,
                at=at,
            )
            self._keep(asyncio.ensure_future(self._notify(alert)))

    async def report(self, caller: Caller, *, period: str | None = None) -> Report:
        """How the budgets stand: an admin's, of everything; others see their key's alone.

        Raises:
            StoreError: the database is away.
        """
        await self._prepare()
        now = self._state.now()
        found = {
            budget.total: budget
            for budget in budgets_of(self.rules, caller, self.rules.models if caller.admin else (), now)
            if caller.admin or budget.scope == "key"
        }
        if caller.admin:
            for budget, _ in self._watched.values():
                if budget.resets_at > now:
                    found.setdefault(budget.total, budget)
        available = True
        try:
            await self._load(found.values())
        except StateUnavailable:
            available = False
        month = period_of(now).month
        spent = await self._books.spent(period or month)
        unsettled = await self._books.unsettled()
        if not caller.admin:
            own = owner_of(caller)
            spent = [row for row in spent if row.scope == "key" and row.name == own]
            unsettled = [row for row in unsettled if row.key_id == own]
        wanted = [(budget.scope, budget.name, budget.period) for budget in found.values()]
        under_way = await self._books.sums(wanted, now, under_way=True)
        budgets: list[tuple[Budget, int, Tier | None]] = []
        for budget, open_sum in zip(found.values(), under_way, strict=True):
            used = self._totals.get(budget.total, 0)
            standing = msgspec.structs.replace(budget, used_micro_usd=used)
            reserved = min(used, open_sum)
            tier = self.tier(standing.left_share) if budget.cycle == "monthly" and budget.scope != "model" else None
            budgets.append((standing, used - reserved, tier))
        return Report(budgets, unsettled, spent, self.overspent_micro_usd, self.alerts, available, period or month)

    def _keep(self, task: asyncio.Future[Any]) -> None:
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, StoreError):
            log.error("budgets: %s", type(error).__name__, exc_info=error)

    def _tell_away(self, error: StoreError) -> None:
        if not self._away:
            self._away = True
            log.warning("Budgets cannot be counted now: %s", error.message)

    def _tell_back(self) -> None:
        if self._away:
            self._away = False
            log.info("Budgets are counted again.")


LOCAL = Caller()


def _give_back(task: asyncio.Task[Grant | Refused | None]) -> None:
    """Nobody waits for this reservation any more, and no call was made."""
    if not task.cancelled() and task.exception() is None and isinstance(grant := task.result(), Grant):
        grant.settle(None)
