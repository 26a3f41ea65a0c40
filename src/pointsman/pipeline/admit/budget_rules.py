"""Which budgets hold for a request, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from pointsman.core.budget import Budget, Cycle, Scope
from pointsman.core.caller import Caller
from pointsman.core.periods import period_of


class Caps(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Micro-dollars."""

    daily: int | None = None
    monthly: int | None = None

    def __bool__(self) -> bool:
        return self.daily is not None or self.monthly is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRules:
    """The settings of budgets."""

    caps: Caps = field(default_factory=Caps)
    per_key: Caps = field(default_factory=Caps)
    models: Mapping[str, Caps] = field(default_factory=dict)
    hard: bool = True
    alert_at: float = 0.8
    open_when_away: bool = False
    medium_below: float = 0.6
    low_below: float = 0.3
    lease_seconds: float = 660.0
    """How long a reservation may stay unsettled before it counts as lost; longer than any answer."""
    shared: bool = False
    """Whether other processes count in the same state."""
    default_output: int | None = None
    keep_seconds: float = 100 * 86_400.0
    """How long single rows of closed periods are kept."""

    @property
    def configured(self) -> bool:
        return bool(self.caps or self.per_key or self.models)


def owner_of(caller: Caller) -> str | None:
    """Who a caller's spending is counted under: the key, else the signed-in user; None for the local user."""
    return caller.key_id or (f"user:{caller.user_id}" if caller.user_id is not None else None)


def key_caps(rules: BudgetRules, caller: Caller) -> Caps:
    """The caps of a caller's own; each that the key does not name is the settings' default."""
    if owner_of(caller) is None:
        return NONE
    scopes = caller.scopes
    if scopes.daily_micro_usd is None and scopes.monthly_micro_usd is None:
        return rules.per_key
    return Caps(
        daily=rules.per_key.daily if scopes.daily_micro_usd is None else scopes.daily_micro_usd,
        monthly=rules.per_key.monthly if scopes.monthly_micro_usd is None else scopes.monthly_micro_usd,
    )


NONE = Caps()


def budgets_of(rules: BudgetRules, caller: Caller, models: Iterable[str], now: float) -> Iterator[Budget]:
    """Every budget that a caller's request to one of these models counts against, without how it stands."""
    yield from named("global", "", rules.caps, now)
    own = key_caps(rules, caller)
    if own:
        yield from named("key", owner_of(caller) or "", own, now)
    for model in models:
        caps = rules.models.get(model)
        if caps is not None:
            yield from named("model", model, caps, now)


def named(scope: Scope, name: str, caps: Caps, now: float) -> Iterator[Budget]:
    period = period_of(now)
    cycles: tuple[tuple[Cycle, int | None, str, float], ...] = (
        ("daily", caps.daily, period.day, period.day_ends),
        ("monthly", caps.monthly, period.month, period.month_ends),
    )
    for cycle, cap, at, ends in cycles:
        if cap is not None:
            yield Budget(
                total=f"{scope}:{name}:{at}" if name else f"{scope}:{at}",
                scope=scope,
                name=name,
                cycle=cycle,
                period=at,
                cap_micro_usd=cap,
                resets_at=ends,
            )
