"""What the stores of shared state have in common: how a limit is judged, what may be asked, how long things are kept.

`lua/_rules.lua` and `lua/_limits.lua` say the same to Redis; tests drive both with the same operations and compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from pointsman.core.shared import Amount, Bucket, Limit, Standing, Taken, Window

SLACK = 1e-6
"""Part of a token that rounding may eat: ten refills of 0.1 must make one token."""

EXACT = 2**53 - 1
"""The largest sum that Redis' scripts compute exactly, in micro-dollars: about nine billion dollars."""

DAY = 86_400.0

KEEP_BUCKET = 31 * DAY
"""Seconds that a bucket is remembered at most while nobody draws from it; the others are forgotten when full."""

KEEP_TOTAL = 7 * DAY
"""Seconds that a total outlives its period, for answers that end after it and for corrections."""

SHORTEST_TOTAL = 3_600.0
"""Seconds that a total is kept at least, so that seeding one of a period long past helps whoever asked."""


def bucket_wait(limit: Bucket, level: float) -> float:
    """Seconds until a bucket at `level` bears the cost; infinite when it never will."""
    missing = limit.cost + limit.floor - level
    if missing <= SLACK:
        return 0.0
    if limit.cost + limit.floor > limit.capacity + SLACK or limit.refill <= 0:
        return math.inf
    return missing / limit.refill


def window_wait(limit: Window, count: int, reset_after: float) -> float:
    """Seconds until a window that holds `count` bears the cost; infinite when none ever will."""
    if count + limit.cost <= limit.limit:
        return 0.0
    return math.inf if limit.cost > limit.limit else reset_after


def bucket_standing(limit: Bucket, level: float, retry_after: float) -> Standing:
    missing = limit.capacity - level
    return Standing(
        key=limit.key,
        limit=int(limit.capacity),
        remaining=max(0, math.floor(level - limit.floor + SLACK)),
        reset_after=0.0 if missing <= 0 else missing / limit.refill if limit.refill > 0 else math.inf,
        retry_after=retry_after,
    )


def window_standing(limit: Window, count: int, reset_after: float, retry_after: float) -> Standing:
    return Standing(
        key=limit.key,
        limit=limit.limit,
        remaining=max(0, limit.limit - count),
        reset_after=reset_after,
        retry_after=retry_after,
    )


WindowKey = tuple[int, str]
Work = dict[str | WindowKey, float]
"""What each limit holds afterwards: a bucket's key → its level, a window's seconds and key → its count."""


def judge(limits: Sequence[Limit], found: Sequence[float], now: float) -> tuple[Taken, Work]:
    """What comes of a take.

    Args:
        found: each bucket's level and each window's count now, in order.
        now: seconds since the epoch.
    """
    waits: list[float] = []
    work: Work = {}
    for limit, value in zip(limits, found, strict=True):
        if isinstance(limit, Bucket):
            value = work.get(limit.key, value)
            wait = bucket_wait(limit, value)
            if not wait:
                work[limit.key] = min(limit.capacity, value - limit.cost)
        else:
            key = (limit.seconds, limit.key)
            value = work.get(key, value)
            wait = window_wait(limit, int(value), limit.seconds - now % limit.seconds)
            if not wait:
                work[key] = max(0, value + limit.cost)
        waits.append(wait)
    ok = not any(waits)
    standings: list[Standing] = []
    for limit, value, wait in zip(limits, found, waits, strict=True):
        if isinstance(limit, Bucket):
            standings.append(bucket_standing(limit, work[limit.key] if ok else value, wait))
        else:
            value = work[limit.seconds, limit.key] if ok else value
            standings.append(window_standing(limit, int(value), limit.seconds - now % limit.seconds, wait))
    return Taken(ok=ok, standings=tuple(standings)), work


def check_amounts(amounts: Sequence[Amount]) -> None:
    """
    Raises:
        ValueError: an amount is negative, or too large to be counted exactly.
    """
    for amount in amounts:
        if not 0 <= amount.micro_usd <= EXACT:
            raise ValueError(f"{amount.total}: {amount.micro_usd} micro-dollars cannot be reserved")


def check_sums(sums: Iterable[int]) -> None:
    """
    Raises:
        ValueError: a sum is too large to be counted exactly.
    """
    for value in sums:
        if not -EXACT <= value <= EXACT:
            raise ValueError(f"{value} micro-dollars cannot be counted exactly")


def settled_deltas(reserved: Mapping[str, int], actual: Mapping[str, int]) -> dict[str, int]:
    """What settling adds to each total. A total that was used without being reserved is raised by what was used."""
    return {name: actual.get(name, 0) - reserved.get(name, 0) for name in {**reserved, **actual}}
