"""The embedded engine under more load than it can take, and while it is still on its way."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.running import Gateway, running
from waiting import until

from .http_client import SMOLLM2_GOES_ON, Client, Seen, ask_once, post
from .measures import rows

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

MODEL = "embedded:smollm2:135m"
QUEUE, SLOTS = 24, 2


def settings(weights_cache: Path, **embedded: Any) -> dict[str, Any]:
    chosen = {"models": ["smollm2:135m"], "context": 1024, "pulled": False, "slots": SLOTS, "queue": QUEUE}
    return {
        "cache_dir": str(weights_cache),
        "embedded": {**chosen, **embedded},
        "providers": {"ollama": {"enabled": False}},
        "server": {"shutdown_grace": 1.0},
        "privacy": {"store_prompts": "all"},
    }


def request(content: str = "hi", *, stream: bool = True, max_tokens: int = 1, model: str = MODEL) -> bytes:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": content}], "stream": stream}
    if max_tokens > 1:
        body["logit_bias"] = SMOLLM2_GOES_ON
    return post(json.dumps({**body, "max_tokens": max_tokens}).encode())


@pytest.fixture(scope="module")
def gateway(weights_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("load"), settings(weights_cache)) as gateway:
        until(lambda: gateway.chat(model=MODEL, max_tokens=1).status == 200, lambda: gateway.log_text)
        yield gateway


async def test_two_hundred_streams_are_answered_or_told_to_come_back(gateway):
    async with asyncio.timeout(60):
        saw = await asyncio.gather(*(ask_once(gateway.port, request(f"Say {n}.")) for n in range(200)))
    for seen in saw:
        if seen.answered:
            continue
        assert seen.status == 503, seen
        assert seen.error["type"] == "overloaded_error", seen
        assert int(seen.headers["retry-after"]) >= 1, seen
    counted = Counter(seen.status for seen in saw)
    assert counted[200] >= QUEUE, counted  # more when the first are done before the last have come
    assert counted[503] >= 1, counted
    assert (await ask_once(gateway.port, request())).answered
    ended = Counter(row["status"] for row in rows(gateway.folder / "data" / "pointsman.sqlite3"))
    assert ended["cancelled"] == 0


@pytest.fixture
async def crowd(gateway: Gateway) -> AsyncIterator[list[asyncio.Task[Seen]]]:
    """Long answers in every slot, and a full queue behind them; the clients leave together after a second."""
    asking = [
        asyncio.create_task(ask_once(gateway.port, request(f"Tell story {n}.", max_tokens=900), leave_after=1.0))
        for n in range(SLOTS + QUEUE)
    ]
    await asyncio.sleep(0.6)
    yield asking
    await asyncio.gather(*asking)


@pytest.mark.parametrize("stream", [True, False])
async def test_clients_that_hang_up_free_slots_and_queue_at_once(gateway, crowd, stream):
    refused = await ask_once(gateway.port, request(stream=stream))
    assert refused.status == 503
    for seen in await asyncio.gather(*crowd):
        assert seen.left, seen
    seen = await ask_once(gateway.port, request(stream=stream))
    assert seen.answered
    assert seen.seconds < 4.0, "the crowd's answers would take many times as long"
    # Every slot is free again: as many answers as there are slots come side by side.
    both = await asyncio.gather(*(ask_once(gateway.port, request(max_tokens=8)) for _ in range(SLOTS)))
    assert all(seen.answered for seen in both)
    assert max(seen.seconds for seen in both) < 2.0


async def test_one_client_that_leaves_the_queue_makes_room_for_another(gateway):
    long = [asyncio.create_task(ask_once(gateway.port, request(max_tokens=900), leave_after=2.0)) for _ in range(SLOTS)]
    await asyncio.sleep(0.3)
    waiting = [
        asyncio.create_task(ask_once(gateway.port, request(), leave_after=1.0 if n == 0 else None))
        for n in range(QUEUE)
    ]
    await asyncio.sleep(0.4)
    assert (await ask_once(gateway.port, request())).status == 503
    assert (await waiting[0]).left
    assert (await ask_once(gateway.port, request())).answered
    assert all(seen.answered for seen in await asyncio.gather(*waiting[1:]))
    await asyncio.gather(*long)


@pytest.mark.parametrize("start", ["eager", "lazy"])
async def test_requests_from_the_first_moment_are_answered_or_told_to_come_back(tmp_path, weights_cache, start):
    """Never an untyped error: not while the weights are looked at, nor while the model is loaded."""
    with running(tmp_path, settings(weights_cache, start=start, queue=64)) as gateway:
        saw: list[Seen] = []

        async def ask(number: int) -> None:
            client = Client(gateway.port)
            while True:
                model = MODEL if number % 2 else "auto"
                seen = await client.ask(request(f"Say {number}.", stream=number % 3 > 0, model=model))
                saw.append(seen)
                if seen.answered:
                    break
                await asyncio.sleep(0.02)
            await client.close()

        async with asyncio.timeout(60):
            await asyncio.gather(*(ask(number) for number in range(30)))
    for seen in saw:
        if not seen.answered:
            assert seen.status == 503, seen
            assert seen.error["code"] == "model_loading", seen
            assert int(seen.headers["retry-after"]) >= 1


async def test_an_engine_that_dies_under_load_costs_nobody_an_answer_that_had_not_begun(gateway):
    """The last test of this file: it costs the engine its life."""
    long = [100] * SLOTS + [8] * 6
    asking = [
        asyncio.create_task(ask_once(gateway.port, request(f"Tell story {n}.", max_tokens=tokens)))
        for n, tokens in enumerate(long)
    ]
    await asyncio.sleep(0.5)
    for engine in psutil.Process(gateway.process.pid).children():
        engine.kill()
    async with asyncio.timeout(60):
        saw = await asyncio.gather(*asking)
    assert "starting it again" in gateway.log_text
    assert sum(seen.answered for seen in saw) >= len(saw) - SLOTS, saw
    for seen in saw:
        if not seen.answered:
            assert seen.text, seen
            assert seen.error is not None, seen
            assert seen.error["code"] == "engine_unavailable", seen.error
    assert "is left alone" not in gateway.log_text
    assert (await ask_once(gateway.port, request())).answered
