"""Slots of an engine and the queue before them."""

from __future__ import annotations

import asyncio

import pytest

from pointsman.core.errors import Overloaded, UpstreamTimeout
from pointsman.providers.llamacpp.admission import Admission


async def test_first_come_first_served_and_never_more_than_the_slots() -> None:
    admission = Admission(slots=2, queue=20)
    order: list[int] = []
    most = 0

    async def work(number: int) -> None:
        nonlocal most
        async with admission.slot(5):
            order.append(number)
            most = max(most, admission.running)
            await asyncio.sleep(0.001)

    await asyncio.gather(*(work(number) for number in range(20)))
    assert order == list(range(20))
    assert most == 2
    assert (admission.running, admission.waiting) == (0, 0)
    assert admission.average_seconds < 1


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    admission = Admission(slots=1, queue=1)
    async with admission.slot(5):
        waiting = asyncio.create_task(_hold(admission))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as caught:
            async with admission.slot(5):
                pass
        assert caught.value.retry_after == admission.retry_after >= 1
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert admission.waiting == 0
        follower = asyncio.create_task(_hold(admission))  # the place of the one who left is free again
        await asyncio.sleep(0)
    await follower


async def test_no_queue_at_all() -> None:
    admission = Admission(slots=1, queue=0)
    async with admission.slot(5):
        with pytest.raises(Overloaded):
            async with admission.slot(5):
                pass
    async with admission.slot(5):
        pass


async def test_waiting_ends_in_time() -> None:
    admission = Admission(slots=1, queue=4)
    async with admission.slot(5):
        with pytest.raises(UpstreamTimeout) as caught:
            async with admission.slot(0.01):
                pass
    assert caught.value.phase == "first_byte"
    assert (admission.running, admission.waiting) == (0, 0)


async def test_an_error_gives_the_slot_back() -> None:
    admission = Admission(slots=1, queue=0)

    async def fail() -> None:
        async with admission.slot(5):
            raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await fail()
    await _hold(admission)


async def _hold(admission: Admission) -> None:
    async with admission.slot(5):
        pass
