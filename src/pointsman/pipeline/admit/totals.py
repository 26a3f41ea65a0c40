"""What is known of the totals that budgets cap: seeded from the books, and looked at every second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec

from pointsman.core.books import Books
from pointsman.core.budget import Budget, Means
from pointsman.core.caller import Caller
from pointsman.core.ports import Clock
from pointsman.core.shared import SharedState
from pointsman.core.signals import Tier

from .budget_rules import BudgetRules, budgets_of

SEED_PAUSE = 0.3
"""Seconds between finding a shared state empty and reading the books: what was reserved in it just before it lost its
memory is in the books by then, or its process asks the counters once more."""
SEED_TRIES = 5
FORGET = 600.0
"""Seconds after which the totals of a key that asks nothing are watched no more."""


class Totals:
    """Totals as this process last saw them.

    Args:
        open_books: makes the books ready to be read; raises StoreError.
    """

    def __init__(
        self,
        *,
        rules: BudgetRules,
        state: SharedState,
        books: Books,
        clock: Clock,
        open_books: Callable[[], Awaitable[None]],
    ) -> None:
        self._rules = rules
        self._state = state
        self._books = books
        self._clock = clock
        self._open_books = open_books
        self.known: dict[str, int] = {}
        """Total → spent and reserved."""
        self.watched: dict[str, tuple[Budget, float]] = {}
        """Total → its budget, and when it was last asked for, on the monotonic clock."""
        self._own: dict[str, int] = {}
        """Total → what requests of this process have reserved now."""
        self._seeding = asyncio.Lock()

    def means(self, caller: Caller) -> Means | None:
        """What a caller can spend, from totals at most about a second old; None when some are not known yet."""
        found = tuple(budgets_of(self._rules, caller, self._rules.models, self._state.now()))
        standing = []
        for budget in found:
            used = self.known.get(budget.total)
            if used is None:
                return None
            standing.append(msgspec.structs.replace(budget, used_micro_usd=used))
        self.watch(found)
        return self._means(standing)

    def watch(self, budgets: Iterable[Budget]) -> None:
        """Look at these every second from now on."""
        now = self._clock.monotonic()
        for budget in budgets:
            self.watched[budget.total] = (budget, now)

    def held(self, shares: Mapping[str, int]) -> None:
        """A request of this process has reserved so much."""
        for total, micro_usd in shares.items():
            self._own[total] = self._own.get(total, 0) + micro_usd

    def let_go(self, shares: Mapping[str, int]) -> None:
        """It has so much less."""
        for total, micro_usd in shares.items():
            left = self._own.get(total, 0) - micro_usd
            if left > 0:
                self._own[total] = left
            else:
                self._own.pop(total, None)

    def changed(self, total: str, micro_usd: int) -> None:
        if total in self.known:
            self.known[total] += micro_usd

    def spent(self, total: str) -> int:
        """Without what is only reserved here, and may yet come back."""
        return self.known.get(total, 0) - self._own.get(total, 0)

    def forget(self, totals: Iterable[str]) -> None:
        """Ask for these anew."""
        for total in totals:
            self.known.pop(total, None)

    async def load(self, budgets: Iterable[Budget]) -> None:
        """Learn the totals of these budgets; seeds those that the state does not know.

        Raises:
            StoreError: the state or the books are away.
        """
        found = {budget.total: budget for budget in budgets}
        for _ in range(SEED_TRIES if found else 0):
            totals = await self._state.totals(list(found))
            missing = [found[total] for total, used in totals.items() if used is None]
            self.known.update({total: used for total, used in totals.items() if used is not None})
            if not missing:
                return
            await self.seed(missing)

    async def seed(self, budgets: Sequence[Budget]) -> None:
        """Set totals that the state does not know to what the books say.

        Raises:
            StoreError: the state or the books are away.
        """
        async with self._seeding:
            known = await self._state.totals([budget.total for budget in budgets])
            missing = [budget for budget in budgets if known[budget.total] is None]
            if not missing:
                return
            if self._rules.shared:
                await asyncio.sleep(SEED_PAUSE)
            await self._open_books()
            sums = await self._books.sums(
                [(budget.scope, budget.name, budget.period) for budget in missing], self._state.now()
            )
            for budget, used in zip(missing, sums, strict=True):
                await self._state.seed({budget.total: used}, expires_at=budget.resets_at + self._rules.lease_seconds)

    async def refresh(self, now: float) -> None:
        """Look at the totals that requests have lately asked for; periods that are over go.

        Args:
            now: on the monotonic clock.

        Raises:
            StateUnavailable: the state is away.
        """
        at = self._state.now()
        for total, (budget, asked) in list(self.watched.items()):
            if budget.resets_at <= at or now - asked > FORGET:
                del self.watched[total]
                self.known.pop(total, None)
        if self.watched:
            for total, used in (await self._state.totals(list(self.watched))).items():
                if used is None:
                    self.known.pop(total, None)
                else:
                    self.known[total] = used

    def tier(self, left: float | None) -> Tier:
        """The tier of a share of the monthly budget that is left."""
        if left is None or left >= self._rules.medium_below:
            return "high"
        return "medium" if left >= self._rules.low_below else "low"

    def _means(self, budgets: Sequence[Budget]) -> Means:
        scarcest: Budget | None = None
        scarcest_of: dict[str, Budget] = {}
        left: float | None = None
        for budget in budgets:
            if budget.cycle == "monthly" and budget.scope != "model":
                left = budget.left_share if left is None else min(left, budget.left_share)
            if not self._rules.hard:
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
            default_output=self._rules.default_output,
        )
