"""Upstreams that take every request and never answer, that die, come back, or come late."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from gateway.running import running
from pointsman.providers.discovery import CatalogKeeper
from pointsman.providers.openai_compatible import OpenAICompatible
from pointsman.testing.answers import Answer, Stall
from pointsman.testing.upstream import ScriptedUpstream
from pointsman.transport.pool import Pool

from .http_client import Client, ask_once, post
from .measures import eventually, held, rows

MESSAGES = [{"role": "user", "content": "hi"}]


def chat(model: str, *, stream: bool = True) -> bytes:
    return post(json.dumps({"model": model, "messages": MESSAGES, "stream": stream}).encode())


def settings(upstream: ScriptedUpstream, data_plane: str = "native", **own: Any) -> dict[str, Any]:
    openai = {"base_url": upstream.base_url, "api_key": "sk-none", **own}
    return {
        "providers": {"openai": openai, "ollama": {"enabled": False}},
        "limits": {"connect_timeout": 1.0, "first_byte_timeout": 20.0},
        "server": {"data_plane": data_plane},
    }


async def test_fifty_callers_that_leave_a_silent_upstream(upstream, data_plane, tmp_path):
    upstream.default = Stall()
    with running(tmp_path, settings(upstream, data_plane, models=["gpt-4o-mini"])) as gateway:
        before = held(gateway.process.pid)
        asking = [
            asyncio.create_task(ask_once(gateway.port, chat("openai:gpt-4o-mini", stream=n % 2 > 0), leave_after=1.2))
            for n in range(50)
        ]
        await upstream.wait_until(lambda upstream: upstream.open_connections == 50, timeout=5)
        assert all(seen.left and seen.status is None for seen in await asyncio.gather(*asking))
        await upstream.wait_until(lambda upstream: upstream.open_connections == 0, timeout=1)
        await eventually(lambda: held(gateway.process.pid).descriptors <= before.descriptors + 1, within=2)
        await eventually(lambda: len(rows(tmp_path / "data" / "pointsman.sqlite3")) == 50)
        await eventually(
            lambda: {row["status"] for row in rows(tmp_path / "data" / "pointsman.sqlite3")} == {"cancelled"}
        )
        upstream.default = Answer()
        assert (await ask_once(gateway.port, chat("openai:gpt-4o-mini"))).answered


async def test_an_upstream_that_is_killed_fails_fast_and_serves_again_when_it_is_back(upstream, data_plane, tmp_path):
    with running(tmp_path, settings(upstream, data_plane, models=["gpt-4o-mini"])) as gateway:
        client = Client(gateway.port)
        assert (await client.ask(chat("openai:gpt-4o-mini"))).answered
        await upstream.refuse()
        for _ in range(5):
            seen = await client.ask(chat("openai:gpt-4o-mini"))
            assert seen.status == 502
            assert seen.error["code"] == "upstream_unreachable"
            assert seen.seconds < 1.0
        await upstream.listen()
        assert (await client.ask(chat("openai:gpt-4o-mini"))).answered
        await client.close()


async def test_a_provider_that_is_away_at_the_start_joins_when_it_comes(upstream, tmp_path):
    upstream.models = ("gpt-4o-mini",)
    await upstream.refuse()
    with running(tmp_path, settings(upstream)) as gateway:
        client = Client(gateway.port)
        seen = await client.ask(chat("openai:gpt-4o-mini"))
        assert seen.status == 404
        await upstream.listen()
        async with asyncio.timeout(60):
            while not (await client.ask(chat("openai:gpt-4o-mini"))).answered:
                await asyncio.sleep(0.1)
        await client.close()


async def test_a_provider_that_goes_away_is_passed_over_with_the_reason_until_it_is_back(upstream):
    """Over the keeper itself, whose patience is a setting of its own: in the gateway it asks once a minute."""
    async with ScriptedUpstream(models=("spare-model",)) as spare:
        upstream.models = ("gpt-4o-mini",)
        outbound = Pool()
        providers = [
            OpenAICompatible("first", base_url=upstream.base_url, outbound=outbound),
            OpenAICompatible("second", base_url=spare.base_url, outbound=outbound),
        ]
        keeper = CatalogKeeper(providers, interval=0.2, ask_timeout=1.0)
        await keeper.start()
        try:
            assert dict(keeper.unhealthy()) == {}
            await upstream.refuse()
            await eventually(lambda: "first:gpt-4o-mini" in keeper.unhealthy())
            assert "could not be reached" in keeper.unhealthy()["first:gpt-4o-mini"]
            assert keeper.catalog.get("first:gpt-4o-mini") is not None, "it is known still"
            assert "second:spare-model" not in keeper.unhealthy()
            await upstream.listen()
            await eventually(lambda: not keeper.unhealthy())
        finally:
            await keeper.close()
            await outbound.close()


async def test_while_weights_are_fetched_callers_are_told_to_come_back(tmp_path: Path, silent_index):
    tree = {
        "embedded": {"models": ["smollm2:135m"]},
        "routing": {"aliases": {"small": "embedded:smollm2:135m"}},
        "providers": {"ollama": {"enabled": False}},
    }
    with running(tmp_path, tree, env={"PIP_INDEX_URL": silent_index}) as gateway:
        for model in ("auto", "smollm2:135m", "embedded:smollm2:135m", "small"):
            seen = await ask_once(gateway.port, chat(model))
            assert (seen.status, seen.error["code"]) == (503, "model_loading"), (model, seen)
            assert int(seen.headers["retry-after"]) >= 1
            assert "smollm2:135m" in seen.error["message"]
        unknown = await ask_once(gateway.port, chat("no-such-model"))
        assert unknown.status == 404
