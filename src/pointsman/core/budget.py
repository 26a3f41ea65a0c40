"""Money: what a request may cost at most, what it is charged in the end, and what is left to spend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from .catalog import ModelCard
from .signals import Needs, Tier
from .trail import Trail

Scope = Literal["global", "key", "model"]
Cycle = Literal["daily", "monthly"]


class Budget(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One cap and how it stands. Sums are micro-dollars, times seconds since the epoch, UTC."""

    total: str
    """The counter's name, such as `global:2026-11` or `key:key_1a2b:2026-11-22`."""
    scope: Scope
    name: str
    """The key's or the model's id; empty for the global one."""
    cycle: Cycle
    period: str
    """`2026-11` or `2026-11-22`."""
    cap_micro_usd: int
    resets_at: float
    used_micro_usd: int = 0
    """Spent and reserved."""

    @property
    def left_micro_usd(self) -> int:
        """Never below 0, though a provider that counts more than it may can bring what is used above the cap."""
        return max(0, self.cap_micro_usd - self.used_micro_usd)

    @property
    def left_share(self) -> float:
        return self.left_micro_usd / self.cap_micro_usd if self.cap_micro_usd > 0 else 0.0

    @property
    def title(self) -> str:
        """What people call it."""
        owner = {"global": "", "key": f" of {self.name}", "model": f" for {self.name}"}[self.scope]
        return f"the {self.cycle} budget{owner}"


class Means(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a caller can spend now, as the decision sees it. A hint: the reservation decides."""

    tier: Tier = "high"
    left_share: float | None = None
    """Share of the monthly budget that is left, the key's or the global one, whichever is less; None: there is none."""
    remaining_micro_usd: int | None = None
    """The least that any budget over all models leaves; None: no hard cap."""
    models: Mapping[str, int] = {}
    """Model id → what its own budgets leave."""
    scarcest: Budget | None = None
    """The budget that leaves `remaining_micro_usd`."""
    scarcest_of: Mapping[str, Budget] = {}
    """Model id → its own budget that leaves the least."""
    default_output: int | None = None
    """The longest answer of callers that name no bound, where the installation sets one."""

    @property
    def capped(self) -> bool:
        return self.remaining_micro_usd is not None or bool(self.models)

    def affords(self, card: ModelCard, worst_case_micro_usd: int | None) -> bool:
        """Whether a request of this worst case would pass; without a price, only where there is no cap."""
        if worst_case_micro_usd == 0:
            return True
        caps = [cap for cap in (self.remaining_micro_usd, self.models.get(card.id)) if cap is not None]
        return not caps or (worst_case_micro_usd is not None and worst_case_micro_usd <= min(caps))

    def binding(self, card: ModelCard) -> Budget | None:
        """The budget that leaves the least for a model."""
        found = [budget for budget in (self.scarcest, self.scarcest_of.get(card.id)) if budget is not None]
        return min(found, key=lambda budget: budget.left_micro_usd) if found else None


AMPLE = Means()


class Purse(Protocol):
    """The money reserved for one request, asked before each attempt."""

    async def covers(self, card: ModelCard, trail: Trail) -> bool:
        """Whether this attempt's worst case is reserved, beside what earlier attempts may have cost; what is missing is
        reserved now, if the budgets allow."""


class Refused(NamedTuple):
    """A reservation that did not fit."""

    total: str


def worst_case_micro_usd(card: ModelCard, needs: Needs, default_output: int | None = None) -> int | None:
    """The most that one call can cost, in micro-dollars; None when the price or the longest answer is unknown.

    The prompt's upper bound at full price (what writing all of it to a cache costs, where the request asks for a cache;
    the price of long prompts, where it may be one), and for every choice the longest answer: the caller's bound, else
    the installation's, else the model's, else its whole window. Reasoning counts as part of the answer, as it does in
    every provider's bound.
    """
    if card.price_input is None or card.price_output is None:
        return None
    if _dearest_input(card, needs) == 0 and card.price_output == 0:
        return 0
    if needs.dear_service:
        return None
    window = card.context_window
    longest = 0 if needs.kind == "embeddings" else needs.output_most or needs.max_output or default_output
    if longest is None:
        longest = card.max_output if card.max_output is not None else window
    elif window is not None:
        longest = min(longest, window)
    if longest is None:
        return None
    prompt = max(needs.prompt_tokens_most, needs.prompt_tokens_high)
    if prompt >= UNMEASURED:
        if window is None:
            return None
        prompt = window
    dearest = 0
    for priced in (card, card.at(prompt)):  # a prompt that turns out shorter may miss the step
        output = priced.price_output or 0
        dearest = max(dearest, prompt * _dearest_input(priced, needs) + needs.choices * longest * output)
    return -(-dearest // 1_000_000)


def _dearest_input(card: ModelCard, needs: Needs) -> int:
    """The most that a token of the prompt can cost, in micro-dollars per million."""
    price = card.price_input or 0
    if needs.cache_marks or card.writes_unasked:  # for how long is for the caller to say, in more than one place
        price = max(price, -(-price * max(card.cache_write_percent) // 100))
    return max(price, card.price_cached_input or 0)


UNMEASURED = 10**9
"""Stands in `prompt_tokens_most` where the prompt holds what cannot be measured here: a file by its id, sound."""


class Charge(NamedTuple):
    """What one attempt is charged."""

    model: str
    micro_usd: int
    certain: bool
    """Whether the provider told it; otherwise it is the attempt's worst case."""


def charges(trail: Trail, needs: Needs, default_output: int | None = None) -> list[Charge]:
    """What each attempt of a request is charged: never less than the provider may bill.

    An answer that came whole costs what its usage says, where that can be a bill at all. An attempt that certainly did
    no work (no connection, an error status, a limit) costs nothing. Of one that broke off, timed out, was cancelled, or
    reported no usage nobody here knows what will be billed, so it is charged its worst case, unless the final usage had
    come before.
    """
    found = []
    for step in trail.steps:
        attempt, card = step.attempt, step.card
        cost = attempt.cost_micro_usd
        if attempt.caller_key or (card.price_input == 0 and card.price_output == 0):
            found.append(Charge(card.id, 0, True))
        elif attempt.status == "refused" or step.unbilled:
            found.append(Charge(card.id, max(0, cost or 0), True))
        elif (
            cost is not None
            and not step.unsure
            and (attempt.status in ("ok", "escalated") or (step.final and needs.choices == 1))
        ):
            found.append(Charge(card.id, max(0, cost), True))
        else:
            worst = worst_case_micro_usd(card, needs, default_output)
            found.append(Charge(card.id, max(worst or 0, cost or 0), False))
    return found


def by_model(found: Sequence[Charge]) -> dict[str, int]:
    """The sum of each model."""
    sums: dict[str, int] = {}
    for charge in found:
        sums[charge.model] = sums.get(charge.model, 0) + charge.micro_usd
    return sums


def dollars(micro_usd: int) -> str:
    """An amount for people: cents or, where these would hide something, micro-dollars."""
    return f"${micro_usd / 1_000_000:,.2f}" if micro_usd % 10_000 == 0 else f"${micro_usd / 1_000_000:,.6f}"
