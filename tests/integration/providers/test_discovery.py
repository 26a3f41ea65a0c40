"""The catalog is kept while providers come, go, dawdle and fail."""

from __future__ import annotations

import asyncio
import time

import pytest
from provider_calls import card

from pointsman.core.errors import UpstreamConnectError
from pointsman.providers.discovery import CatalogKeeper
from pointsman.providers.ollama import Ollama
from pointsman.providers.openai_compatible import OpenAICompatible
from pointsman.testing import Page, ScriptedUpstream, Stall
from pointsman.transport.pool import Pool
from waiting import eventually


def openai(name: str, upstream: ScriptedUpstream, pool: Pool) -> OpenAICompatible:
    return OpenAICompatible(name, base_url=upstream.base_url, outbound=pool)


@pytest.fixture
async def started():
    """Starts keepers, and closes them before the upstreams."""
    keepers: list[CatalogKeeper] = []

    async def start(*args, **kwargs) -> CatalogKeeper:
        keeper = CatalogKeeper(*args, **kwargs)
        keepers.append(keeper)
        await keeper.start()
        return keeper

    yield start
    for keeper in keepers:
        await keeper.close()


async def test_a_dead_ollama_costs_nothing(upstream, pool, started):
    dead = ScriptedUpstream()
    await dead.listen()
    await dead.refuse()
    begun = time.monotonic()
    keeper = await started([Ollama("ollama", base_url=dead.root, outbound=pool), openai("up", upstream, pool)])
    assert time.monotonic() - begun < 0.3
    assert [found.id for found in keeper.catalog] == ["up:scripted-model"]
    assert "could not be reached" in keeper.away()["ollama"]
    assert not keeper.unhealthy()


async def test_catalog_aliases_and_providers(upstream, pool, started):
    first, second = openai("a", upstream, pool), openai("b", upstream, pool)
    keeper = await started([first, second], aliases={"fast": "b:scripted-model"})
    assert [found.id for found in keeper.catalog] == ["a:scripted-model", "b:scripted-model"]
    assert keeper.provider_for(keeper.catalog.resolve("fast")) is second
    with pytest.raises(UpstreamConnectError):
        keeper.provider_for(card(provider="nobody"))
    with pytest.raises(ValueError, match="same name"):
        CatalogKeeper([first, first])


async def test_a_slow_provider_does_not_hold_the_start_up(upstream, pool, started):
    async with ScriptedUpstream(models=("late",)) as slow:
        slow.pages["/v1/models"] = Stall()
        begun = time.monotonic()
        keeper = await started(
            [openai("slow", slow, pool), openai("up", upstream, pool)],
            start_timeout=0.1, ask_timeout=0.3, interval=0.05,
        )  # fmt: skip
        assert time.monotonic() - begun < 0.3
        assert [found.id for found in keeper.catalog] == ["up:scripted-model"]
        await eventually(lambda: "too long" in keeper.away().get("slow", ""))
        del slow.pages["/v1/models"]
        await eventually(lambda: "slow:late" in keeper.catalog)
        assert not keeper.away()
        await keeper.close()


async def test_a_provider_that_goes_keeps_its_models_marked_and_comes_back(upstream, pool, started):
    keeper = await started([openai("up", upstream, pool)], interval=0.05)
    assert not keeper.unhealthy()
    await upstream.refuse()
    await eventually(lambda: keeper.unhealthy())
    assert "up:scripted-model" in keeper.catalog
    assert keeper.unhealthy().keys() == {"up:scripted-model"}
    assert "up is away" in keeper.unhealthy()["up:scripted-model"]
    upstream.models = ("other",)
    await upstream.listen()
    await eventually(lambda: "up:other" in keeper.catalog)
    assert not keeper.unhealthy()
    assert "up:scripted-model" not in keeper.catalog


async def test_refresh_and_health_ask_now(upstream, pool, started):
    keeper = await started([openai("up", upstream, pool)])
    upstream.models = ("other",)
    await keeper.refresh()
    assert [found.name for found in keeper.catalog] == ["other"]
    assert (await keeper.health())["up"].ok
    upstream.pages["/v1/models"] = Page(b"<html>")
    await keeper.refresh()
    assert not (await keeper.health())["up"].ok
    assert "web page" in keeper.away()["up"]


class _Mistaken(OpenAICompatible):
    async def discover(self):
        raise ZeroDivisionError


async def test_a_providers_own_mistake_ends_nothing(upstream, pool, started, caplog):
    wrong = _Mistaken("wrong", base_url=upstream.base_url, outbound=pool)
    keeper = await started([wrong, openai("up", upstream, pool)])
    assert "up:scripted-model" in keeper.catalog
    assert "wrong" in keeper.away()
    assert "ZeroDivisionError" in caplog.text


async def test_close_leaves_nothing_running(upstream, pool):
    before = asyncio.all_tasks()
    upstream.pages["/v1/models"] = Stall()
    keeper = CatalogKeeper([openai("up", upstream, pool)], start_timeout=0.05)
    await keeper.start()
    await keeper.close()
    await upstream.wait_until(lambda seen: seen.open_connections == 0)
    await asyncio.sleep(0)
    assert {task for task in asyncio.all_tasks() - before if "models" in task.get_name()} == set()
    assert not pool.stats()
