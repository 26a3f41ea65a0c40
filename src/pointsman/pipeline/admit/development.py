"""How much of the cloud development mode allows in a day, over all callers and replicas."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import ProviderShort
from pointsman.core.ports import Share, Throttle
from pointsman.core.shared import SharedState, StateUnavailable, Window
from pointsman.core.signals import Needs

DAY = 86_400


class DayShare(Share, frozen=True, kw_only=True, gc=False):
    """What an attempt took of the day, and of what its provider allows."""

    of_provider: Share | None


class DevelopmentQuota:
    """Implements `core.ports.Throttle` before another one: attempts at remote models are counted by the day first.

    The counts are exact over all replicas. They are those of days in UTC, and start anew at midnight.

    Args:
        inner: what providers allow.
        requests, tokens: a day's; None: as many as it takes.
    """

    def __init__(self, inner: Throttle, state: SharedState, *, requests: int | None, tokens: int | None) -> None:
        self._inner = inner
        self._state = state
        self._limits = (("requests", requests), ("tokens", tokens))
        self._settling: set[asyncio.Task[None]] = set()

    async def take(self, card: ModelCard, needs: Needs, tier: str | None) -> Share | None:
        """
        Raises:
            ProviderShort: the day's quota is used up or cannot be counted, or the provider's own limit is.
            StateUnavailable: as the inner one has it.
        """
        if card.local:
            return await self._inner.take(card, needs, tier)
        output = needs.expected_output if needs.max_output is None else min(needs.expected_output, needs.max_output)
        tokens = needs.prompt_tokens + needs.choices * output
        try:
            taken = await self._state.take(self._windows(1, tokens))
        except StateUnavailable as error:
            message = "The cloud is not asked uncounted in development mode, and the counters cannot be reached."
            raise ProviderShort(card.provider, message, retry_after=error.retry_after or 1.0) from None
        if not taken.ok:
            wait = max(standing.retry_after for standing in taken.standings)
            raise ProviderShort(
                card.provider,
                "What development mode allows of the cloud today is used up"
                " (routing.development.cloud_requests_per_day, cloud_tokens_per_day); it starts anew at midnight UTC.",
                retry_after=wait,
            )
        try:
            of_provider = await self._inner.take(card, needs, tier)
        except BaseException:
            self._correct(-1, -tokens)
            raise
        return DayShare(provider=card.provider, tokens=tokens, of_provider=of_provider)

    def settle(self, share: Share, *, sent: bool, tokens: int | None) -> None:
        if not isinstance(share, DayShare):
            self._inner.settle(share, sent=sent, tokens=tokens)
            return
        if share.of_provider is not None:
            self._inner.settle(share.of_provider, sent=sent, tokens=tokens)
        if not sent:
            self._correct(-1, -share.tokens)
        elif tokens is not None:
            self._correct(0, tokens - share.tokens)

    def wait(self, card: ModelCard, seconds: float) -> None:
        self._inner.wait(card, seconds)

    def waiting(self, card: ModelCard) -> float:
        return self._inner.waiting(card)

    def _windows(self, requests: int, tokens: int) -> list[Window]:
        costs = {"requests": requests, "tokens": tokens}
        return [
            Window(key=f"development:{kind}", limit=limit, seconds=DAY, cost=costs[kind])
            for kind, limit in self._limits
            if limit is not None and costs[kind]
        ]

    def _correct(self, requests: int, tokens: int) -> None:
        windows = self._windows(requests, tokens)
        if windows:
            task = asyncio.get_running_loop().create_task(self._charge(windows))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _charge(self, windows: list[Window]) -> None:
        with suppress(StateUnavailable):  # the estimate stands
            await self._state.charge(windows)
