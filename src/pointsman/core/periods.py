"""Days and months in UTC, as budgets count them."""

from __future__ import annotations

import calendar
import time
from functools import lru_cache
from typing import NamedTuple


class Period(NamedTuple):
    """The day and the month of a moment, and when each ends, in seconds since the epoch."""

    day: str
    """`2026-11-22`."""
    month: str
    """`2026-11`."""
    day_ends: float
    month_ends: float


def period_of(now: float) -> Period:
    """The period that a moment lies in; leap seconds do not exist in this count."""
    return _period(int(now // 86_400))


@lru_cache(maxsize=8)
def _period(number: int) -> Period:
    date = time.gmtime(number * 86_400)
    year, month = date.tm_year, date.tm_mon
    following = (year + month // 12, month % 12 + 1)
    ends = calendar.timegm((*following, 1, 0, 0, 0))
    return Period(
        f"{year:04d}-{month:02d}-{date.tm_mday:02d}", f"{year:04d}-{month:02d}", (number + 1) * 86_400.0, float(ends)
    )


def bounds_of(period: str) -> tuple[float, float]:
    """When a day (`2026-11-22`) or a month (`2026-11`) begins and ends, in seconds since the epoch.

    Raises:
        ValueError: there is no such day or month.
    """
    date = time.strptime(period, "%Y-%m-%d" if len(period) == 10 else "%Y-%m")
    begins = float(calendar.timegm(date))
    found = period_of(begins)
    return begins, found.day_ends if len(period) == 10 else found.month_ends


def shown_time(at: float) -> str:
    """A moment for people: `2026-12-01 00:00 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
