"""Clocks that are set, and nothing that grows for ever."""

from __future__ import annotations

import time
import uuid

import pytest
import redis

from pointsman.core.shared import Amount, Bucket, Window
from pointsman.stores.limit_rules import KEEP_TOTAL
from pointsman.stores.memory_state import MemoryState
from pointsman.stores.redis_link import Address
from pointsman.stores.redis_state import RedisState
from services import Valkey

from .shared_states import HandClock

DAY = 86_400


async def use_everything(state: MemoryState | RedisState) -> None:
    await state.take([Bucket(key="b", capacity=10, refill=2), Bucket(key="never", capacity=9, refill=0)])
    await state.take([Window(key="w", limit=10, seconds=60), Window(key="w", limit=10, seconds=3_600)])
    await state.charge([Bucket(key="debt", capacity=10, refill=1, cost=25)])
    await state.seed({"t": 1, "old": 1}, expires_at=state.now() + DAY)
    await state.seed({"gone": 1}, expires_at=0)
    await state.reserve("held", [Amount(total="t", micro_usd=1)], lease_seconds=600)
    await state.once("n", seconds=30)
    for name in ("one", "two"):
        await state.once_of("key", name, at=int(state.now()), seconds=300, most=1)
    await state.ping()


async def test_every_key_on_the_server_has_an_end(valkey_server: Valkey) -> None:
    prefix = uuid.uuid4().hex
    state = RedisState(Address(valkey_server.url), prefix=prefix)
    await use_everything(state)
    await state.close()
    with redis.Redis(port=valkey_server.port, decode_responses=True) as client:
        run = client.info("server")["run_id"]
        ends = {
            key.removeprefix(f"{{{prefix}}}:").replace(run, "RUN"): client.pttl(key) / 1_000
            for key in client.keys(f"{{{prefix}}}:*")
        }
    assert set(ends) == {
        "b:b", "b:never", "b:debt", "w:60:w", "w:3600:w", "t:RUN:t", "t:RUN:old", "t:RUN:gone", "n:n",
        "o:key", "f:key", "reservations:RUN", "leases:RUN", "probe", "known:RUN",
    }  # fmt: skip
    assert min(ends.values()) > 0
    assert ends["b:b"] <= 0.5
    assert 20 < ends["b:debt"] <= 25
    assert ends["w:60:w"] <= 60
    assert DAY + KEEP_TOTAL - 60 < ends["t:RUN:t"] <= DAY + KEEP_TOTAL
    assert 3_000 < ends["t:RUN:gone"] <= 3_600, "whoever seeds the past must not seed for ever"
    assert 7 * DAY < ends["reservations:RUN"] < 15 * DAY
    assert ends["n:n"] <= 30
    assert ends["f:key"] <= 601 < ends["o:key"] <= 660, "a name may be of as long from now, and is kept as long after"
    assert 6 * DAY < ends["known:RUN"] <= 7 * DAY


async def test_nothing_is_left_in_the_process_when_its_time_is_up() -> None:
    clock = HandClock()
    state = MemoryState(clock)
    for number in range(2_000):
        await state.take(
            [Bucket(key=f"b{number}", capacity=2, refill=1), Window(key=f"w{number}", limit=5, seconds=60)]
        )
        await state.once(f"n{number}", seconds=30)
        await state.once_of(f"key{number % 10}", f"n{number}", at=int(clock.now()), seconds=30, most=150)
        await state.seed({f"t{number}": 1}, expires_at=clock.now())
        await state.reserve(f"r{number}", [Amount(total=f"t{number}", micro_usd=1)], lease_seconds=1)
        await state.settle(f"r{number}", {})
    assert state.held() == 8_000 + 10 * 150
    clock.move(40 * DAY)
    for _ in range(2_000):
        await state.take([Bucket(key="b", capacity=2, refill=1, cost=0), Window(key="w", limit=5, seconds=60, cost=0)])
        await state.once("n", seconds=1)
        await state.once_of("key0", "n", at=int(clock.now()), seconds=1, most=150)
        await state.reserve("r", [Amount(total="t", micro_usd=1)], lease_seconds=1)
        clock.move(0.001)
    assert state.held() <= 6, "nothing of those who asked no more"


async def test_a_clock_set_back_neither_frees_nor_stops_the_process() -> None:
    clock = HandClock()
    state = MemoryState(clock)
    limit = Window(key="w", limit=2, seconds=60)
    assert (await state.take([limit])).ok
    before = state.now()
    clock.wall -= 3_600
    assert state.now() >= before
    assert (await state.take([limit])).ok
    assert not (await state.take([limit])).ok, "the window did not begin again"
    told = [state.now()]
    for _ in range(240):
        clock.move(1)
        told.append(state.now())
    assert told == sorted(told)
    assert told[-1] - told[0] >= 119, "time goes on, at half speed at least"
    assert (await state.take([limit])).ok
    clock.move(7_200)
    assert state.now() == clock.now(), "and the two meet again"


async def test_a_clock_set_forward_is_followed() -> None:
    clock = HandClock()
    state = MemoryState(clock)
    limit = Window(key="w", limit=1, seconds=60)
    assert (await state.take([limit])).ok
    fast = Bucket(key="b", capacity=10, refill=1, cost=10)
    assert (await state.take([fast])).ok
    clock.wall += 3_600
    assert state.now() == clock.now()
    assert (await state.take([limit])).ok
    assert not (await state.take([fast])).ok, "a bucket is filled by what passes, not by what a clock is set to"


async def test_a_server_whose_clock_was_set_back(valkey_server: Valkey) -> None:
    """As its keys look then: written at a time that is yet to come."""
    prefix = uuid.uuid4().hex
    state = RedisState(Address(valkey_server.url), prefix=prefix)
    await state.ping()
    later = state.now() + 7_200
    with redis.Redis(port=valkey_server.port) as client:
        client.set(f"{{{prefix}}}:b:b", f"0 {later!r}")
        client.set(f"{{{prefix}}}:w:60:w", f"{int(later // 60)} 5")
    bucket, window = Bucket(key="b", capacity=10, refill=50), Window(key="w", limit=5, seconds=60)
    assert not (await state.take([bucket])).ok
    assert not (await state.take([window])).ok, "what was counted counts on"
    deadline = time.monotonic() + 20
    while not (await state.take([bucket])).ok:  # it fills from now on, not two hours later
        assert time.monotonic() < deadline
    await state.charge([Window(key="w", limit=5, seconds=60, cost=-1)])
    with redis.Redis(port=valkey_server.port) as client:
        number, count = client.get(f"{{{prefix}}}:w:60:w").split()
    assert int(number) == pytest.approx(state.now() // 60, abs=1)
    assert int(count) == 4
    await state.close()


async def test_the_time_is_the_servers(valkey_server: Valkey) -> None:
    state = RedisState(Address(valkey_server.url), prefix=uuid.uuid4().hex)
    await state.ping()
    with redis.Redis(port=valkey_server.port) as client:
        seconds, micros = client.time()
    assert state.now() == pytest.approx(seconds + micros / 1e6, abs=5)
    told = [state.now() for _ in range(100)]
    assert told == sorted(told)
    await state.close()
