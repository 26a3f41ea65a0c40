"""Money held for requests under way: reserved in the counters and the books, and settled in both."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from pointsman.core.books import Books, Entry, Raise, Settle
from pointsman.core.budget import Charge, Refused, by_model, worst_case_micro_usd
from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog
from pointsman.core.decision import Decision
from pointsman.core.errors import StoreError
from pointsman.core.ports import Clock
from pointsman.core.shared import Amount, Reserved, SharedState, StateUnavailable

from .budget_rules import BudgetRules, budgets_of, owner_of
from .purse import Grant
from .totals import SEED_PAUSE, SEED_TRIES, Totals

log = logging.getLogger(__name__)

SURE = SEED_PAUSE * 0.8
"""Seconds within which a row must be durable after its money was reserved. A later one may be missed by whoever seeds
counters that lost their memory in between, so they are asked once more."""


class Holding:
    """Reserves and settles. An `admit.purse.Bank`.

    Args:
        prepare: makes the books ready; never raises.
    """

    def __init__(
        self,
        *,
        rules: BudgetRules,
        state: SharedState,
        books: Books,
        totals: Totals,
        clock: Clock,
        prepare: Callable[[], Awaitable[None]],
    ) -> None:
        self._rules = rules
        self._state = state
        self._books = books
        self._totals = totals
        self._clock = clock
        self._prepare = prepare
        self._grants: set[Grant] = set()
        self._late: list[tuple[Grant, list[Charge]]] = []
        """Settlements that wait for the shared state to come back."""
        self._unwritten: list[tuple[Settle, Mapping[str, int]]] = []
        """Settled rows that neither the database nor the disk took, with the corrections that depend on them."""
        self.tasks: set[asyncio.Task[Any]] = set()
        self._away = False
        self.overspent_micro_usd = 0
        """By how much providers have billed more than had been reserved, since the start."""

    @property
    def own(self) -> set[str]:
        """Requests of this process that are not settled yet."""
        return {grant.id for grant in self._grants}

    @property
    def _strict(self) -> bool:
        """Whether nothing passes that cannot be counted."""
        return self._rules.hard and not self._rules.open_when_away

    async def reserve(self, decision: Decision, catalog: Catalog, caller: Caller) -> Grant | Refused | None:
        """See `Budgets.reserve`. A caller who leaves meanwhile leaves nothing reserved."""
        task = self._keep(self._reserve(decision, catalog, caller))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_give_back)
            raise

    async def _reserve(self, decision: Decision, catalog: Catalog, caller: Caller) -> Grant | Refused | None:
        needs, default_output = decision.signals.needs, self._rules.default_output
        models: dict[str, int] = {}
        for model in decision.plan:
            card = catalog.get(model)
            worst = worst_case_micro_usd(card, needs, default_output) if card is not None else 0
            if worst != 0:
                models[model] = worst or 0
        if not models:
            return None
        now = self._state.now()
        budgets = tuple(budgets_of(self._rules, caller, models, now))
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
        await self._prepare()
        entry = Entry(
            id=grant.id,
            at=now,
            key_id=grant.key_id,
            lease_until=now + self._rules.lease_seconds,
            reserved=grant.reserved,
            models=models,
        )
        shares = grant.shares(grant.reserved, models)
        asked = self._clock.monotonic()
        refused = await self.hold(grant, grant.id, shares)
        if refused is not None:
            return refused
        try:
            durable = await self._books.reserve(entry)
        except StoreError as error:
            await self._let_go(grant)
            if self._strict:
                raise StateUnavailable(f"The budget's books cannot be written now: {error.message}") from None
            return None
        try:
            refused = await self._hold_on(grant, grant.id, shares, asked, durable=durable)
        except StateUnavailable:
            await self._take_back(grant)
            raise
        if refused is not None:
            await self._take_back(grant)
        return refused or grant

    async def hold(self, grant: Grant, name: str, shares: Mapping[str, int]) -> Refused | None:
        """Raise the totals; None when that was done, or when the settings say to go on without.

        Raises:
            StateUnavailable: they cannot be raised, and the settings say to refuse then.
        """
        self._totals.watch(grant.budgets)
        try:
            reserved = await self._ask(grant, name, shares)
        except StoreError as error:
            self.tell_away(error)
            if self._strict:
                raise StateUnavailable(f"Budgets cannot be counted now: {error.message}") from None
            for total in shares:
                grant.standing.setdefault(total, 0)
            self._grants.add(grant)
            return None
        self.tell_back()
        self._totals.known.update(reserved.totals)
        if not reserved.ok:
            return Refused(reserved.refused or next(iter(shares)))
        grant.held[name] = dict(shares)
        grant.memory = self._state.memory
        grant.leased = grant.leased or name == grant.id
        self._grants.add(grant)
        self._totals.held(shares)
        return None

    async def _ask(self, grant: Grant, name: str, shares: Mapping[str, int]) -> Reserved:
        """
        Raises:
            StoreError: the state, or the books that it must be seeded from, are away.
        """
        caps = {budget.total: budget.cap_micro_usd for budget in grant.budgets}
        amounts = [
            Amount(total=total, micro_usd=micro_usd, cap_micro_usd=caps[total] if self._rules.hard else None)
            for total, micro_usd in shares.items()
        ]
        for _ in range(SEED_TRIES):
            reserved = await self._state.reserve(name, amounts, lease_seconds=self._rules.lease_seconds)
            if not reserved.unseeded:
                return reserved
            await self._totals.seed([budget for budget in grant.budgets if budget.total in reserved.unseeded])
        raise StateUnavailable("The budgets' totals cannot be kept: the shared state forgets them.")

    async def _hold_on(
        self, grant: Grant, name: str, shares: Mapping[str, int], asked: float, *, durable: bool
    ) -> Refused | None:
        """Now that the row is kept, make sure that the counters still count it; None when they do.

        Raises:
            StateUnavailable: that cannot be known, and the settings say to refuse then.
        """
        if self._rules.shared and name in grant.held and self._clock.monotonic() - asked > SURE:
            # They may have lost their memory, and have been seeded before the row was there. Asking twice counts once.
            try:
                reserved = await self._ask(grant, name, shares)
            except StoreError as error:
                if self._strict:
                    raise StateUnavailable(f"Budgets cannot be counted now: {error.message}") from None
                return None
            if not reserved.ok:
                self._totals.let_go(grant.held.pop(name))
                return Refused(reserved.refused or next(iter(shares)))
        if not durable:
            await self._detach(grant)
        return None

    async def top_up(self, grant: Grant, reserved: int, models: Mapping[str, int]) -> bool:
        before = grant.shares(grant.reserved, grant.models)
        raised = {**grant.models, **models}
        after = grant.shares(reserved, raised)
        missing = {total: micro_usd - before[total] for total, micro_usd in after.items() if micro_usd > before[total]}
        grant.raises += 1  # a name is never used for two sums: the first may have been reserved without an answer
        name = f"{grant.id}+{grant.raises}"
        asked = self._clock.monotonic()
        try:
            if missing and await self.hold(grant, name, missing) is not None:
                return False
        except StateUnavailable:
            return False
        try:
            durable = await self._books.raise_to(
                Raise(id=grant.id, at=self._state.now(), reserved=reserved, models=dict(models))
            )
            if await self._hold_on(grant, name, missing, asked, durable=durable) is not None:
                return False
        except StoreError:
            if self._strict:
                return False
        grant.reserved, grant.models = reserved, raised
        return True

    async def _let_go(self, grant: Grant) -> None:
        """Give back what was held for a call that is not made."""
        self._grants.discard(grant)
        for name, shares in grant.held.items():
            self._totals.let_go(shares)
            with contextlib.suppress(StateUnavailable):  # its lease will lapse, and there is no row
                await self._state.settle(name, {})

    async def _take_back(self, grant: Grant) -> None:
        """The same for one whose row is in the books."""
        await self._let_go(grant)
        with contextlib.suppress(StoreError):  # else its lease lapses, and the row stands at its worst case
            released = Settle(id=grant.id, at=self._state.now(), micro_usd=0, models={}, state="released")
            await self._books.settle(released)

    async def _detach(self, grant: Grant) -> None:
        """Turn leases into plain sums: other processes cannot see the row and would take a lapsed lease for a call
        that was never made."""
        with contextlib.suppress(StateUnavailable):
            for name, shares in list(grant.held.items()):
                if await self._state.settle(name, shares):
                    del grant.held[name]
                    self._totals.let_go(shares)
                    grant.leased = grant.leased and name != grant.id
                    for total, micro_usd in shares.items():
                        grant.standing[total] = grant.standing.get(total, 0) + micro_usd

    def settle(self, grant: Grant, found: list[Charge]) -> None:
        self._keep(self._finish(grant, found))

    async def _finish(self, grant: Grant, found: list[Charge]) -> None:
        cost = sum(charge.micro_usd for charge in found)
        models = by_model(found)
        if cost > grant.reserved and not grant.doubtful:
            self.overspent_micro_usd += cost - grant.reserved
            log.warning(
                "%s cost %d micro-dollars, more than the %d that were reserved: its provider counts more than its own"
                " bounds allow", grant.id, cost, grant.reserved,
            )  # fmt: skip
        try:
            corrections = await self._settle_state(grant, grant.shares(cost, models))
        except StateUnavailable as error:
            self.tell_away(error)
            grant.doubtful = grant.doubtful or error.sent
            self._late.append((grant, found))
            return
        self._grants.discard(grant)
        late = corrections is not None
        await self._write(
            Settle(id=grant.id, at=self._state.now(), micro_usd=cost, models=models, late=late), corrections or {}
        )

    async def _write(self, settled: Settle, corrections: Mapping[str, int], *, again: bool = False) -> None:
        try:
            changed = await self._books.settle(settled)
        except StoreError as error:
            if not again:
                log.error("what %s cost cannot be kept now; it stands at its worst case: %s", settled.id, error.message)
            self._unwritten.append((settled, corrections))
            return
        if corrections and changed:
            with contextlib.suppress(StoreError):
                await self._state.adjust(corrections)
                await self._books.corrected(settled.id)

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
                    self._totals.changed(total, used.get(total, 0) - micro_usd)
            elif not grant.doubtful or grant.memory != self._state.memory:
                # Else an earlier try, whose answer was lost, has done it.
                late = True
                for total in {*used, *shares}:
                    corrections[total] = corrections.get(total, 0) + used.get(total, 0) - shares.get(total, 0)
            del grant.held[name]
            self._totals.let_go(shares)
        return corrections if late else None

    async def catch_up(self) -> None:
        """Settle what could not be settled before."""
        late, self._late = self._late, []
        for grant, found in late:
            await self._finish(grant, found)
        unwritten, self._unwritten = self._unwritten, []
        for settled, corrections in unwritten:
            await self._write(settled, corrections, again=True)

    async def close(self, seconds: float) -> None:
        """Settle what ended; what takes longer is reconciled by whoever comes next."""
        self._keep(self.catch_up())
        await asyncio.wait(self.tasks, timeout=seconds)
        late, self._late = self._late, []
        for grant, found in late:  # the row tells whoever takes the reservation when its lease has lapsed
            settled = Settle(
                id=grant.id,
                at=self._state.now(),
                micro_usd=sum(charge.micro_usd for charge in found),
                models=by_model(found),
                late=True,
            )
            self._keep(self._write(settled, {}))
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)

    def tell_away(self, error: StoreError) -> None:
        if not self._away:
            self._away = True
            log.warning("Budgets cannot be counted now: %s", error.message)

    def tell_back(self) -> None:
        if self._away:
            self._away = False
            log.info("Budgets are counted again.")

    def _keep(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, StoreError):
            log.error("budgets: %s", type(error).__name__, exc_info=error)


def _give_back(task: asyncio.Task[Grant | Refused | None]) -> None:
    """Nobody waits for this reservation any more, and no call was made."""
    if not task.cancelled() and task.exception() is None and isinstance(grant := task.result(), Grant):
        grant.settle(None)
