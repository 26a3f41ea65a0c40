"""Nothing that one request does may hold up the others: not the loading of the API, nor prompts of ten megabytes."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.running import running
from pointsman.testing.upstream import ScriptedUpstream

from .http_client import Client, ask_once, post

pytestmark = pytest.mark.alone

MEGABYTE = 1_000_000
SMALL = post(b'{"model": "openai:gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}')


def settings(upstream: ScriptedUpstream, data_plane: str) -> dict[str, Any]:
    return {
        "providers": {
            "openai": {"base_url": upstream.base_url, "api_key": "sk-none", "models": ["gpt-4o-mini", "boundless"]},
            "ollama": {"enabled": False},
        },
        "server": {"data_plane": data_plane},
    }


@asynccontextmanager
async def steady_callers(port: int, count: int = 2) -> AsyncIterator[list[float]]:
    """Small requests one after another for as long as the block lasts; how long each took, in seconds."""
    waits: list[float] = []
    stop = asyncio.Event()

    async def ask() -> None:
        client = Client(port)
        while not stop.is_set():
            seen = await client.ask(SMALL)
            assert seen.answered, seen
            waits.append(seen.seconds)
            await asyncio.sleep(0.005)
        await client.close()

    asking = [asyncio.create_task(ask()) for _ in range(count)]
    await asyncio.sleep(0.2)
    waits.clear()
    yield waits
    stop.set()
    await asyncio.gather(*asking)


async def test_the_first_page_does_not_hold_up_answers(upstream, data_plane, tmp_path):
    """The API and its pages are loaded at their first request, in a thread."""
    with running(tmp_path, settings(upstream, data_plane)) as gateway:
        assert (await ask_once(gateway.port, SMALL)).answered
        async with steady_callers(gateway.port) as waits:
            page = await asyncio.to_thread(gateway.ask, "GET", "/api/v1/health")
            assert page.status == 200
            again = await asyncio.to_thread(gateway.ask, "GET", "/v1/models")
            assert again.status == 200
    assert max(waits) < 0.5, sorted(waits)[-5:]


def long_prompt(size: int, seed: int) -> bytes:
    """Prose of so many bytes, different with each seed, so that no memory of an earlier prompt helps."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(2000)]
    text = " ".join(rng.choices(words, k=size // 6))[:size]
    messages = [{"role": "user", "content": text}]
    return post(json.dumps({"model": "openai:boundless", "messages": messages}).encode())


PROBE = """
import http.client, sys, time
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
waits = []
def ask():
    started = time.perf_counter()
    connection.request("GET", "/api/health")
    connection.getresponse().read()
    waits.append(time.perf_counter() - started)
for _ in range(50):
    ask()
waits.clear()
print("ready", flush=True)
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    ask()
    time.sleep(0.002)
waits.sort()
print(waits[-1], waits[len(waits) * 99 // 100], waits[len(waits) // 2], len(waits))
"""
"""Asks a gateway again and again, from a process of its own, so that only the gateway's own delays are measured."""


@pytest.fixture(scope="module")
def prompts() -> list[bytes]:
    return [long_prompt(10 * MEGABYTE, seed) for seed in range(8)]


async def test_eight_prompts_of_ten_megabytes_do_not_hold_up_the_others(upstream, data_plane, tmp_path, prompts):
    with running(tmp_path, settings(upstream, data_plane)) as gateway:
        probe = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROBE, str(gateway.port), "2", stdout=asyncio.subprocess.PIPE
        )
        assert probe.stdout is not None
        await probe.stdout.readline()
        saw = await asyncio.gather(*(ask_once(gateway.port, prompt) for prompt in prompts))
        longest, late, usual, count = map(float, (await probe.stdout.read()).split())
        await probe.wait()
    assert all(seen.answered for seen in saw), saw
    assert longest < 0.3, (longest, late, usual, count)
