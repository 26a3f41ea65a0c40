"""Postgres goes away in the middle of a load: every request is answered, and every decision and outcome is kept."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.running import Gateway, running
from pointsman.testing.answers import Answer
from pointsman.testing.upstream import ScriptedUpstream
from services import Postgres, postgres

from .http_client import Client, post
from .measures import eventually

CHAT = post(
    json.dumps(
        {"model": "openai:gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    ).encode()
)
SECRET = {"POINTSMAN_SECRET_KEY": "a secret that every replica of these tests has"}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture
def url(server: Postgres) -> str:
    if not server.alive:
        server.start()
    return server.migrated()


def settings(upstream: ScriptedUpstream) -> dict[str, Any]:
    upstream.default = Answer(pieces=2)
    openai = {"base_url": upstream.base_url, "api_key": "sk-none", "models": ["gpt-4o-mini"]}
    return {"providers": {"openai": openai, "ollama": {"enabled": False}}, "database": {"timeout": 5.0}}


class Load:
    """Clients that ask one question after another until they are told to stop."""

    def __init__(self, gateways: list[Gateway], clients: int = 2) -> None:
        self.answered: list[str] = []
        self.worst = 0.0
        self._stopped = False
        self._tasks = [asyncio.create_task(self._ask(gateway)) for gateway in gateways for _ in range(clients)]

    async def _ask(self, gateway: Gateway) -> None:
        client = Client(gateway.port)
        while not self._stopped:
            seen = await client.ask(CHAT)
            assert seen.answered, seen
            assert seen.decision is not None
            self.answered.append(seen.decision)
            self.worst = max(self.worst, seen.seconds)
            await asyncio.sleep(0.002)
        await client.close()

    async def more(self, count: int) -> None:
        """Wait until so many more are answered."""
        wanted = len(self.answered) + count
        async with asyncio.timeout(60):
            while len(self.answered) < wanted:
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)


def ended_well(server: Postgres, url: str) -> list[str]:
    """Ids of the decisions that are there with their outcome. A decision that was there twice would be twice here."""
    name = url.split("/")[3].split("?")[0]
    found = server.sql("SELECT id FROM decisions WHERE status = 'ok' AND attempts <> '[]' ORDER BY id", name)
    return found.split()


async def log_health(gateway: Gateway) -> dict[str, Any]:
    reply = await asyncio.to_thread(gateway.ask, "GET", "/api/v1/health")
    return reply.json["decision_log"]


async def test_postgres_is_killed_in_the_middle_of_a_load_and_nothing_is_lost(upstream, tmp_path, server, url):
    env = {"DATABASE_URL": url, **SECRET}
    with (
        running(tmp_path / "a", settings(upstream), env=env) as a,
        running(tmp_path / "b", settings(upstream), env=env) as b,
    ):
        load = Load([a, b])
        await load.more(200)
        await asyncio.to_thread(server.kill)
        await load.more(300)
        async with asyncio.timeout(30):  # longer than a moment: both keep it on disk
            while not min([(await log_health(gateway))["spooled"] for gateway in (a, b)]):
                await asyncio.sleep(0.1)
        await load.more(200)
        health = await asyncio.to_thread(a.ask, "GET", "/api/v1/health")
        assert health.json["status"] == "degraded"
        assert health.json["database"]["connected"] is False
        # What cannot be read now says so, and soon.
        refused = await asyncio.to_thread(a.ask, "GET", f"/api/v1/decisions/{load.answered[0]}")
        assert refused.status in (500, 503), refused.body
        await asyncio.to_thread(server.start)
        await load.more(200)
        await load.stop()
        await eventually(lambda: sorted(load.answered) == ended_well(server, url))
        assert len(set(load.answered)) == len(load.answered) >= 900
        for gateway in (a, b):
            health = await log_health(gateway)
            assert (health["dropped"], health["pending"], health["spooled"]) == (0, 0, 0)
            assert list((gateway.folder / "data" / "spool").iterdir()) == []


async def test_prometheus_is_answered_while_postgres_hangs(upstream, tmp_path, server, url):
    """All but what stands in the database is told."""
    tree = {**settings(upstream), "budgets": {"monthly": 1.0}}

    async def told() -> str:
        reply = await asyncio.to_thread(gateway.ask, "GET", "/metrics")
        assert reply.status == 200, reply.body
        return reply.body.decode()

    with running(tmp_path, tree, env={"DATABASE_URL": url, **SECRET}) as gateway:
        assert "pointsman_budget_cap_dollars{" in await told()
        server.freeze()
        try:
            during = await told()
        finally:
            server.thaw()
        assert "pointsman_budgets_up 0.0" in during
        assert "pointsman_models 1.0" in during
        assert "pointsman_budget_cap_dollars{" not in during
        async with asyncio.timeout(60):
            while "pointsman_budgets_up 1.0" not in await told():
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_gateway_that_ends_while_postgres_is_away_loses_nothing(upstream, tmp_path, server, url, how):
    env = {"DATABASE_URL": url, **SECRET}
    with running(tmp_path, settings(upstream), env=env) as gateway:
        load = Load([gateway])
        await load.more(50)
        await asyncio.to_thread(server.kill)
        await load.more(100)
        await load.stop()
        count = len(load.answered)
        async with asyncio.timeout(30):
            while (health := await log_health(gateway))["pending"] or not health["spooled"]:
                await asyncio.sleep(0.1)
        gateway.process.send_signal(how)
        await asyncio.to_thread(gateway.process.wait)
    refused = start_in_vain(tmp_path, env)
    assert refused.returncode == 1
    assert "Postgres" in refused.stderr
    assert "cannot be reached" in refused.stderr
    await asyncio.to_thread(server.start)
    with running(tmp_path, settings(upstream), env=env) as gateway:
        await eventually(lambda: sorted(load.answered) == ended_well(server, url))
        assert count == len(load.answered)
        assert (await log_health(gateway))["spooled"] == 0


def start_in_vain(folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pointsman", "--config", str(folder / "pointsman.yaml"), "serve"]
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(command, env={**environ, **env}, capture_output=True, text=True, timeout=60)


PASSWORD = "a-password-of-the-database"


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"DATABASE_URL": f"postgresql://me:{PASSWORD}@127.0.0.1:9/name", **SECRET}, "cannot be reached"),
        ({"DATABASE_URL": f"postgresql://me:{PASSWORD}@/name?host=/nowhere", **SECRET}, "name in /nowhere"),
        ({"DATABASE_URL": f"postgresql://me:{PASSWORD}@127.0.0.1:9/name"}, "POINTSMAN_SECRET_KEY"),
        ({"DATABASE_URL": f"mysql://me:{PASSWORD}@127.0.0.1/name", **SECRET}, "must be postgresql://"),
        ({"DATABASE_URL": f"postgresql://me:{PASSWORD}@127.0.0.1:x/name", **SECRET}, "must be postgresql://"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start_without_the_password(upstream, tmp_path, env, told):
    import yaml

    tree = {"data_dir": str(tmp_path / "data"), "embedded": {"enabled": False}, **settings(upstream)}
    (tmp_path / "pointsman.yaml").write_text(yaml.safe_dump(tree))
    refused = start_in_vain(tmp_path, env)
    assert refused.returncode == 1
    assert told in refused.stderr
    assert PASSWORD not in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_another_secret_is_refused_and_the_previous_one_is_known(upstream, tmp_path, url):
    with running(tmp_path, settings(upstream), env={"DATABASE_URL": url, **SECRET}):
        pass
    other = {"DATABASE_URL": url, "POINTSMAN_SECRET_KEY": "another secret than that of the other replicas"}
    refused = await asyncio.to_thread(start_in_vain, tmp_path, other)
    assert refused.returncode == 1
    assert "another POINTSMAN_SECRET_KEY" in refused.stderr
    after = {**other, "POINTSMAN_PREVIOUS_SECRET_KEY": SECRET["POINTSMAN_SECRET_KEY"]}
    with running(tmp_path, settings(upstream), env=after):
        pass
