"""What holds of limits, budgets and nonces wherever they are counted: in the process and on Valkey."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable

import pytest

from pointsman.core.shared import Amount, Bucket, Lapsed, Reserved, Window
from pointsman.stores.limit_rules import EXACT

from .shared_states import Counters, all_remaining, in_memory, on_valkey

DAY = 86_400


@pytest.fixture(params=["memory", "valkey"])
async def counters(request: pytest.FixtureRequest) -> AsyncIterator[Counters]:
    subject = in_memory() if request.param == "memory" else on_valkey(request.getfixturevalue("valkey_server"))
    yield subject
    await subject.close()


def bucket(key: str = "b", capacity: float = 10, refill: float = 0.001, **rest: float) -> Bucket:
    return Bucket(key=key, capacity=capacity, refill=refill, **rest)


def window(key: str = "w", limit: int = 3, seconds: int = DAY, cost: int = 1) -> Window:
    return Window(key=key, limit=limit, seconds=seconds, cost=cost)


async def test_all_limits_are_charged_or_none(counters: Counters) -> None:
    tight, wide = window("tight", 2), window("wide", 100)
    for left in (1, 0):
        taken = await counters.take(bucket(cost=2), wide, tight)
        assert taken.ok
        assert [standing.remaining for standing in taken.standings][2] == left
    refused = await counters.take(bucket(cost=2), wide, tight)
    assert not refused.ok
    assert [standing.key for standing in refused.standings] == ["b", "wide", "tight"]
    assert [standing.remaining for standing in refused.standings] == [6, 98, 0]
    assert [standing.retry_after > 0 for standing in refused.standings] == [False, False, True]
    assert refused.standings[2].retry_after == pytest.approx(refused.standings[2].reset_after, abs=1e-6)
    assert 0 < refused.standings[2].reset_after <= DAY
    assert await all_remaining(counters.state, [bucket(cost=0), window("wide", 100, cost=0)]) == [6, 98]


async def test_no_limits_refuse_nothing(counters: Counters) -> None:
    assert (await counters.take()).ok
    await counters.state.charge([])


async def test_a_bucket_is_full_at_first_and_refills_evenly(counters: Counters) -> None:
    fast = bucket(capacity=4, refill=10, cost=4)
    taken = await counters.take(fast)
    assert taken.ok
    assert taken.standings[0].limit == 4
    assert taken.standings[0].remaining == 0
    assert taken.standings[0].reset_after == pytest.approx(0.4)
    refused = await counters.take(fast)
    assert not refused.ok
    assert 0 < refused.standings[0].retry_after <= 0.4
    await counters.wait(refused.standings[0].retry_after)
    assert (await counters.take(fast)).ok


async def test_refills_of_parts_of_a_token_add_up(counters: Counters) -> None:
    slow = bucket(capacity=1, refill=5)
    assert (await counters.take(slow)).ok
    for _ in range(10):
        await counters.wait(0.02)
        await counters.state.charge([bucket(capacity=1, refill=5, cost=0)])  # the level is written each time
    assert (await counters.take(slow)).ok


async def test_the_floor_is_kept_from_those_who_may_not_touch_it(counters: Counters) -> None:
    assert (await counters.take(bucket(floor=4, cost=6))).ok
    refused = await counters.take(bucket(floor=4))
    assert not refused.ok
    assert refused.standings[0].remaining == 0
    taken = await counters.take(bucket(cost=4))
    assert taken.ok
    assert taken.standings[0].remaining == 0


@pytest.mark.parametrize(
    "limit", [bucket(cost=11), bucket(floor=9, cost=2), bucket(refill=0, cost=11), window(cost=4), window(limit=0)]
)
async def test_a_cost_that_no_refill_bears_is_refused_for_ever(counters: Counters, limit: Bucket | Window) -> None:
    refused = await counters.take(limit)
    assert not refused.ok
    assert refused.standings[0].retry_after == math.inf


async def test_a_bucket_without_refill_stays_empty(counters: Counters) -> None:
    assert (await counters.take(bucket(refill=0, cost=10))).ok
    refused = await counters.take(bucket(refill=0))
    assert not refused.ok
    assert refused.standings[0].retry_after == math.inf
    assert refused.standings[0].reset_after == math.inf


async def test_a_window_starts_anew(counters: Counters) -> None:
    short = window(limit=1, seconds=1)
    for _ in range(50):  # the store's second may end between the two
        if (await counters.take(short)).ok and not (refused := await counters.take(short)).ok:
            break
    assert 0 < refused.standings[0].retry_after <= 1
    await counters.wait(refused.standings[0].retry_after)
    assert (await counters.take(short)).ok


async def test_windows_of_one_key_and_several_lengths_are_apart(counters: Counters) -> None:
    taken = await counters.take(window("k", 5, 60), window("k", 9, 3_600), window("k", 12, DAY), bucket("k"))
    assert [standing.remaining for standing in taken.standings] == [4, 8, 11, 9]


async def test_one_limit_named_twice_is_charged_twice(counters: Counters) -> None:
    assert not (await counters.take(bucket(cost=6), bucket(cost=6), window())).ok
    taken = await counters.take(bucket(cost=5), bucket(cost=5), window(), window())
    assert taken.ok
    assert [standing.remaining for standing in taken.standings] == [0, 0, 1, 1]


async def test_giving_back_never_lifts_above_what_was_there_at_first(counters: Counters) -> None:
    await counters.take(bucket(cost=2), window(cost=2))
    await counters.state.charge([bucket(cost=-50), window(cost=-50), bucket("unknown", cost=-1)])
    limits = [bucket(cost=0), window(cost=0), bucket("unknown", cost=0)]
    assert await all_remaining(counters.state, limits) == [10, 3, 10]
    assert not (await counters.take(bucket(cost=10.5))).ok
    assert not (await counters.take(window(cost=4))).ok


async def test_what_turned_out_dearer_is_a_debt(counters: Counters) -> None:
    fast = bucket(capacity=10, refill=20)
    await counters.state.charge([bucket(capacity=10, refill=20, cost=14), window(cost=5)])
    refused = await counters.take(fast)
    assert not refused.ok
    assert refused.standings[0].remaining == 0
    assert 0.05 < refused.standings[0].retry_after <= 0.25
    await counters.wait(refused.standings[0].retry_after)
    assert (await counters.take(fast)).ok
    assert not (await counters.take(window())).ok


async def reserve(
    counters: Counters, name: str, *, lease: float = 600, cap: int | None = None, **totals: int
) -> Reserved:
    amounts = [Amount(total=total, micro_usd=value, cap_micro_usd=cap) for total, value in totals.items()]
    return await counters.state.reserve(name, amounts, lease_seconds=lease)


async def test_reserving_raises_every_total_or_none(counters: Counters) -> None:
    await counters.seed(a=0, b=90)
    done = await reserve(counters, "one", cap=100, a=10, b=10)
    assert done.ok
    assert done.totals == {"a": 10, "b": 100}
    refused = await reserve(counters, "two", cap=100, a=10, b=1)
    assert not refused.ok
    assert refused.refused == "b"
    assert refused.unseeded == ()
    assert refused.totals == {"a": 10, "b": 100}
    assert await counters.state.totals(["a", "b", "c"]) == {"a": 10, "b": 100, "c": None}
    assert not await counters.state.settle("two", {"a": 1})


async def test_asking_twice_under_one_name_counts_once(counters: Counters) -> None:
    await counters.seed(a=0)
    for _ in range(3):
        again = await reserve(counters, "same", cap=10, a=10)
        assert again.ok
        assert again.totals == {"a": 10}
    assert await counters.state.settle("same", {"a": 4})
    assert await counters.total("a") == 4


async def test_settling_twice_counts_once(counters: Counters) -> None:
    await counters.seed(a=5, b=5)
    await reserve(counters, "r", a=100, b=100)
    assert await counters.state.settle("r", {"a": 7})
    assert not await counters.state.settle("r", {"a": 7})
    assert await counters.state.totals(["a", "b"]) == {"a": 12, "b": 5}


async def test_more_than_was_reserved_may_be_used(counters: Counters) -> None:
    await counters.seed(a=0, elsewhere=1)
    await reserve(counters, "r", cap=10, a=10)
    assert await counters.state.settle("r", {"a": 25, "elsewhere": 3, "unknown": 9})
    assert await counters.state.totals(["a", "elsewhere", "unknown"]) == {"a": 25, "elsewhere": 4, "unknown": None}
    assert (await reserve(counters, "s", cap=10, a=1)).refused == "a"


async def test_what_is_free_passes_a_cap_that_is_reached(counters: Counters) -> None:
    await counters.seed(a=20)
    assert (await reserve(counters, "free", cap=10, a=0)).ok
    assert await counters.state.settle("free", {})
    assert await counters.total("a") == 20


async def test_one_total_may_stand_under_two_caps(counters: Counters) -> None:
    await counters.seed(a=0)
    amounts = [Amount(total="a", micro_usd=6, cap_micro_usd=20), Amount(total="a", micro_usd=6, cap_micro_usd=10)]
    assert (await counters.state.reserve("r", amounts, lease_seconds=9)).refused == "a"
    assert (await counters.state.reserve("r", list(reversed(amounts)), lease_seconds=9)).totals == {"a": 12}
    assert await counters.state.settle("r", {"a": 1})
    assert await counters.total("a") == 1


async def test_totals_that_are_not_known_are_told_at_once_and_nothing_is_raised(counters: Counters) -> None:
    await counters.seed(known=3)
    told = await reserve(counters, "r", known=1, new=1, newer=1)
    assert not told.ok
    assert told.refused is None
    assert told.unseeded == ("new", "newer")
    assert told.totals == {"known": 3}
    assert await counters.total("known") == 3
    assert not await counters.state.settle("r", {})


async def test_seeding_leaves_what_is_known(counters: Counters) -> None:
    await counters.seed(a=5)
    await counters.twin.seed({"a": 900, "b": 1}, expires_at=counters.state.now() + 60)
    assert await counters.state.totals(["a", "b"]) == {"a": 5, "b": 1}


async def test_of_many_who_seed_at_once_one_counts(counters: Counters) -> None:
    until = counters.state.now() + 60
    await asyncio.gather(
        *((counters.state, counters.twin)[n % 2].seed({"a": n}, expires_at=until) for n in range(1, 41))
    )
    first = await counters.total("a")
    assert first in range(1, 41)
    assert (await counters.twin.totals(["a"]))["a"] == first


async def test_adjusting_adds_to_what_is_known_alone(counters: Counters) -> None:
    await counters.seed(a=5)
    await counters.state.adjust({"a": -7, "unknown": 3})
    await counters.state.adjust({})
    assert await counters.state.totals(["a", "unknown"]) == {"a": -2, "unknown": None}


async def test_lapsed_reservations_are_handed_to_one_alone(counters: Counters) -> None:
    await counters.seed(a=0, b=0)
    for number in range(40):
        await reserve(counters, f"r{number:02}", lease=0.01, a=number, b=1)
    await reserve(counters, "stays", lease=600, a=1)
    await counters.wait(0.02)
    takers = [(counters.state, counters.twin)[n % 2].take_lapsed(7) for n in range(8)]
    handed = [lapsed for part in await asyncio.gather(*takers) for lapsed in part]
    assert sorted(lapsed.reservation for lapsed in handed) == [f"r{number:02}" for number in range(40)]
    by_name = {lapsed.reservation: lapsed for lapsed in handed}
    assert by_name["r07"] == Lapsed(
        reservation="r07", amounts=(Amount(total="a", micro_usd=7), Amount(total="b", micro_usd=1))
    )
    assert await counters.state.take_lapsed() == []
    assert await counters.state.totals(["a", "b"]) == {"a": sum(range(40)) + 1, "b": 40}, "they still stand"
    assert not await counters.state.settle("r07", {})
    assert await counters.state.settle("stays", {})


async def test_the_longest_lapsed_come_first(counters: Counters) -> None:
    await counters.seed(a=0)
    for name, lease in (("c", 0.003), ("a", 0.002), ("b", 0.001)):
        await reserve(counters, name, lease=lease, a=1)
    await counters.wait(0.02)
    if counters.clock is not None:
        assert [lapsed.reservation for lapsed in await counters.state.take_lapsed(2)] == ["b", "a"]
    else:
        assert len(await counters.state.take_lapsed(2)) == 2
    assert len(await counters.state.take_lapsed()) == 1


async def test_sums_are_exact(counters: Counters) -> None:
    near = EXACT - 10
    await counters.seed(a=near)
    assert (await reserve(counters, "r", cap=EXACT, a=10)).totals == {"a": EXACT}
    assert (await reserve(counters, "s", cap=EXACT, a=1)).refused == "a"
    assert (await reserve(counters, "t", a=1)).refused == "a", "beyond it nothing could be counted"
    assert await counters.state.settle("r", {"a": 3})
    assert await counters.total("a") == near + 3
    await counters.state.adjust({"a": -EXACT})
    assert await counters.total("a") == near + 3 - EXACT


async def test_what_cannot_be_counted_is_refused(counters: Counters) -> None:
    await counters.seed(a=0)
    for wrong in (-1, EXACT + 1):
        with pytest.raises(ValueError, match="micro-dollars"):
            await reserve(counters, "r", a=wrong)
    for step in (counters.state.settle("r", {"a": EXACT + 1}), counters.state.adjust({"a": -EXACT - 1})):
        with pytest.raises(ValueError, match="micro-dollars"):
            await step
    assert await counters.total("a") == 0


HOSTILE = [
    "",
    " ",
    "a",
    "a:b",
    "b:a",
    "60:a",
    ":",
    "{x}",
    "}:t:a",
    "a\nb",
    "a\x00b",
    "a 1",
    "ключ",
    "🔑",
    "\ud800",
    "*",
]


async def test_no_name_reaches_another_ones_key(counters: Counters) -> None:
    for number, name in enumerate(HOSTILE):
        await counters.state.charge([bucket(name, 1_000, cost=number), window(name, 1_000, 60 * 10**6, cost=number)])
        await counters.state.seed({name: number}, expires_at=counters.state.now() + 60)
        assert await counters.state.once(name, seconds=60)
        amounts = [Amount(total=name, micro_usd=1_000)]
        assert (await counters.state.reserve(name, amounts, lease_seconds=0.001)).ok
    limits = [
        limit for name in HOSTILE for limit in (bucket(name, 1_000, cost=0), window(name, 1_000, 60 * 10**6, cost=0))
    ]
    expected = [1_000 - number for number in range(len(HOSTILE)) for _ in "bw"]
    assert await all_remaining(counters.state, limits) == expected
    assert await counters.state.totals(HOSTILE) == {name: 1_000 + number for number, name in enumerate(HOSTILE)}
    await counters.wait(0.01)
    lapsed = {found.reservation: found.amounts for found in await counters.state.take_lapsed()}
    assert lapsed == {name: (Amount(total=name, micro_usd=1_000),) for name in HOSTILE}


async def test_a_name_that_was_forgotten_is_never_new_again(counters: Counters) -> None:
    now = int(counters.state.now())

    async def seen(name: str, at: int, owner: str = "key") -> str:
        return await counters.twin.once_of(owner, name, at=now + at, seconds=300, most=3)

    assert [await seen(f"n{at}", at) for at in (0, 2, 1)] == ["first"] * 3
    assert [await seen(f"n{at}", at) for at in (0, 2, 1)] == ["again"] * 3
    assert await seen("n3", 3) == "first", "for which the one that was made first goes"
    assert [await seen(f"n{at}", at) for at in (0, 2, 1)] == ["unknown", "again", "again"]
    assert await seen("another", 0) == "unknown", "made no later than what was forgotten"
    assert await seen("late", 1) == "first", "and is forgotten at once, or another of its second"
    assert {await seen("late", 1), await seen("n1", 1)} <= {"again", "unknown"}
    assert await seen("n0", 0, owner="another key") == "first"
    assert [await seen(f"n{at}", at) for at in range(4, 40)] == ["first"] * 36
    assert [await seen(f"n{at}", at) for at in range(4, 40)] == ["unknown"] * 33 + ["again"] * 3


async def test_a_name_is_remembered_as_long_as_it_can_come_again(counters: Counters) -> None:
    made = int(counters.state.now())

    def seen(name: str, at: int, seconds: float = 300) -> Awaitable[str]:
        return counters.state.once_of("key", name, at=made + at, seconds=seconds, most=100)

    assert [await seen("long ago", -250), await seen("early", 250)] == ["first"] * 2
    await counters.wait(0.1)
    assert [await seen("long ago", -250), await seen("early", 250)] == ["again"] * 2
    assert await seen("another", 0, seconds=200) == "first", "and lets go of what is too old for it"
    assert [await seen("early", 250), await seen("long ago", -250)] == ["again", "first"]


async def test_a_nonce_is_new_once(counters: Counters) -> None:
    assert await counters.state.once("n", seconds=0.2)
    seen = await asyncio.gather(*(counters.twin.once("m", seconds=60) for _ in range(20)))
    assert sum(seen) == 1
    assert not await counters.state.once("m", seconds=60)
    await counters.wait(0.2)
    assert await counters.state.once("n", seconds=0.2)


async def test_five_hundred_at_once_against_a_cap_for_fifty(counters: Counters) -> None:
    await counters.seed(a=0)
    results = await asyncio.gather(
        *(
            (counters.state, counters.twin)[number % 2].reserve(
                str(number), [Amount(total="a", micro_usd=20, cap_micro_usd=1_000)], lease_seconds=60
            )
            for number in range(500)
        )
    )
    assert sum(result.ok for result in results) == 50
    assert max(result.totals["a"] for result in results) == 1_000


async def test_five_hundred_at_once_against_a_limit_of_fifty(counters: Counters) -> None:
    limits = [window(limit=50), bucket(capacity=80, refill=1e-6)]
    results = await asyncio.gather(*((counters.state, counters.twin)[n % 2].take(limits) for n in range(500)))
    assert sum(result.ok for result in results) == 50
    assert await all_remaining(counters.state, [window(limit=50, cost=0), bucket(capacity=80, cost=0)]) == [0, 30]


async def test_it_answers(counters: Counters) -> None:
    before = counters.state.now()
    await counters.state.ping()
    assert counters.state.now() == pytest.approx(before, abs=60)
    assert (await counters.state.health()).ok
