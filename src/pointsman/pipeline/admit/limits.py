"""How much each caller may ask: windows of its tier over questions to models, a token bucket a class of endpoints.

What is limited is the key; without one the signed-in user; without one the address that asks (of IPv6 its /64, which is
what one customer gets), and all of this machine together. A user's keys are counted each by itself: a key is what an
operator hands out and can take back.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

import msgspec

from pointsman.core.caller import Caller, EndpointClass
from pointsman.core.errors import RateLimited
from pointsman.core.shared import Bucket, Limit, SharedState, StateUnavailable, Window
from pointsman.core.usage import LimitReport

from .away import WhenAway
from .standing import most_pressing, policy_field, standing_headers, uses
from .tiers import Tier, Tiers

ASKS_MODELS: frozenset[EndpointClass] = frozenset({"chat", "embeddings"})
"""What the windows of a tier count."""

EACH = {"minute": "a minute", "hour": "an hour", "day": "a day"}

MOST_PLANS = 10_000
"""Prepared limits that are kept; they are cheap to make anew."""


class BucketRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A bucket of one class of endpoints."""

    burst: int
    per_minute: float


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one caller at one class of endpoints, ready to be taken."""

    tier: str
    names: tuple[str, ...]
    limits: tuple[Limit, ...]
    sentences: tuple[str, ...]
    """What each limit says to one who has reached it."""
    policy: bytes


class Limits:
    """Implements the front door's `Charges`."""

    def __init__(
        self, *, state: SharedState, tiers: Tiers, buckets: Mapping[str, BucketRule], open_when_away: bool
    ) -> None:
        """
        Args:
            buckets: class of endpoints → its bucket, one for each caller.
            open_when_away: whether requests pass while the state cannot be reached.
        """
        self._state = state
        self._tiers = tiers
        self._buckets = dict(buckets)
        self._away = WhenAway(open_=open_when_away, what="being counted against limits")
        self._free: set[tuple[str | None, EndpointClass]] = set()
        self._plans: dict[tuple[str | None, str, EndpointClass], _Plan] = {}

    async def __call__(
        self, caller: Caller, endpoint: EndpointClass, peer: str | None = None
    ) -> Sequence[tuple[bytes, bytes]]:
        """Count one request; how the limits stand, as headers.

        Raises:
            RateLimited: a limit is reached; nothing was counted.
            StateUnavailable: the counters cannot be reached, and the settings say to refuse then.
        """
        tier = caller.scopes.tier
        if (tier, endpoint) in self._free:
            return ()
        unit = unit_of(caller, peer)
        plan = self._plans.get((tier, unit, endpoint))
        if plan is None:
            plan = self._prepare(tier, unit, endpoint)
            if plan is None:
                return ()
        try:
            taken = await self._state.take(plan.limits)
        except StateUnavailable as error:
            self._away.pass_or_raise(error)
            return ()
        headers = standing_headers(plan.policy, plan.names, taken.standings)
        if taken.ok:
            return headers
        standings = taken.standings
        at = most_pressing(standings)
        wait = standings[at].retry_after
        used = uses(plan.names, plan.limits, standings, self._state.now())
        raise RateLimited.by(
            used[at],
            f"Rate limit reached: {plan.sentences[at]}. Try again in {max(1, round(wait))} s.",
            tier=plan.tier,
            retry_after=wait,
            usage=used,
            headers=headers,
        )

    async def report(self, caller: Caller, peer: str | None = None) -> LimitReport:
        """How every limit of a caller stands; counts nothing.

        Raises:
            StateUnavailable: the counters cannot be reached.
        """
        name, tier = self._tiers.of(caller.scopes.tier)
        unit = unit_of(caller, peer)
        names, limits = self._windows(tier, unit, cost=0)
        for endpoint, rule in self._buckets.items():
            names.append(f"{endpoint}-burst")
            limits.append(_bucket(unit, endpoint, rule, cost=0.0))
        standings = (await self._state.take(limits)).standings if limits else ()
        return LimitReport(tier=name, priority=tier.priority, limits=uses(names, limits, standings, self._state.now()))

    def _prepare(self, scope: str | None, unit: str, endpoint: EndpointClass) -> _Plan | None:
        name, tier = self._tiers.of(scope)
        names: list[str] = []
        limits: list[Limit] = []
        quotas: list[tuple[int, float]] = []
        sentences: list[str] = []
        if endpoint in ASKS_MODELS:
            names, limits = self._windows(tier, unit, cost=1)
            for window, limit, seconds in tier.windows:
                quotas.append((limit, seconds))
                sentences.append(f"{limit} request{'' if limit == 1 else 's'} {EACH[window]} in the tier {name}")
        rule = self._buckets.get(endpoint)
        if rule is not None:
            names.append(f"{endpoint}-burst")
            limits.append(_bucket(unit, endpoint, rule, cost=1.0))
            quotas.append((rule.burst, rule.burst * 60 / rule.per_minute))
            sentences.append(
                f"{rule.burst} requests at once to {endpoint} endpoints, then {rule.per_minute:g} a minute"
            )
        if not limits:
            if len(self._free) < MOST_PLANS:
                self._free.add((scope, endpoint))
            return None
        plan = _Plan(
            tier=name,
            names=tuple(names),
            limits=tuple(limits),
            sentences=tuple(sentences),
            policy=policy_field(names, quotas),
        )
        if len(self._plans) >= MOST_PLANS:
            self._plans.clear()
        self._plans[scope, unit, endpoint] = plan
        return plan

    def _windows(self, tier: Tier, unit: str, *, cost: int) -> tuple[list[str], list[Limit]]:
        windows = tier.windows
        limits: list[Limit] = [
            Window(key=f"limit:{unit}:{name}", limit=limit, seconds=seconds, cost=cost)
            for name, limit, seconds in windows
        ]
        return [name for name, _, _ in windows], limits


def _bucket(unit: str, endpoint: str, rule: BucketRule, *, cost: float) -> Bucket:
    return Bucket(key=f"limit:{unit}:{endpoint}", capacity=float(rule.burst), refill=rule.per_minute / 60, cost=cost)


def unit_of(caller: Caller, peer: str | None) -> str:
    """Whose requests are counted together."""
    if caller.key_id is not None:
        return caller.key_id if caller.key_id.startswith("key_") else f"key_{caller.key_id}"
    if caller.user_id is not None:
        return f"user:{caller.user_id}"
    if peer is None or peer.startswith("127."):
        return "local"
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return "peer:?"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            if address.is_loopback:
                return "local"
            return f"peer:{ipaddress.ip_network((int(address) >> 64 << 64, 64)).network_address}"
        address = address.ipv4_mapped
    return "local" if address.is_loopback else f"peer:{address}"
