"""A real engine: what it answers, to whom, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from pointsman.providers.llamacpp.engine import Engine, EngineState
from pointsman.transport.pool import Pool

from .conftest import MakeEngine, call

pytestmark = pytest.mark.engine


def chat(content: str, **more: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 8, **more}).encode()


async def answer(pool: Pool, engine: Engine, target: str, body: bytes = b"", *, key: str | None) -> tuple[int, Any]:
    response = await call(pool, engine, target, body, key=key)
    return response.status, json.loads(await response.read())


async def test_it_starts_when_it_is_needed_and_answers_who_has_the_key(
    weights: Path, make_engine: MakeEngine, pool: Pool
) -> None:
    engine = make_engine(weights)
    assert engine.state is EngineState.STOPPED
    await engine.ready()
    assert engine.state is EngineState.READY
    assert await engine.healthy()
    assert engine.status.start_seconds is not None
    assert await answer(pool, engine, "/health", key=None) == (200, {"status": "ok"})

    status, body = await answer(pool, engine, "/v1/chat/completions", chat("Say hello."), key=engine.api_key)
    assert status == 200
    assert body["choices"][0]["message"]["content"]
    assert body["usage"]["completion_tokens"] > 0
    assert body["model"] == "test:tiny"

    for key in (None, "", "wrong"):
        for target, sent in (("/v1/chat/completions", chat("Say hello.")), ("/slots", b""), ("/metrics", b"")):
            assert (await answer(pool, engine, target, sent, key=key))[0] == 401, (key, target)


async def test_each_slot_has_the_context_that_was_asked_for_and_says_when_a_prompt_is_too_long(
    weights: Path, make_engine: MakeEngine, pool: Pool
) -> None:
    engine = make_engine(weights)
    await engine.ready()
    _, slots = await answer(pool, engine, "/slots", key=engine.api_key)
    assert [slot["n_ctx"] for slot in slots] == [1024, 1024]
    status, body = await answer(pool, engine, "/v1/chat/completions", chat("word " * 3000), key=engine.api_key)
    assert status == 400
    assert body["error"]["type"] == "exceed_context_size_error"
    assert body["error"]["n_ctx"] == 1024
    assert body["error"]["n_prompt_tokens"] > 3000


async def test_it_listens_on_loopback_alone_and_shows_its_key_nowhere(
    weights: Path, make_engine: MakeEngine, pool: Pool, tmp_path: Path
) -> None:
    engine = make_engine(weights)
    await engine.ready()
    child = psutil.Process(engine.status.pid)
    listening = [item.laddr for item in child.net_connections() if item.status == psutil.CONN_LISTEN]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", engine.origin.port)]
    assert engine.api_key not in " ".join(child.cmdline())
    assert engine.api_key not in str(child.environ())
    assert child.environ()["OMP_WAIT_POLICY"] == "passive", "or another busy process takes its speed away"

    planted = "planted-9317-sentence"
    await answer(pool, engine, "/v1/chat/completions", chat(planted), key=engine.api_key)
    await answer(pool, engine, "/v1/chat/completions", chat(planted * 2000), key=engine.api_key)
    await answer(pool, engine, "/v1/chat/completions", chat(planted), key=planted)
    kept = ""
    for _ in range(100):
        kept = "\n".join(engine.tail_log(1000))
        if "unauthorized" in kept:
            break
        await asyncio.sleep(0.05)
    assert "unauthorized" in kept, "warnings are kept, and come a little later"
    assert planted not in kept
    assert engine.api_key not in kept
    assert (tmp_path / "data" / "engine" / "test-tiny.log").exists()


async def test_a_stream_that_is_closed_early_frees_its_slot(weights: Path, make_engine: MakeEngine, pool: Pool) -> None:
    engine = make_engine(weights)
    await engine.ready()
    for _ in range(4):  # twice as many as there are slots
        body = chat("Count to one thousand.", stream=True, max_tokens=900, ignore_eos=True)
        response = await call(pool, engine, "/v1/chat/completions", body, key=engine.api_key)
        async for _ in response:
            break
        response.close()
    status, _ = await answer(pool, engine, "/v1/chat/completions", chat("Say hello."), key=engine.api_key)
    assert status == 200
