"""The queue before an engine: whose turn it is, who is refused, and what is known of the wait."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queueing_clock import FAR, Counter, breathe

from pointsman.core.errors import Overloaded
from pointsman.core.queueing import Claim


async def test_with_free_slots_nobody_waits() -> None:
    counter = Counter(slots=3, queue=0)
    await counter.come("a", 3)
    assert (counter.line.running, counter.line.waiting, counter.order) == (3, 0, ["a"] * 3)
    assert counter.line.wait("a", None) > 0
    for _ in range(3):
        await counter.serve()
    assert counter.line.running == 0
    assert counter.line.wait("a", None) == 0


async def test_of_one_key_first_come_first_served() -> None:
    counter = Counter(slots=1)
    tasks = await counter.come("a", 10)
    for begun in range(1, 11):
        assert [task.done() for task in tasks] == [True] * begun + [False] * (10 - begun)
        await counter.serve()


@pytest.mark.parametrize("slots", [1, 2, 5])
async def test_a_flood_of_one_key_makes_another_wait_for_one_turn(slots: int) -> None:
    counter = Counter(slots=slots, queue=500)
    await counter.come("flood", 200)
    for _ in range(20):
        await counter.serve()
    at = len(counter.order)
    await counter.come("other")
    assert counter.line.wait("other", None) < counter.line.wait("flood", None) / 20
    await counter.serve()
    await counter.serve()
    assert "other" in counter.order[at:]


async def test_keys_that_wait_take_turns_by_their_weight() -> None:
    counter = Counter(slots=1, queue=200, weights={"high": 4.0, "normal": 2.0, "low": 1.0})
    await counter.come("first")
    for tier in ("low", "normal", "high"):
        await counter.come(tier, 40, tier=tier)
    for _ in range(71):
        await counter.serve()
    served = {key: counter.order[1:71].count(key) for key in ("high", "normal", "low")}
    assert served == pytest.approx({"high": 40, "normal": 20, "low": 10}, abs=1)


async def test_who_asks_for_long_answers_gets_fewer_of_them() -> None:
    counter = Counter(slots=1, queue=200)
    await counter.come("first")
    await counter.come("long", 60)
    await counter.come("short", 60)
    seconds = {"first": 1.0, "long": 9.0, "short": 1.0}
    spent = {"first": 0.0, "long": 0.0, "short": 0.0}
    for _ in range(40):
        key = counter.held[0][0]
        await counter.serve(seconds[key])
        spent[key] += seconds[key]
    assert spent["long"] < 2.5 * spent["short"]
    assert counter.order.count("short") > 4 * counter.order.count("long")


async def test_a_key_that_was_away_has_saved_nothing_up() -> None:
    counter = Counter(slots=1)
    await counter.come("b")
    await counter.serve()
    await counter.come("a", 20)
    for _ in range(10):
        await counter.serve()
    await counter.come("b", 10)
    at = len(counter.order)
    for _ in range(8):
        await counter.serve()
    assert counter.order[at : at + 8].count("b") in (4, 5)


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    counter = Counter(slots=1, queue=2)
    await counter.come("a", 3)
    for _ in range(10):
        await counter.serve(6.0)
        await counter.come("a")
    [refused] = await counter.come("a")
    error = refused.exception()
    assert isinstance(error, Overloaded)
    assert error.retry_after == pytest.approx(counter.line.average_seconds, rel=0.01)
    assert 5 < error.retry_after <= 6
    assert counter.line.standing().refused == {"full": 1}
    assert counter.line.waiting == 2


async def test_a_key_with_less_of_a_full_queue_takes_the_last_place_of_who_has_most() -> None:
    counter = Counter(slots=1, queue=4)
    await counter.come("small")
    waiting = await counter.come("flood", 3)
    await counter.come("small")
    [other] = await counter.come("other")
    assert isinstance(waiting[-1].exception(), Overloaded)
    assert waiting[-1].exception().retry_after >= 1
    assert not other.done()
    [more] = await counter.come("flood")
    assert isinstance(more.exception(), Overloaded)  # and does not take it back
    assert counter.line.standing().refused == {"displaced": 1, "full": 1}
    for _ in range(5):
        await counter.serve()
    assert sorted(counter.order[1:]) == ["flood", "flood", "other", "small"]


async def test_even_a_queue_of_one_is_shared() -> None:
    counter = Counter(slots=1, queue=1)
    await counter.come("flood", 2)
    [other] = await counter.come("other")
    assert not other.done()
    [flood] = await counter.come("flood")
    assert isinstance(flood.exception(), Overloaded)
    await counter.serve()
    assert counter.order == ["flood", "other"]


async def test_what_cannot_begin_in_time_is_refused_at_once() -> None:
    counter = Counter(slots=2, queue=100, seconds=19.0)
    await counter.come("a", 2)
    for _ in range(30):
        await counter.serve(5.0)
        await counter.come("a")
    held = counter.line.average_seconds
    assert 9 < held < 11  # two at a time, one ends every five seconds
    tasks = await counter.come("a", 10)
    refused = [task.exception() for task in tasks if task.done()]
    assert len(refused) == 7  # the fourth would wait for four ends, 20 s
    assert all(isinstance(error, Overloaded) and error.retry_after >= 1 for error in refused)
    deadline = counter.clock.time + 3.0
    with pytest.raises(Overloaded) as caught:
        await counter.line.enter(Claim(key_id="hurried", tier=None, deadline=deadline))
    assert caught.value.retry_after == pytest.approx(counter.line.wait("hurried", None) - 3.0)
    assert counter.line.standing().refused == {"late": 8}


async def test_an_engine_that_hangs_looks_slower_and_slower() -> None:
    counter = Counter(slots=1, queue=100, seconds=60.0)
    await counter.come("a")
    await counter.serve(0.1)
    await counter.come("a")
    assert counter.line.wait("b", None) < 3
    counter.clock.time += 90
    [late] = await counter.come("b")
    assert isinstance(late.exception(), Overloaded)


async def test_one_long_answer_beside_short_ones_does_not() -> None:
    counter = Counter(slots=2, queue=100, seconds=60.0)
    await counter.come("long")
    for _ in range(40):
        await counter.come("short")
        counter.held.insert(0, counter.held.pop())
        await counter.serve(1.0)
    await counter.come("short")
    assert counter.line.wait("short", None) < 1.5


async def test_a_wait_ends_in_time() -> None:
    counter = Counter(slots=1, seconds=0.05)
    counter.line.average_seconds = 0.01
    await counter.come("a")
    with pytest.raises(Overloaded):
        await counter.line.enter(Claim(key_id="b", tier=None, deadline=counter.clock.time + FAR))
    assert counter.line.standing().refused == {"timeout": 1}
    assert (counter.line.running, counter.line.waiting) == (1, 0)


async def test_who_leaves_the_queue_makes_room_at_once() -> None:
    counter = Counter(slots=1, queue=1)
    _, waiting = await counter.come("a", 2)
    waiting.cancel()
    await breathe()
    assert counter.line.waiting == 0
    [follower] = await counter.come("a")
    assert not follower.done()


async def test_who_leaves_with_the_slot_in_sight_loses_it_for_nobody() -> None:
    counter = Counter(slots=1)
    _, second, third = await counter.come("a", 3)
    counter.held.pop()[1]()
    second.cancel()  # it was let in, and has not heard of it
    average = counter.line.average_seconds
    await breathe()
    assert third.done()
    assert not third.cancelled()
    assert counter.line.average_seconds == average
    assert (counter.line.running, counter.line.waiting) == (1, 0)


async def test_slots_that_come_are_used_and_those_that_go_are_not_taken_away() -> None:
    counter = Counter(slots=1, queue=20)
    await counter.come("a", 6)
    counter.line.adjust(type(counter.rules)(slots=4, seconds=FAR))
    await breathe()
    assert (counter.line.running, counter.line.waiting) == (4, 2)
    counter.line.adjust(type(counter.rules)(slots=1, seconds=FAR))
    await counter.serve()
    assert (counter.line.running, counter.line.waiting) == (3, 2)
    counter.line.end()
    await breathe()
    assert counter.line.waiting == 0


async def test_a_window_lets_those_who_come_together_start_together() -> None:
    counter = Counter(slots=4, batch_window=0.05)
    await counter.come("a", 2)
    assert counter.order == []
    assert counter.line.wait("b", None) == 0
    await asyncio.sleep(0.1)
    assert counter.order == ["a", "a"]
    await counter.come("b")  # it is not idle any more
    assert counter.order == ["a", "a", "b"]
    for _ in range(3):
        await counter.serve()
    await counter.come("c", 4)  # as many as there are slots need not wait for more
    assert counter.order[3:] == ["c"] * 4


async def test_a_window_ends_with_the_last_who_waits() -> None:
    counter = Counter(slots=2, batch_window=30.0)
    [left] = await counter.come("a")
    left.cancel()
    await breathe()
    assert counter.line.waiting == 0
    await counter.come("b", 2)
    assert counter.order == ["b", "b"]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    slots=st.integers(1, 4),
    queue=st.integers(0, 6),
    window=st.sampled_from([0.0, 0.0, 0.001]),
)
def test_no_slot_is_lost_or_made_whoever_comes_and_leaves(seed: int, slots: int, queue: int, window: float) -> None:
    asyncio.run(_come_and_go(random.Random(seed), slots, queue, window))


async def _come_and_go(chance: random.Random, slots: int, queue: int, window: float) -> None:
    counter = Counter(slots=slots, queue=queue, batch_window=window, weights={"high": 4.0})
    line = counter.line
    tasks: list[asyncio.Task[None]] = []
    for _ in range(80):
        act = chance.random()
        if act < 0.5:
            key = chance.choice("abc")
            tasks.append(asyncio.create_task(counter._enter(key, chance.choice(["high", None]))))
        elif act < 0.7 and tasks:
            chance.choice(tasks).cancel()
        elif counter.held:
            counter.clock.time += chance.random()
            counter.held.pop(chance.randrange(len(counter.held)))[1]()
        for _ in range(chance.choice([0, 0, 1, 4])):
            await asyncio.sleep(0)
        assert line.running <= slots
        assert 0 <= line.waiting <= queue + slots
        if not window:
            assert line.waiting <= queue
            assert not line.waiting or line.running == slots  # nobody waits before a free slot
    while any(not task.done() for task in tasks) or counter.held:
        while counter.held:
            counter.held.pop()[1]()
        await asyncio.sleep(window)
    for task in tasks:
        assert task.cancelled() or task.exception() is None or isinstance(task.exception(), Overloaded)
    assert (line.running, line.waiting) == (0, 0)
    await counter.come("d", slots)
    await asyncio.sleep(window and window + 0.005)
    assert len(counter.held) == slots
