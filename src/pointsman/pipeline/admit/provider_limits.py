"""What a provider allows the whole installation: requests and tokens a minute, shared by all keys and replicas.

Both are token buckets that hold a minute's worth and refill evenly, as the large providers themselves count. When a
bucket runs low, callers of a lower priority may not take its last part: `low` leaves 30 % of it, `normal` 10 %, `high`
nothing. So a crowd of low priority cannot starve the others.

A model whose provider answered 429 with a Retry-After is left alone as long while another model can step in. Every
replica learns that by itself: the provider tells each of them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Mapping
from contextlib import suppress

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import ProviderShort, UpstreamStatus
from pointsman.core.ports import Clock, Share
from pointsman.core.shared import Bucket, SharedState, StateUnavailable, Taken
from pointsman.core.signals import Needs

from .away import WhenAway
from .tiers import Place, Tiers

LEAVES: Mapping[Place, float] = {"high": 0.0, "normal": 0.1, "low": 0.3}
"""The part of a bucket that a priority must leave."""


class ProviderRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one provider allows; None: it is not said."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class ProviderLimits:
    """Implements `core.ports.Throttle`."""

    def __init__(
        self,
        *,
        state: SharedState,
        rules: Mapping[str, ProviderRule],
        tiers: Tiers,
        clock: Clock,
        open_when_away: bool,
    ) -> None:
        """
        Args:
            rules: provider name → what it allows.
            open_when_away: whether attempts pass while the state cannot be reached.
        """
        self._state = state
        self._rules = dict(rules)
        self._tiers = tiers
        self._clock = clock
        self._away = WhenAway(open_=open_when_away, what="regard to providers' limits")
        self._until: dict[str, float] = {}
        self._settling: set[asyncio.Task[None]] = set()

    async def take(self, card: ModelCard, needs: Needs, tier: str | None) -> Share | None:
        rule = self._rules.get(card.provider)
        if rule is None:
            return None
        leaves = LEAVES[self._tiers.of(tier)[1].priority]
        output = needs.expected_output if needs.max_output is None else min(needs.expected_output, needs.max_output)
        tokens = needs.prompt_tokens + needs.choices * output
        if rule.tokens_per_minute is not None:
            # A prompt beyond a minute's tokens passes when the bucket is full; its real usage is charged afterwards.
            tokens = min(tokens, rule.tokens_per_minute - _floor(rule.tokens_per_minute, leaves))
        share = Share(provider=card.provider, tokens=tokens)
        buckets = _buckets(card.provider, rule, requests=1, tokens=tokens, leaves=leaves)
        try:
            taken = await self._taken(buckets, share)
        except StateUnavailable as error:
            self._away.pass_or_raise(error)
            return None
        if taken.ok:
            return share
        wait = max(standing.retry_after for standing in taken.standings)
        raise ProviderShort(
            card.provider,
            f"The requests or tokens a minute that {card.provider} allows this installation are used up; try again in"
            f" {max(1, math.ceil(wait))} s.",
            retry_after=wait,
        )

    async def _taken(self, buckets: list[Bucket], share: Share) -> Taken:
        """Take from the buckets. Whoever leaves while the state is asked may have been given the share, which is then
        given back."""
        asking = asyncio.ensure_future(self._state.take(buckets))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            self._behind(self._give_back(asking, share))
            raise

    async def _give_back(self, asking: asyncio.Future[Taken], share: Share) -> None:
        with suppress(StateUnavailable):  # whether anything was taken nobody knows then
            if (await asking).ok:
                self.settle(share, sent=False, tokens=None)

    def set_rules(self, rules: Mapping[str, ProviderRule]) -> None:
        """Take what providers allow from now on; what their buckets hold stays."""
        self._rules = dict(rules)

    def settle(self, share: Share, *, sent: bool, tokens: int | None) -> None:
        rule = self._rules.get(share.provider)
        if rule is None:  # it was taken away meanwhile
            return
        if not sent:
            requests, difference = -1, -share.tokens
        elif tokens is not None and rule.tokens_per_minute is not None:
            requests, difference = 0, tokens - share.tokens
        else:
            return
        buckets = [bucket for bucket in _buckets(share.provider, rule, requests, difference) if bucket.cost]
        if buckets:
            self._behind(self._correct(buckets))

    def _behind(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _correct(self, buckets: list[Bucket]) -> None:
        with suppress(StateUnavailable):  # the bucket is full again within a minute; `take` tells of the absence
            await self._state.charge(buckets)

    def wait(self, card: ModelCard, seconds: float) -> None:
        now = self._clock.monotonic()
        if len(self._until) > 1000:
            self._until = {model: until for model, until in self._until.items() if until > now}
        self._until[card.id] = max(self._until.get(card.id, now), now + min(seconds, UpstreamStatus.LONGEST_WAIT))

    def waiting(self, card: ModelCard) -> float:
        if not self._until:
            return 0.0
        until = self._until.get(card.id)
        if until is None:
            return 0.0
        left = until - self._clock.monotonic()
        if left <= 0:
            del self._until[card.id]
        return max(0.0, left)

    async def close(self) -> None:
        """Wait for corrections under way; the state closes after this."""
        for _ in range(2):  # one that gives back begins another
            if self._settling:
                await asyncio.wait(self._settling, timeout=1.0)


def _floor(limit: int, leaves: float) -> int:
    return math.floor(limit * leaves)


def _buckets(provider: str, rule: ProviderRule, requests: int, tokens: int, leaves: float = 0.0) -> list[Bucket]:
    """The buckets of a provider. No cost is more than a bucket holds: what an upstream says it used may be absurd."""
    return [
        Bucket(
            key=f"provider:{provider}:{kind}",
            capacity=float(limit),
            refill=limit / 60,
            cost=float(min(cost, limit)),
            floor=float(_floor(limit, leaves)),
        )
        for kind, limit, cost in (
            ("requests", rule.requests_per_minute, requests),
            ("tokens", rule.tokens_per_minute, tokens),
        )
        if limit is not None
    ]
