"""Limits of callers and of providers, from the settings."""

from __future__ import annotations

from dataclasses import dataclass

from pointsman.core.ports import Clock, Throttle
from pointsman.core.shared import SharedState
from pointsman.pipeline.admit.development import DevelopmentQuota
from pointsman.pipeline.admit.limits import BucketRule, Limits
from pointsman.pipeline.admit.provider_limits import ProviderLimits, ProviderRule
from pointsman.pipeline.admit.tiers import Tier, Tiers
from pointsman.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltLimits:
    """`callers` is for the front door and for reports, `providers` for whoever makes attempts."""

    callers: Limits
    providers: ProviderLimits
    tiers: Tiers


def build_limits(settings: Settings, state: SharedState, clock: Clock) -> BuiltLimits:
    limits = settings.limits
    tiers = Tiers(
        {
            name: Tier(per_minute=tier.per_minute, per_hour=tier.per_hour, per_day=tier.per_day, priority=tier.priority)
            for name, tier in limits.tiers.items()
        },
        limits.default_tier,
    )
    open_when_away = limits.when_state_is_away == "open"
    return BuiltLimits(
        callers=Limits(
            state=state,
            tiers=tiers,
            buckets={
                name: BucketRule(burst=bucket.burst, per_minute=bucket.per_minute)
                for name, bucket in limits.buckets.items()
            },
            open_when_away=open_when_away,
        ),
        providers=ProviderLimits(
            state=state,
            rules=provider_rules(settings),
            tiers=tiers,
            clock=clock,
            open_when_away=open_when_away,
        ),
        tiers=tiers,
    )


def throttle_of(settings: Settings, providers: ProviderLimits, state: SharedState) -> Throttle:
    """What every attempt is asked of: what providers allow, and before it what development mode does."""
    development = settings.routing.development
    if not development.enabled:
        return providers
    return DevelopmentQuota(
        providers, state, requests=development.cloud_requests_per_day, tokens=development.cloud_tokens_per_day
    )


def provider_rules(settings: Settings) -> dict[str, ProviderRule]:
    """What the settings say that providers allow."""
    return {
        name: ProviderRule(
            requests_per_minute=provider.requests_per_minute, tokens_per_minute=provider.tokens_per_minute
        )
        for name, provider in settings.providers.items()
        if provider.requests_per_minute is not None or provider.tokens_per_minute is not None
    }
