"""Who is asked next, and after what pause."""

from __future__ import annotations

import pytest

from pointsman.core.errors import (
    CircuitOpen,
    EngineDied,
    EngineError,
    Overloaded,
    ProviderShort,
    UpstreamBroken,
    UpstreamClosed,
    UpstreamConnectError,
    UpstreamLacks,
    UpstreamProtocolError,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.pipeline.execute.order import DOUBLED_AT_MOST, Order, Retries, can_help


def order(*plan: str, most: int = 1, longest: float = 10.0, chance: float = 0.0) -> Order:
    return Order(plan, Retries(most=most, longest=longest), lambda: chance)


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        (UpstreamConnectError(), True),
        (UpstreamStatus(408, b""), True),
        (UpstreamStatus(409, b""), True),
        (UpstreamStatus(429, b""), True),
        (UpstreamStatus(500, b""), True),
        (UpstreamStatus(529, b""), True),
        (UpstreamBroken(), True),
        (UpstreamClosed(), True),
        (UpstreamProtocolError(), True),
        (UpstreamTimeout("connect", 1), True),
        (Overloaded(), True),
        (ProviderShort("a", "short", retry_after=1), True),
        (UpstreamStatus(400, b""), False),
        (UpstreamStatus(401, b""), False),
        (UpstreamStatus(404, b""), False),
        (UpstreamStatus(501, b""), False),
        (UpstreamTimeout("first_byte", 1), False),
        (UpstreamTimeout("between_bytes", 1), False),
        (UpstreamTimeout("total", 1), False),
        (UpstreamLacks("seed"), False),
        (EngineError(), False),
        (EngineDied(), True),
        (CircuitOpen(retry_after=1), False),
    ],
    ids=repr,
)
def test_the_same_is_asked_again_only_where_that_can_help(error, helps):
    assert can_help(error) is helps
    tried = order("a")
    assert tried.following(0.0) == ("a", 0.0)
    tried.failed("a", error, 0.0)
    assert (tried.following(100.0) is not None) is helps


def test_a_short_pause_goes_before_another_model():
    tried = order("a", "b")
    assert tried.following(0.0) == ("a", 0.0)
    tried.failed("a", UpstreamStatus(500, b""), 1.0)
    model, wait = tried.following(1.0)
    assert model == "a"
    assert 0.1 <= wait <= 0.25
    tried.failed("a", UpstreamStatus(500, b""), 2.0)
    assert tried.following(2.0) == ("b", 0.0)


def test_what_asks_us_to_wait_is_asked_after_everybody_else():
    tried = order("a", "b")
    tried.following(0.0)
    tried.failed("a", UpstreamStatus(429, b"", retry_after=3), 0.0)
    assert tried.following(0.0) == ("b", 0.0)
    tried.failed("b", UpstreamStatus(404, b""), 1.0)
    assert tried.following(1.0) == ("a", pytest.approx(2.0))
    tried.failed("a", UpstreamStatus(429, b"", retry_after=3), 3.0)
    assert tried.following(100.0) is None


def test_nobody_waits_longer_than_the_settings_say():
    tried = order("a", longest=2.0)
    tried.following(0.0)
    tried.failed("a", UpstreamStatus(429, b"", retry_after=2.5), 0.0)
    assert tried.following(0.0) is None


def test_pauses_double_up_to_a_bound_and_are_drawn():
    longest, shortest = order("a", most=10, chance=1.0), order("a", most=10, chance=0.0)
    waits = []
    for tried in (longest, shortest):
        now, found = 0.0, []
        tried.following(now)
        for _ in range(8):
            tried.failed("a", UpstreamStatus(500, b""), now)
            _, wait = tried.following(now)
            found.append(wait)
            now += wait
        waits.append(found)
    assert waits[0][:3] == [pytest.approx(0.25), pytest.approx(0.5), pytest.approx(1.0)]
    assert max(waits[0]) == DOUBLED_AT_MOST
    assert waits[1] == [pytest.approx(wait / 2) for wait in waits[0]]


def test_those_who_were_told_the_same_time_come_back_apart():
    waits = []
    for chance in (0.0, 0.5, 0.99):
        tried = order("a", chance=chance)
        tried.following(0.0)
        tried.failed("a", UpstreamStatus(429, b"", retry_after=4), 0.0)
        waits.append(tried.following(0.0)[1])
    assert waits == sorted(waits)
    assert waits[0] >= 4.0
    assert len(set(waits)) == 3


def test_who_broke_off_in_the_middle_is_asked_last():
    tried = order("a", "b")
    tried.following(0.0)
    tried.failed("a", UpstreamBroken(), 0.0)
    tried.behind("a")
    assert tried.following(0.0) == ("b", 0.0)


def test_without_retries_each_is_asked_once():
    tried = order("a", "b", most=0)
    assert tried.more
    assert tried.following(0.0) == ("a", 0.0)
    tried.failed("a", UpstreamConnectError(), 0.0)
    assert tried.following(0.0) == ("b", 0.0)
    assert not tried.more
    assert tried.following(0.0) is None


def test_a_fresh_model_is_taken_once():
    tried = order("a", "b", "c")
    tried.following(0.0)
    assert tried.take_fresh(lambda model: model == "c") == "c"
    assert tried.take_fresh(lambda model: model == "c") is None
    assert tried.take_fresh(lambda model: True) == "b"
    assert tried.take_fresh(lambda model: True) is None
