"""Two gateways that share Postgres and Valkey: what they agree on and how soon, and what outages under load cost."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.running import Gateway, running
from pointsman.testing.answers import Answer, Tokens
from pointsman.testing.upstream import ScriptedUpstream
from services import Postgres, Valkey, postgres, valkey
from waiting import PATIENCE

from .http_client import Client, Seen, ask_once, post
from .measures import eventually, held

SECRET = {"POINTSMAN_SECRET_KEY": "a secret that every replica of these tests has"}
EACH = 1_000
"""Micro-dollars of an answer, and of the worst case that is reserved for it."""
AHEAD = """
import time
_real = time.time
time.time = lambda: _real() + 3600
"""
"""What makes the wall clock of a Python process an hour fast."""


@dataclass
class Services:
    postgres: Postgres
    valkey: Valkey
    url: str = ""

    @property
    def env(self) -> dict[str, str]:
        return {"DATABASE_URL": self.url, "REDIS_URL": self.valkey.url, **SECRET}

    def rows(self, query: str) -> list[list[str]]:
        name = self.url.split("/")[3].split("?")[0]
        return [line.split("|") for line in self.postgres.sql(query, name).splitlines()]


@pytest.fixture(scope="module")
def servers() -> Iterator[Services]:
    with postgres() as database, valkey(persist=True) as counters:
        yield Services(database, counters)


@pytest.fixture
def shared(servers: Services) -> Iterator[Services]:
    servers.url = servers.postgres.migrated()
    yield servers
    servers.valkey.thaw()
    servers.postgres.thaw()


def tree(upstream: ScriptedUpstream, shared: Services, *, timeout: float = 5.0) -> dict[str, Any]:
    """An answer has 100 tokens, as many as are asked for, and costs exactly what is reserved.

    Args:
        timeout: seconds until a busy Valkey counts as away, and limits are open.
    """
    upstream.default = Answer(pieces=2, usage=Tokens(5, 100))
    openai = {
        "base_url": upstream.base_url, "api_key": "k", "models": ["gpt-4o-mini"],
        "prices": {"gpt-4o-mini": {"input": 0, "output": 10}},
    }  # fmt: skip
    return {
        "providers": {"openai": openai, "ollama": {"enabled": False}},
        "limits": {"tiers": {"ten": {"per_day": 10}, "many": {"per_day": 1_000_000}}, "default_tier": "many"},
        "budgets": {"monthly": 1_000.0},
        "database": {"timeout": 3.0},
        "state": {"prefix": shared.url.split("/")[3].split("?")[0], "timeout": timeout},
        "privacy": {"redaction": True},
    }


def chat(*, stream: bool = False, token: str | None = None, model: str = "openai:gpt-4o-mini") -> bytes:
    body = {"model": model, "max_tokens": 100, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    return post(json.dumps(body).encode(), headers=f"Authorization: Bearer {token}\r\n" if token else "")


async def call(gateway: Gateway, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else None
    reply = await asyncio.to_thread(gateway.ask, method, path, body, headers=headers)
    assert reply.status in (200, 201), reply.body
    return reply.json


async def takes(holds: Callable[[], Awaitable[bool]]) -> float:
    """Seconds until it holds."""
    begun = time.monotonic()
    while not await holds():
        assert time.monotonic() - begun < PATIENCE
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


async def test_replicas_agree_at_once_on_limits_and_budgets_and_within_a_second_on_the_rest(
    upstream: ScriptedUpstream, shared: Services, tmp_path: Path
) -> None:
    """Although the clock of one of them is an hour fast."""
    (tmp_path / "sitecustomize.py").write_text(AHEAD)
    settings = tree(upstream, shared)
    with (
        running(tmp_path / "a", settings, env=shared.env) as a,
        running(tmp_path / "b", settings, env={**shared.env, "PYTHONPATH": str(tmp_path)}) as b,
    ):
        admin = (await call(a, "POST", "/api/v1/keys", {"name": "admin", "role": "admin"}))["token"]

        async def status(gateway: Gateway, token: str | None) -> int | None:
            return (await ask_once(gateway.port, chat(token=token))).status

        async def closed() -> bool:
            return await status(b, None) == 401

        await takes(closed)  # until it has heard of the first key, every token enters an open port

        async def make(**fields: Any) -> Any:
            made = await call(a, "POST", "/api/v1/keys", fields, token=admin)
            entered = {"Authorization": f"Bearer {made['token']}"}

            async def known() -> bool:
                reply = await asyncio.to_thread(b.ask, "GET", "/v1/models", headers=entered)
                return reply.status == 200

            return {**made, "took": await takes(known)}

        # Limits: of many requests to both at a time exactly ten pass; and what one has counted the other knows at once.
        crowd = await make(name="crowd", tier="ten")
        passed = await asyncio.gather(*(status((a, b)[number % 2], crowd["token"]) for number in range(40)))
        assert Counter(passed) == {200: 10, 429: 30}, a.log_text + b.log_text
        turns = await make(name="turns", tier="ten")
        assert [await status(a, turns["token"]) for _ in range(10)] == [200] * 10
        assert await status(b, turns["token"]) == 429

        # Budgets likewise.
        crowd = await make(name="rich crowd", monthly_micro_usd=10 * EACH)
        passed = await asyncio.gather(*(status((a, b)[number % 2], crowd["token"]) for number in range(40)))
        assert Counter(passed) == {200: 10, 429: 30}
        turns = await make(name="rich in turns", monthly_micro_usd=3 * EACH)
        assert [await status(a, turns["token"]) for _ in range(3)] == [200] * 3
        assert await status(b, turns["token"]) == 429

        # Keys and revocations, on the other gateway.
        keys = [await make(name=f"key {round}") for round in range(3)]
        gone = []
        for key in keys:
            await call(a, "DELETE", f"/api/v1/keys/{key['id']}", token=admin)

            async def refused(token: str = key["token"]) -> bool:
                return await status(b, token) == 401

            gone.append(await takes(refused))
        assert min(key["took"] for key in keys) < 1.0
        assert min(gone) < 1.0, gone

        # The promoted policy, on both.
        took = []
        for version, arguments in (
            ("mine@1", ("add", "mine", "-", "--promote")), ("mine@2", ("add", "mine", "-", "--promote")),
            ("mine@1", ("rollback",)),
        ):  # fmt: skip
            await asyncio.to_thread(policy, a, *arguments, env=shared.env)

            async def serves(version: str = version) -> bool:
                body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
                found = [await call(gateway, "POST", "/api/v1/route", body, token=admin) for gateway in (a, b)]
                return {one["policy"] for one in found} == {version}

            took.append(await takes(serves))
        assert min(took) < 1.0, took


def policy(gateway: Gateway, *arguments: str, env: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "pointsman", "--config", str(gateway.folder / "pointsman.yaml"), "policy", *arguments],
        input="{}", capture_output=True, text=True, timeout=60, check=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(gateway.folder), **env},
    )  # fmt: skip


@dataclass
class Load:
    """Clients that ask until they are told to stop."""

    gateways: list[Gateway]
    paid: dict[int, list[tuple[str, float]]] = field(default_factory=dict)
    """Port → decisions whose answers came whole, and when."""
    refused: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Decision → the port that refused, and when."""
    odd: list[Seen] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    stopped: bool = False

    def __post_init__(self) -> None:
        self.down: set[int] = set()
        self.tasks = [asyncio.create_task(self._ask(one.port, n)) for one in self.gateways for n in range(3)]

    async def _ask(self, port: int, number: int) -> None:
        client = Client(port)
        while not self.stopped:
            number += 1
            if port in self.down:
                await asyncio.sleep(0.05)
                continue
            try:
                seen = await client.ask(chat(stream=bool(number % 2)), leave_after=30)
            except OSError:
                continue
            self.seconds.append(seen.seconds)
            if seen.answered and seen.decision is not None:
                self.paid.setdefault(port, []).append((seen.decision, time.monotonic()))
            elif seen.status == 503 and seen.error and seen.error["code"] == "state_unavailable" and seen.decision:
                self.refused[seen.decision] = port, time.monotonic()
            elif port not in self.down:
                self.odd.append(seen)
            await asyncio.sleep(0.005)
        await client.close()

    @property
    def ids(self) -> set[str]:
        return {one for ids in self.paid.values() for one, _ in ids}

    @property
    def answered(self) -> int:
        return sum(map(len, self.paid.values()))

    async def more(self, count: int, *, refused: bool = False) -> None:
        """Wait until so many more were answered, or refused."""

        def so_far() -> int:
            return len(self.refused) if refused else self.answered

        wanted = so_far() + count
        await eventually(lambda: so_far() >= wanted)

    async def stop(self) -> None:
        self.stopped = True
        await asyncio.gather(*self.tasks)


async def log_status(gateway: Gateway) -> Any:
    return (await call(gateway, "GET", "/api/v1/health"))["decision_log"]


async def test_outages_in_the_middle_of_a_load(upstream: ScriptedUpstream, shared: Services, tmp_path: Path) -> None:
    settings = tree(upstream, shared, timeout=0.5)
    run = asyncio.to_thread
    with ExitStack() as stack:
        a, b = (stack.enter_context(running(tmp_path / name, settings, env=shared.env)) for name in "ab")
        load = Load([a, b])
        await load.more(100)
        before = held(a.process.pid)

        await run(shared.valkey.kill)
        await load.more(50, refused=True)
        await run(shared.valkey.start)
        await load.more(100)

        await run(shared.postgres.kill)
        await load.more(200)
        await run(shared.postgres.start)
        await load.more(100)

        await run(shared.postgres.kill)
        await run(shared.valkey.kill)
        await load.more(50, refused=True)
        await run(shared.postgres.start)
        await run(shared.valkey.start)
        await load.more(100)

        await run(shared.valkey.freeze)
        await load.more(50, refused=True)
        await run(shared.valkey.thaw)
        await load.more(100)

        async with asyncio.timeout(30):  # what a killed process had in memory is lost: the last moment, in calm times
            while (status := await log_status(b))["spooled"] or not status["ok"]:
                await asyncio.sleep(0.1)
        load.down.add(b.port)
        b.process.kill()
        b.process.wait()
        dead, lately = b.port, time.monotonic() - 5
        await load.more(50)

        load.seconds.clear()
        await run(shared.postgres.freeze)
        await load.more(300)
        assert statistics.median(load.seconds) < 0.5, "nobody waits for a database that hangs, but the first"
        await run(shared.postgres.thaw)
        await load.more(100)

        # It is stopped while everything hangs: in time, and what is on its disk is written by the next.
        await run(shared.postgres.freeze)
        await load.more(50)
        await run(shared.valkey.freeze)
        await load.more(5, refused=True)
        load.down.add(a.port)
        await load.stop()
        begun = time.monotonic()
        a.process.send_signal(signal.SIGTERM)
        assert await run(a.process.wait, 30) == 0
        assert time.monotonic() - begun < 10, "its grace"
        assert not load.odd
        shared.valkey.thaw()
        shared.postgres.thaw()
        a, b = (stack.enter_context(running(tmp_path / name, settings, env=shared.env)) for name in "ab")
        # What came of it: its last answers may be read from the sockets long after it is gone.
        unsure = {one for one, at in load.paid[dead] if at > lately}
        unsure |= {one for one, (port, at) in load.refused.items() if port == dead and at > lately}
        everything = {*load.ids, *load.refused}
        assert len(everything) == load.answered + len(load.refused)

        def all_there() -> None:
            logged = dict(shared.rows("SELECT id, COALESCE(status, '') FROM decisions"))
            assert everything - unsure <= logged.keys()
            assert all(logged[one] for one in everything - unsure)
            books = dict(shared.rows("SELECT id, state FROM ledger"))
            assert load.ids <= books.keys(), "durable before the call"
            assert all(books[one] == "settled" for one, _ in load.paid[a_port])

        a_port = load.gateways[0].port
        await eventually(all_there, every=0.2)
        [[calls, worst]] = shared.rows("SELECT COUNT(*), SUM(CASE state WHEN 'settled' THEN settled ELSE reserved END)"
                                       " FROM ledger")  # fmt: skip
        assert len(upstream.chats) * EACH <= int(worst) <= int(calls) * EACH
        counted = await call(a, "GET", "/api/v1/budgets")
        assert counted["budgets"][0]["used_micro_usd"] >= len(upstream.chats) * EACH
        for gateway in load.gateways:
            lines = gateway.log_text.splitlines()
            assert len(lines) < 120, gateway.log_text
        assert held(a.process.pid).descriptors < before.descriptors + 15


async def test_clients_that_hang_up_leave_no_reservation(
    upstream: ScriptedUpstream, shared: Services, tmp_path: Path
) -> None:
    settings = tree(upstream, shared)
    upstream.default = Answer(pieces=6, delay=0.02, first_delay=0.03, usage=Tokens(5, 100))
    with (
        running(tmp_path / "a", settings, env=shared.env) as a,
        running(tmp_path / "b", settings, env=shared.env) as b,
    ):
        rng = random.Random(7)
        before = [held(gateway.process.pid) for gateway in (a, b)]
        for _ in range(6):
            await asyncio.gather(
                *(
                    ask_once((a, b)[number % 2].port, chat(stream=number % 3 > 0), leave_after=rng.uniform(0.001, 0.2))
                    for number in range(40)
                )
            )

        async def settled() -> bool:
            reports = [await call(gateway, "GET", "/api/v1/budgets") for gateway in (a, b)]
            [[open_, spent]] = shared.rows(
                "SELECT COUNT(*) FILTER (WHERE state <> 'settled'), SUM(settled) FROM ledger"
            )
            used = {report["budgets"][0]["used_micro_usd"] for report in reports}
            return open_ == "0" and used == {int(spent)}

        await takes(settled)
        assert upstream.chats
        after = [held(gateway.process.pid) for gateway in (a, b)]
        for was, now in zip(before, after, strict=True):
            assert now.descriptors <= was.descriptors + 12
            assert now.threads <= was.threads + 3
