"""Answers go on whatever becomes of the database; health tells; rows come later or are counted as dropped."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.running import Gateway, running
from pointsman.testing.answers import Answer
from pointsman.testing.upstream import ScriptedUpstream
from waiting import PATIENCE

from .http_client import Client, post
from .measures import eventually, locked, rows

CHAT = post(
    json.dumps(
        {"model": "openai:gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    ).encode()
)
LONG = post(
    json.dumps(
        {"model": "openai:gpt-4o-mini", "messages": [{"role": "user", "content": "words " * 10_000}], "stream": True}
    ).encode()
)


def settings(upstream: ScriptedUpstream, **own: Any) -> dict[str, Any]:
    openai = {"base_url": upstream.base_url, "api_key": "sk-none", "models": ["gpt-4o-mini"]}
    return {"providers": {"openai": openai, "ollama": {"enabled": False}}, **own}


@pytest.fixture
def gateway(upstream: ScriptedUpstream, tmp_path: Path) -> Iterator[Gateway]:
    upstream.default = Answer(pieces=2)
    with running(tmp_path, settings(upstream)) as gateway:
        yield gateway


def database(gateway: Gateway) -> Path:
    return gateway.folder / "data" / "pointsman.sqlite3"


async def answers(gateway: Gateway, count: int, request: bytes = CHAT) -> set[str]:
    """Ask so many times; every one must be answered, and soon. Returns the decisions' ids."""
    client = Client(gateway.port)
    found = set()
    for _ in range(count):
        seen = await client.ask(request)
        assert seen.answered, seen
        assert seen.seconds < 1.0, seen
        assert seen.decision is not None
        found.add(seen.decision)
    await client.close()
    return found


async def log_health(gateway: Gateway) -> dict[str, Any]:
    reply = await asyncio.to_thread(gateway.ask, "GET", "/api/v1/health")
    return {**reply.json["decision_log"], "gateway": reply.json["status"]}


async def until_log(gateway: Gateway, *, ok: bool, within: float = PATIENCE) -> dict[str, Any]:
    async with asyncio.timeout(within):
        while (health := await log_health(gateway))["ok"] is not ok:
            await asyncio.sleep(0.05)
    return health


def logged(gateway: Gateway) -> set[str]:
    return {row["id"] for row in rows(database(gateway)) if row["status"] == "ok"}


async def test_files_that_may_not_grow(gateway):
    """As a disk that is full is: every write that makes a file longer fails."""
    before = await answers(gateway, 5)
    await eventually(lambda: before <= logged(gateway))
    process = psutil.Process(gateway.process.pid)
    unlimited = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (0, unlimited[1]))
    during = await answers(gateway, 50)
    health = await until_log(gateway, ok=False)
    assert health["gateway"] == "degraded"
    assert health["pending"] > 0
    assert "disk" in health["last_error"]
    during |= await answers(gateway, 10)
    process.rlimit(psutil.RLIMIT_FSIZE, unlimited)
    health = await until_log(gateway, ok=True)
    assert health["dropped"] == 0
    await eventually(lambda: before | during <= logged(gateway))


@contextmanager
def small_disk(folder: Path, *options: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    mounted = os.geteuid() == 0 and (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(["size=4m", *options]), "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("only root may mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_disk_that_is_full(upstream, tmp_path):
    upstream.default = Answer(pieces=2)
    with small_disk(tmp_path / "data"), running(tmp_path, settings(upstream)) as gateway:
        before = await answers(gateway, 5)
        await eventually(lambda: before <= logged(gateway))
        ballast = tmp_path / "data" / "ballast"
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(b"x" * 2**23)
        during = await answers(gateway, 100)
        health = await until_log(gateway, ok=False)
        assert "free some space" in health["last_error"]
        ballast.unlink()
        health = await until_log(gateway, ok=True)
        assert health["dropped"] == 0
        await eventually(lambda: before | during <= logged(gateway))


async def test_a_disk_that_the_spool_has_filled_needs_no_room_from_elsewhere(upstream, tmp_path):
    upstream.default = Answer(pieces=2)
    keeps = settings(upstream, privacy={"store_prompts": "all"})
    with small_disk(tmp_path / "data", "size=24m"), running(tmp_path, keeps) as gateway:
        every = await answers(gateway, 5)
        await eventually(lambda: every <= logged(gateway))
        with locked(database(gateway)):
            every |= await answers(gateway, 260, LONG)  # 17 MB in the database, 22 MB in the spool
            async with asyncio.timeout(PATIENCE):
                while "left to the database" not in ((health := await log_health(gateway))["last_error"] or ""):
                    await asyncio.sleep(0.05)
            assert health["pending"] > 0
            assert health["spooled"] > 200
            assert b"pointsman_decision_log_up 0.0" in (await asyncio.to_thread(gateway.ask, "GET", "/metrics")).body
        async with asyncio.timeout(PATIENCE):
            while (health := await until_log(gateway, ok=True))["spooled"] or health["pending"]:
                await asyncio.sleep(0.05)
        assert health["dropped"] == 0
        assert every <= logged(gateway)


async def test_a_disk_that_the_log_itself_has_filled_holds_little_but_the_log(upstream, tmp_path):
    upstream.default = Answer(pieces=2)
    data = tmp_path / "data"
    keeps = settings(upstream, privacy={"store_prompts": "all"})
    with small_disk(data, "size=24m"), running(tmp_path, keeps) as gateway:
        every = await answers(gateway, 200, LONG)
        async with asyncio.timeout(PATIENCE):
            while (await log_health(gateway))["ok"]:
                every |= await answers(gateway, 20, LONG)
        every |= await answers(gateway, 20, LONG)
        assert "free some space" in ((await log_health(gateway))["last_error"] or "")
        assert database(gateway).stat().st_size > 18 * 2**20
        subprocess.run(["mount", "-o", "remount,size=64m", str(data)], check=True)
        health = await until_log(gateway, ok=True)
        await eventually(lambda: every <= logged(gateway))
        assert health["dropped"] == 0


async def test_a_folder_that_is_read_only_from_the_start(upstream, tmp_path):
    upstream.default = Answer(pieces=2)
    data = tmp_path / "data"
    with small_disk(data):
        with running(tmp_path, settings(upstream)):
            pass  # leaves its key and its database
        subprocess.run(["mount", "-o", "remount,ro", str(data)], check=True)
        with running(tmp_path, settings(upstream)) as gateway:
            await answers(gateway, 20)
            health = await log_health(gateway)
            assert not health["ok"]
            assert "read-only" in health["last_error"].lower()
            subprocess.run(["mount", "-o", "remount,rw", str(data)], check=True)
            await until_log(gateway, ok=True)
            later = await answers(gateway, 1)
            await eventually(lambda: later <= logged(gateway))


async def test_the_database_is_deleted_while_serving(gateway):
    before = await answers(gateway, 5)
    await eventually(lambda: before <= logged(gateway))
    for path in database(gateway).parent.glob("pointsman.sqlite3*"):
        path.unlink()
    after = await answers(gateway, 20)
    await eventually(lambda: database(gateway).exists() and after <= logged(gateway))
    assert (await log_health(gateway))["ok"]


async def test_the_data_folder_is_deleted_while_serving(gateway):
    before = await answers(gateway, 5)
    await eventually(lambda: before <= logged(gateway))
    for path in database(gateway).parent.iterdir():
        path.unlink()
    database(gateway).parent.rmdir()
    after = await answers(gateway, 20)
    await eventually(lambda: database(gateway).exists() and after <= logged(gateway))


async def test_the_database_is_damaged_while_serving(gateway):
    before = await answers(gateway, 30)
    await eventually(lambda: before <= logged(gateway))
    for path in database(gateway).parent.glob("pointsman.sqlite3*"):
        with path.open("r+b") as file:
            file.write(os.urandom(path.stat().st_size))
    after = await answers(gateway, 20)

    def written_anew() -> None:
        assert list(database(gateway).parent.glob("*.corrupt-*"))
        assert after <= logged(gateway)

    await eventually(written_anew)
    assert (await log_health(gateway))["ok"]
    later = await answers(gateway, 5)
    await eventually(lambda: later <= logged(gateway))


async def test_two_gateways_on_one_folder(upstream, tmp_path):
    upstream.default = Answer(pieces=2)
    shared = settings(upstream, data_dir=str(tmp_path / "shared"))
    with running(tmp_path / "a", shared) as first, running(tmp_path / "b", shared) as second:
        both = await asyncio.gather(*(answers(gateway, 100) for gateway in (first, second) for _ in range(3)))
        every = set().union(*both)
        assert len(every) == 600
        found = tmp_path / "shared" / "pointsman.sqlite3"
        await eventually(lambda: every <= {row["id"] for row in rows(found) if row["status"] == "ok"})
        # Each tells of the other's decisions too.
        identifier = next(iter(both[0]))
        assert (await asyncio.to_thread(second.ask, "GET", f"/api/v1/decisions/{identifier}")).status == 200
        assert (await log_health(first))["dropped"] == (await log_health(second))["dropped"] == 0
