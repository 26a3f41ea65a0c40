"""A gateway that is killed at any moment loses at most the last second of its log, and leaves every store sound."""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
import random
import signal
import struct
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.running import Gateway, running
from pointsman.testing.answers import Answer, Tokens
from pointsman.testing.upstream import ScriptedUpstream

from .http_client import Client, post
from .measures import eventually, locked, rows

OUTPUT, PRICE = 100, 10.0
EACH = round(OUTPUT * PRICE)
"""Micro-dollars of an answer; its prompt costs nothing."""
CLIENTS = 6
PAUSE = 0.04
"""Seconds between two requests of a client: a part of a processor is enough to be killed on."""
DURABLE = 1.0
"""Seconds after which an answer must be in the log, whatever happens."""
HOUR = 3600.0

CLOCK = """
import mmap, os, struct, time
with open(os.environ["WALL_CLOCK"], "r+b") as file:
    ahead = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
machines = time.time
time.time = lambda: machines() + struct.unpack("d", ahead)[0]
"""
"""What makes a process's wall clock jump when the file changes."""


def chat(*, stream: bool) -> bytes:
    messages = [{"role": "user", "content": "hi"}]
    body = {"model": "priced:one", "messages": messages, "stream": stream, "max_tokens": OUTPUT}
    return post(json.dumps(body).encode())


def tree(upstream: ScriptedUpstream) -> dict[str, Any]:
    priced = {"base_url": upstream.base_url, "models": ["one"], "prices": {"one": {"input": 0, "output": PRICE}}}
    return {"providers": {"priced": priced, "ollama": {"enabled": False}}, "budgets": {"monthly": 1000.0}}


class WallClock:
    """The wall clock of gateways that are started with `env`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(CLOCK)
        path = folder / "ahead"
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._ahead = mmap.mmap(file.fileno(), 8)
        self.env = {"PYTHONPATH": str(folder), "WALL_CLOCK": str(path)}

    def jump(self, seconds: float) -> None:
        self._ahead[:] = struct.pack("d", seconds)


@dataclass
class Load:
    """Clients that ask until the gateway is gone, and when each answer was whole."""

    port: int
    answered: dict[str, float] = field(default_factory=dict)
    refused: int = 0

    async def _ask(self, number: int) -> None:
        client = Client(self.port)
        while True:
            seen = await client.ask(chat(stream=number % 2 > 0))
            if seen.status is None or (seen.status == 200 and not seen.whole):
                break
            if seen.answered:
                assert seen.decision is not None
                self.answered[seen.decision] = time.monotonic()
            else:
                self.refused += 1
                assert seen.error is not None, seen
            await asyncio.sleep(PAUSE)
        await client.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The gateway is gone when the block ends."""
        tasks = [asyncio.create_task(self._ask(number)) for number in range(CLIENTS)]
        yield
        await asyncio.gather(*tasks)


@contextlib.contextmanager
def full_disk(process: psutil.Process) -> Iterator[None]:
    """No file of the process may grow."""
    unlimited = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (0, unlimited[1]))
    yield


async def kill(gateway: Gateway) -> float:
    now = time.monotonic()
    os.kill(gateway.process.pid, signal.SIGKILL)
    await asyncio.to_thread(gateway.process.wait)
    return now


@pytest.mark.parametrize("seed", [1])
async def test_whenever_it_is_killed(upstream, tmp_path, seed):
    """While all is well, while the database is locked and the log goes to the spool, with a full disk, and after the
    wall clock has jumped an hour; each time it goes on in the same folder."""
    rng = random.Random(seed)
    upstream.default = Answer(pieces=3, delay=0.005, usage=Tokens(5, OUTPUT))
    database = tmp_path / "data" / "pointsman.sqlite3"
    clock = WallClock(tmp_path / "clock")
    due: set[str] = set()

    def in_order() -> None:
        assert rows(database, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]
        ends = {row["id"]: row for row in rows(database)}
        lost = [one for one in due if one not in ends or ends[one]["status"] != "ok"]
        assert not lost, f"{len(lost)} of {len(due)} are not in the log"
        assert all(0 <= row["seconds"] < 30 for row in ends.values() if row["status"] is not None)

    for trouble in ("none", "lock", "clock", "disk"):
        clock.jump(0)
        with running(tmp_path, tree(upstream), env=clock.env) as gateway, contextlib.ExitStack() as until_killed:
            await eventually(in_order)
            load = Load(gateway.port)
            async with load.running():
                await asyncio.sleep(rng.uniform(0.2, 0.6))
                held = None
                if trouble == "lock":
                    until_killed.enter_context(locked(database))
                elif trouble == "clock":
                    clock.jump(rng.choice([-HOUR, HOUR]))
                elif trouble == "disk":
                    held = time.monotonic()
                    until_killed.enter_context(full_disk(psutil.Process(gateway.process.pid)))
                await asyncio.sleep(DURABLE + rng.uniform(0.2, 0.8))
                killed = await kill(gateway)
            assert len(load.answered) > CLIENTS, (trouble, load)
            safe = (held or killed) - DURABLE
            due |= {decision for decision, at in load.answered.items() if at < safe}
    clock.jump(0)
    assert due
    with running(tmp_path, tree(upstream), env=clock.env) as gateway:
        await eventually(in_order)
        assert not list((tmp_path / "data").rglob("*.jsonl"))
        assert not list((tmp_path / "data").rglob("ledger-*.spool"))
        await eventually(lambda: sums_hold(gateway, database, len(upstream.chats)))


def sums_hold(gateway: Gateway, database: Path, calls: int) -> None:
    """Each call that was made is in the books at what it cost or may have cost, and the counters say the same."""
    report = gateway.ask("GET", "/api/v1/budgets").json
    [budget] = report["budgets"]
    found = rows(database, "SELECT state, reserved, settled, month FROM ledger")
    assert {row["state"] for row in found} <= {"settled", "unsettled", "released"}
    assert {row["settled"] for row in found if row["state"] == "settled"} <= {0, EACH}
    counted = [
        row["settled"] if row["state"] == "settled" else row["reserved"] if row["state"] == "unsettled" else 0
        for row in found
        if row["month"] == budget["period"]
    ]
    assert budget["used_micro_usd"] == sum(counted)
    assert budget["reserved_micro_usd"] == 0
    held = sum(row["state"] != "released" for row in found)
    assert calls <= held, "no call without a row"
