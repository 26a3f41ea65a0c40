"""How a caller's limits stand, as headers.

`RateLimit-Policy` and `RateLimit` are the structured fields of draft-ietf-httpapi-ratelimit-headers (from its 8th
version on): `"minute";q=20;w=60` and `"minute";r=19;t=41`. The three plain `RateLimit-*` ones of its versions up to the
6th are what most clients read, and `x-ratelimit-*-requests` are OpenAI's. Those six tell of the limit that presses
most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pointsman.core.shared import Limit, Standing, Window
from pointsman.core.usage import LimitUse


def most_pressing(standings: Sequence[Standing]) -> int:
    """Which limit ends first: of a refusal the one to wait longest for, else the one with the least left."""
    return min(
        range(len(standings)),
        key=lambda at: (-standings[at].retry_after, standings[at].remaining, -standings[at].reset_after),
    )


def policy_field(names: Sequence[str], limits: Sequence[tuple[int, float]]) -> bytes:
    """The constant part: quota and window of every limit.

    Args:
        limits: the quota of each, and the seconds in which it comes back.
    """
    return ", ".join(
        f'"{name}";q={quota};w={max(1, math.ceil(seconds))}'
        for name, (quota, seconds) in zip(names, limits, strict=True)
    ).encode()


def standing_headers(
    policy: bytes, names: Sequence[str], standings: Sequence[Standing]
) -> tuple[tuple[bytes, bytes], ...]:
    pressing = standings[most_pressing(standings)]
    reset = math.ceil(pressing.reset_after)
    limit, remaining = b"%d" % pressing.limit, b"%d" % pressing.remaining
    now = ", ".join(
        f'"{name}";r={standing.remaining};t={math.ceil(standing.reset_after)}'
        for name, standing in zip(names, standings, strict=True)
    ).encode()
    return (
        (b"ratelimit-policy", policy),
        (b"ratelimit", now),
        (b"ratelimit-limit", limit),
        (b"ratelimit-remaining", remaining),
        (b"ratelimit-reset", b"%d" % reset),
        (b"x-ratelimit-limit-requests", limit),
        (b"x-ratelimit-remaining-requests", remaining),
        (b"x-ratelimit-reset-requests", _duration(reset)),
    )


def uses(
    names: Sequence[str], limits: Sequence[Limit], standings: Sequence[Standing], now: float
) -> tuple[LimitUse, ...]:
    """The standings in words for reports.

    Args:
        now: the store's clock, a moment after the standings were taken.
    """
    return tuple(
        LimitUse(
            name=name,
            limit=standing.limit,
            used=max(0, standing.limit - standing.remaining),
            remaining=standing.remaining,
            reset_at=_reset_at(limit, now + standing.reset_after),
        )
        for name, limit, standing in zip(names, limits, standings, strict=True)
    )


def _reset_at(limit: Limit, about: float) -> float:
    """A window starts anew at a multiple of its length, however long the answer took."""
    return float(round(about / limit.seconds) * limit.seconds) if isinstance(limit, Window) else about


def _duration(seconds: int) -> bytes:
    """As OpenAI writes them: `59s`, `6m0s`, `1h2m3s`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return b"%dh%dm%ds" % (hours, minutes, rest)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest
