"""Limits of callers and of providers, by a clock that the test turns."""

from __future__ import annotations

import asyncio
import logging

import pytest

from pointsman.core.caller import Caller, Scopes
from pointsman.core.catalog import ModelCard
from pointsman.core.errors import ProviderShort, RateLimited
from pointsman.core.shared import Standing, StateUnavailable, Window
from pointsman.core.signals import Needs
from pointsman.pipeline.admit.limits import BucketRule, Limits, unit_of
from pointsman.pipeline.admit.provider_limits import ProviderLimits, ProviderRule
from pointsman.pipeline.admit.standing import most_pressing, standing_headers, uses
from pointsman.pipeline.admit.tiers import Tier, Tiers
from pointsman.stores.memory_state import MemoryState

NOON = 1_790_000_000 // 86_400 * 86_400 + 43_200.0
"""Noon of a day, UTC."""


class HandClock:
    """Both clocks, turned by hand."""

    def __init__(self) -> None:
        self.at = NOON

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class Away(MemoryState):
    """Counts nothing: it is away."""

    async def take(self, limits):
        raise StateUnavailable("redis://secret-host does not answer.")

    async def charge(self, limits):
        raise StateUnavailable("redis://secret-host does not answer.")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


TIERS = {
    "small": Tier(per_minute=2, per_hour=5, priority="low"),
    "medium": Tier(per_minute=10, per_day=6),
    "free": Tier(priority="high"),
}


def limits(clock, *, default="free", buckets=None, state=None, open_when_away=True) -> Limits:
    return Limits(
        state=state or MemoryState(clock),
        tiers=Tiers(TIERS, default),
        buckets=buckets or {},
        open_when_away=open_when_away,
    )


def key(name: str, tier: str | None = None) -> Caller:
    return Caller(key_id=f"key_{name}", admin=False, role="member", scopes=Scopes(tier=tier))


async def passes(charge: Limits, caller: Caller, endpoint="chat") -> bool:
    try:
        await charge(caller, endpoint)
    except RateLimited:
        return False
    return True


async def test_windows_start_anew(clock):
    charge, caller = limits(clock), key("a", "small")
    assert [await passes(charge, caller) for _ in range(3)] == [True, True, False]
    clock.at += 59.9
    assert not await passes(charge, caller)
    clock.at += 0.1
    assert [await passes(charge, caller) for _ in range(3)] == [True, True, False]
    clock.at += 60
    assert [await passes(charge, caller) for _ in range(2)] == [True, False]  # now the hour's five are used
    with pytest.raises(RateLimited) as caught:
        await charge(caller, "embeddings")  # it asks a model too
    assert caught.value.retry_after == pytest.approx(3600 - 120)
    assert caught.value.refused_by.name == "hour"
    assert caught.value.refused_by.reset_at == NOON + 3600
    assert "5 requests an hour in the tier small" in caught.value.message
    clock.at = NOON + 3600
    assert await passes(charge, caller)


async def test_every_key_has_windows_of_its_own(clock):
    charge = limits(clock)
    for name in ("a", "b"):
        assert [await passes(charge, key(name, "small")) for _ in range(3)] == [True, True, False]


async def test_a_refused_request_is_not_counted(clock):
    charge, caller = limits(clock), key("a", "small")
    for _ in range(50):
        await passes(charge, caller)
    used = {use.name: use.used for use in (await charge.report(caller)).limits}
    assert used == {"minute": 2, "hour": 2}


async def test_windows_count_questions_to_models_alone(clock):
    charge, caller = limits(clock), key("a", "small")
    assert all([await passes(charge, caller, kind) for kind in ("models", "decisions", "usage", "admin") * 5])
    assert (await charge.report(caller)).limits[0].used == 0


async def test_a_bucket_refills_evenly_and_is_of_one_class(clock):
    rules = {"chat": BucketRule(burst=3, per_minute=30), "usage": BucketRule(burst=1, per_minute=1)}
    charge, caller = limits(clock, buckets=rules), key("a")
    assert [await passes(charge, caller) for _ in range(4)] == [True, True, True, False]
    assert [await passes(charge, caller, "usage") for _ in range(2)] == [True, False]
    assert await passes(charge, caller, "models")
    assert await passes(charge, key("b"))
    clock.at += 2
    assert [await passes(charge, caller) for _ in range(2)] == [True, False]
    clock.at += 3600
    assert [await passes(charge, caller) for _ in range(4)] == [True, True, True, False]


def standing(limit: int, remaining: int, reset: float, retry: float = 0.0) -> Standing:
    return Standing(key="k", limit=limit, remaining=remaining, reset_after=reset, retry_after=retry)


def test_the_limit_that_presses_most_is_told():
    names, policy = ("minute", "hour"), b"policy"
    told = dict(standing_headers(policy, names, (standing(20, 9, 30), standing(200, 5, 3599.2))))
    assert (told[b"ratelimit-limit"], told[b"ratelimit-remaining"]) == (b"200", b"5")
    assert (told[b"ratelimit-reset"], told[b"x-ratelimit-reset-requests"]) == (b"3600", b"1h0m0s")
    assert told[b"ratelimit"] == b'"minute";r=9;t=30, "hour";r=5;t=3600'
    # Of a refusal: what to wait longest for, though the other has as little left.
    assert most_pressing((standing(20, 0, 30, 30), standing(5, 0, 8, 8))) == 0
    assert most_pressing((standing(20, 0, 30), standing(5, 1, 8, 8))) == 1
    assert most_pressing((standing(20, 1, 30), standing(200, 150, 3000))) == 0


def test_a_window_starts_anew_at_its_multiple_however_long_the_answer_took():
    window = Window(key="k", limit=5, seconds=60)
    for late in (0.0, 0.4, 20.0):
        assert uses(("minute",), (window,), (standing(5, 5, 12.0),), NOON + 48 + late)[0].reset_at == NOON + 60


async def test_without_limits_the_store_is_not_asked(clock):
    charge = limits(clock, state=Away(), open_when_away=False)
    for kind in ("chat", "models", "admin", "public"):
        assert await charge(key("a"), kind) == ()


async def test_a_tier_that_is_gone_gives_the_least_of_all(clock, caplog):
    charge, caller = limits(clock), key("a", "gold")
    with caplog.at_level(logging.WARNING):
        assert [await passes(charge, caller) for _ in range(3)] == [True, True, False]
    report = await charge.report(caller)
    assert [(use.name, use.limit) for use in report.limits] == [("minute", 2), ("hour", 5), ("day", 6)]
    assert (report.tier, report.priority) == ("gold", "low")
    assert len([record for record in caplog.records if "'gold'" in record.message]) == 1


async def test_another_tier_keeps_what_is_used(clock):
    charge = limits(clock)
    assert await passes(charge, key("a", "small"))
    assert (await charge.report(key("a", "medium"))).limits[0].remaining == 9


async def test_while_the_state_is_away_requests_pass_or_are_refused(clock, caplog):
    caller = key("a", "small")
    with caplog.at_level(logging.WARNING):
        open_ = limits(clock, state=Away(), open_when_away=True)
        for _ in range(20):
            assert await open_(caller, "chat") == ()
    assert len(caplog.records) == 1
    with pytest.raises(StateUnavailable) as caught:
        await limits(clock, state=Away(), open_when_away=False)(caller, "chat")
    assert caught.value.status == 503
    assert caught.value.retry_after
    assert "secret-host" not in caught.value.message


@pytest.mark.parametrize(
    ("caller", "peer", "unit"),
    [
        (key("a"), "203.0.113.7", "key_a"),
        (Caller(user_id="u1"), "203.0.113.7", "user:u1"),
        (Caller(), None, "local"),
        (Caller(), "127.0.0.1", "local"),
        (Caller(), "::1", "local"),
        (Caller(), "::ffff:127.0.0.1", "local"),
        (Caller(), "203.0.113.7", "peer:203.0.113.7"),
        (Caller(), "::ffff:203.0.113.7", "peer:203.0.113.7"),
        (Caller(), "2001:db8:1:2:3:4:5:6", "peer:2001:db8:1:2::"),
        (Caller(), "2001:db8:1:2::9%eth0", "peer:2001:db8:1:2::"),
        (Caller(), "a name", "peer:?"),
    ],
)
def test_whose_requests_are_counted_together(caller, peer, unit):
    assert unit_of(caller, peer) == unit


CARD = ModelCard(id="cloud:one", provider="cloud", name="one")
SMALL = Needs(prompt_tokens=10, expected_output=10)


def provider_limits(clock, *, state=None, open_when_away=True, **rule) -> ProviderLimits:
    return ProviderLimits(
        state=state or MemoryState(clock),
        rules={"cloud": ProviderRule(**rule)},
        tiers=Tiers(TIERS, "free"),
        clock=clock,
        open_when_away=open_when_away,
    )


async def taken(throttle: ProviderLimits, tier: str | None, needs: Needs = SMALL, most: int = 1000) -> int:
    """How often one may take until it is refused."""
    for number in range(most):
        try:
            await throttle.take(CARD, needs, tier)
        except ProviderShort:
            return number
    return most


async def settled(throttle: ProviderLimits) -> None:
    await throttle.close()


async def test_priorities_leave_a_part_for_those_above(clock):
    throttle = provider_limits(clock, requests_per_minute=100)
    assert await taken(throttle, "small") == 70
    assert await taken(throttle, "medium") == 20
    assert await taken(throttle, "free") == 10
    clock.at += 6  # ten more
    assert await taken(throttle, "small") == 0
    assert await taken(throttle, "free") == 10


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_small_limits_are_usable_by_everybody(clock, limit):
    throttle = provider_limits(clock, requests_per_minute=limit, tokens_per_minute=limit)
    assert await taken(throttle, "small", Needs(prompt_tokens=5_000)) >= 1
    clock.at += 600
    assert await taken(throttle, "small", Needs(prompt_tokens=5_000)) >= 1


async def test_a_refusal_names_provider_and_time(clock):
    throttle = provider_limits(clock, requests_per_minute=6)
    await taken(throttle, "free")
    with pytest.raises(ProviderShort) as caught:
        await throttle.take(CARD, SMALL, "free")
    assert (caught.value.provider, caught.value.retry_after) == ("cloud", pytest.approx(10))
    assert "cloud allows" in caught.value.message


async def test_tokens_are_corrected_by_what_was_used(clock):
    throttle = provider_limits(clock, tokens_per_minute=100)
    share = await throttle.take(CARD, SMALL, "free")
    throttle.settle(share, sent=True, tokens=90)
    await settled(throttle)
    assert await taken(throttle, "free") == 0
    share_after = provider_limits(clock, tokens_per_minute=100)
    first = await share_after.take(CARD, Needs(prompt_tokens=90, expected_output=10), "free")
    share_after.settle(first, sent=True, tokens=20)
    await settled(share_after)
    assert await taken(share_after, "free") == 4


async def test_what_was_not_sent_is_given_back(clock):
    throttle = provider_limits(clock, requests_per_minute=3, tokens_per_minute=60)
    shares = [await throttle.take(CARD, SMALL, "free") for _ in range(3)]
    assert await taken(throttle, "free") == 0
    for share in shares:
        throttle.settle(share, sent=False, tokens=None)
    await settled(throttle)
    assert await taken(throttle, "free") == 3


async def test_absurd_usage_costs_a_minute_at_most(clock):
    throttle = provider_limits(clock, tokens_per_minute=100)
    throttle.settle(await throttle.take(CARD, SMALL, "free"), sent=True, tokens=10**9)
    await settled(throttle)
    clock.at += 120
    assert await taken(throttle, "free") == 5


async def test_exactly_as_many_as_a_provider_allows_at_once(clock):
    throttle = provider_limits(clock, requests_per_minute=37)

    async def ask() -> bool:
        try:
            await throttle.take(CARD, SMALL, "free")
        except ProviderShort:
            return False
        return True

    assert sum(await asyncio.gather(*(ask() for _ in range(200)))) == 37


async def test_a_provider_is_believed_for_a_while(clock):
    throttle = provider_limits(clock)
    assert throttle.waiting(CARD) == 0
    throttle.wait(CARD, 20)
    throttle.wait(CARD, 5)
    assert throttle.waiting(CARD) == pytest.approx(20)
    clock.at += 21
    assert throttle.waiting(CARD) == 0
    throttle.wait(CARD, 86_400)
    assert throttle.waiting(CARD) == pytest.approx(300)


async def test_attempts_while_the_state_is_away(clock):
    assert await provider_limits(clock, state=Away(), requests_per_minute=1).take(CARD, SMALL, None) is None
    closed = provider_limits(clock, state=Away(), requests_per_minute=1, open_when_away=False)
    with pytest.raises(StateUnavailable):
        await closed.take(CARD, SMALL, None)
