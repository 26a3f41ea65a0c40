"""Money: what a request may cost at most, and what is left to spend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from .catalog import ModelCard
from .signals import Needs

Tier = Literal["high", "medium", "low"]
"""How much of the monthly budget is left: more than 60 %, 30 to 60 %, less than 30 % (the settings' default bounds)."""


class Means(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a caller can spend now, as the decision sees it. A hint: the reservation decides."""

    tier: Tier = "high"
    remaining_micro_usd: int | None = None
    """The least that any budget over all models leaves; None: no hard cap."""
    models: Mapping[str, int] = {}
    """Model id → what its own budgets leave."""

    def affords(self, card: ModelCard, worst_case_micro_usd: int | None) -> bool:
        """Whether a request of this worst case would pass; without a price, only where there is no cap."""
        caps = [cap for cap in (self.remaining_micro_usd, self.models.get(card.id)) if cap is not None]
        return not caps or (worst_case_micro_usd is not None and worst_case_micro_usd <= min(caps))


AMPLE = Means()


def worst_case_micro_usd(card: ModelCard, needs: Needs) -> int | None:
    """The most that one call can cost, in micro-dollars; None when the price or the longest answer is unknown.

    The prompt's upper bound at full price, and for every choice the longest answer that request and model allow.
    """
    longest = [bound for bound in (needs.max_output, card.max_output, card.context_window) if bound is not None]
    if card.price_input == 0 and card.price_output == 0:
        return 0
    if not longest:
        return None
    return card.cost_micro_usd(needs.prompt_tokens_high, needs.choices * min(longest))
