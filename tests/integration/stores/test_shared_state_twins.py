"""The same random operations on the counters in the process and on Valkey, step by step: every answer must agree."""

from __future__ import annotations

import asyncio
import math
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.core.shared import Amount, Bucket, SharedState, Standing, Taken, Window
from pointsman.stores.memory_state import MemoryState
from pointsman.stores.redis_link import Address
from pointsman.stores.redis_state import RedisState
from services import Valkey

from .shared_states import HandClock

# Nothing here may hang on the time that passes between the two: buckets do not refill, windows last for decades,
# leases end at once or never.
NAMES = st.sampled_from(["a", "b", "c:d", "ü", ""])
COSTS = st.integers(-6, 12)
PARTS = st.sampled_from([-3.5, -0.1, 0.0, 0.1, 1 / 3, 1.0, 2.5, 7.0])
MONEY = st.one_of(st.integers(0, 30), st.sampled_from([2**31, 2**52, 2**53 - 1]))
CAPS = st.one_of(st.none(), st.integers(0, 60), st.just(2**53 - 1))

BUCKETS = st.builds(
    Bucket, key=NAMES, capacity=st.sampled_from([5.0, 10.0, 10.5]), refill=st.just(0.0), cost=PARTS,
    floor=st.sampled_from([0.0, 2.0, 4.5]),
)  # fmt: skip
WINDOWS = st.builds(
    Window, key=NAMES, limit=st.integers(0, 12), seconds=st.sampled_from([10**9, 3 * 10**9]), cost=COSTS
)
LIMITS = st.lists(st.one_of(BUCKETS, WINDOWS), max_size=4)
AMOUNTS = st.lists(st.builds(Amount, total=NAMES, micro_usd=MONEY, cap_micro_usd=CAPS), max_size=4)
SUMS = st.dictionaries(NAMES, MONEY, max_size=3)
DELTAS = st.dictionaries(NAMES, st.integers(-40, 40), max_size=3)
RESERVATIONS = st.sampled_from(["r1", "r2", "r3", "Ж"])

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), LIMITS),
        st.tuples(st.just("charge"), LIMITS),
        st.tuples(st.just("reserve"), RESERVATIONS, AMOUNTS, st.sampled_from([0.0, 10_000.0])),
        st.tuples(st.just("settle"), RESERVATIONS, SUMS),
        st.tuples(st.just("adjust"), DELTAS),
        st.tuples(st.just("seed"), st.dictionaries(NAMES, st.integers(-5, 40), max_size=3)),
        st.tuples(st.just("totals"), st.lists(NAMES, max_size=4)),
        st.tuples(st.just("take_lapsed"), st.integers(1, 3)),
        st.tuples(st.just("once"), NAMES),
        st.tuples(st.just("once_of"), st.sampled_from(["x", "y:n"]), NAMES, st.integers(0, 5)),
    ),
    min_size=1,
    max_size=25,
)


async def do(state: SharedState, step: tuple[Any, ...]) -> object:
    match step:
        case ("take", limits):
            return await state.take(limits)
        case ("charge", limits):
            return await state.charge(limits)
        case ("reserve", name, amounts, lease):
            return await state.reserve(name, amounts, lease_seconds=lease)
        case ("settle", name, actual):
            return await state.settle(name, actual)
        case ("adjust", deltas):
            return await state.adjust(deltas)
        case ("seed", totals):
            return await state.seed(totals, expires_at=state.now() + 1_000)
        case ("totals", names):
            return await state.totals(names)
        case ("take_lapsed", limit):
            return await state.take_lapsed(limit)
        case ("once", key):
            return await state.once(key, seconds=1_000)
        case ("once_of", owner, name, minutes):  # more names than are kept
            at = int(state.now()) // 60 * 60 + 60 * minutes
            return await state.once_of(owner, name, at=at, seconds=3_600, most=3)
    raise AssertionError(step)


def alike(one: Standing, other: Standing) -> bool:
    """Equal but for the moments that lie between the two."""
    times = [(one.reset_after, other.reset_after), (one.retry_after, other.retry_after)]
    return (one.key, one.limit, one.remaining) == (other.key, other.limit, other.remaining) and all(
        a == b or math.isclose(a, b, abs_tol=60) for a, b in times
    )


async def both(server: Valkey, steps: list[tuple[Any, ...]]) -> None:
    clock = HandClock()
    memory = MemoryState(clock)
    valkey = RedisState(Address(server.url), prefix=uuid.uuid4().hex, timeout=10)
    try:
        for step in steps:
            clock.move(0.001)
            one, other = await do(memory, step), await do(valkey, step)
            if isinstance(one, Taken):
                assert isinstance(other, Taken)
                assert one.ok == other.ok, (step, one, other)
                for a, b in zip(one.standings, other.standings, strict=True):
                    assert alike(a, b), (step, one, other)
            else:
                assert one == other, (step, one, other)
    finally:
        await valkey.close()


@pytest.fixture(scope="module")
def runner():  # type: ignore[no-untyped-def]
    with asyncio.Runner() as runner:
        yield runner


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(steps=STEPS)
def test_the_process_and_valkey_answer_alike(
    valkey_server: Valkey, runner: asyncio.Runner, steps: list[tuple[Any, ...]]
) -> None:
    runner.run(both(valkey_server, steps))
