"""Many streams at once, clients that leave, and an end that comes in good order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import time

import psutil
import pytest

from pointsman.testing.answers import Answer, Reset, Stall
from waiting import until

from .running import running

PINNED = {"model": "openai:gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def raw_post(body: dict) -> bytes:
    data = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def sockets(gateway) -> int:
    return len(
        [found for found in psutil.Process(gateway.process.pid).net_connections() if found.status == "ESTABLISHED"]
    )


async def test_two_hundred_streams_at_once(gateway, cloud, data_plane):
    cloud.script(*[Answer(text=f"answer {number} " * 5, pieces=20, delay=0.01) for number in range(200)])

    async def one() -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(raw_post(PINNED))
        received = await asyncio.wait_for(reader.readuntil(b"data: [DONE]"), 30)
        writer.close()
        text = ""
        for line in received.split(b"\n"):
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    text += choice["delta"].get("content") or ""
        return text

    answers = await asyncio.gather(*(one() for _ in range(200)))
    assert sorted(answers) == sorted(f"answer {number} " * 5 for number in range(200))
    pooled = 70 if data_plane == "native" else 210  # aiohttp keeps every idle connection for a while
    until(lambda: cloud.open_connections <= pooled and sockets(gateway) <= pooled)


@pytest.mark.parametrize(
    "step",
    [Answer(pieces=200, text="x" * 400, delay=0.05), Stall(), Answer(first_delay=5)],
    ids=["stream", "stall", "slow"],
)
def test_a_client_that_leaves_frees_the_upstream_and_pays_for_what_came(gateway, cloud, background, step):
    cloud.script(step)

    async def leave() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(raw_post(PINNED))
        await asyncio.sleep(0.3)
        writer.transport.abort()

    asyncio.run(leave())
    background.run(cloud.wait_until(lambda upstream: upstream.abandoned == 1, timeout=1.0))
    latest = gateway.ask("GET", "/api/v1/decisions?limit=1").json["data"][0]["id"]
    outcome = gateway.record(latest)["outcome"]
    assert (outcome["status"], outcome["attempts"][0]["status"]) == ("cancelled", "cancelled")
    began = outcome["attempts"][0]["first_byte_seconds"] is not None
    assert outcome["attempts"][0]["estimated"] == began == bool(outcome["cost_micro_usd"])


@pytest.mark.parametrize("step", [Answer(first_delay=5), Stall()], ids=["slow", "stall"])
def test_of_a_whole_answer_that_nobody_waited_for_the_prompt_is_estimated(gateway, cloud, background, step):
    cloud.script(step)
    body = {**PINNED, "stream": False, "messages": [{"role": "user", "content": "many words " * 100}]}

    async def leave() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(raw_post(body))
        await asyncio.to_thread(until, lambda: cloud.chats)
        writer.transport.abort()

    asyncio.run(leave())
    background.run(cloud.wait_until(lambda upstream: upstream.abandoned == 1, timeout=5.0))
    latest = gateway.ask("GET", "/api/v1/decisions?limit=1").json["data"][0]["id"]
    decision = gateway.record(latest)
    outcome = decision["outcome"]
    assert (outcome["status"], outcome["attempts"][0]["status"]) == ("cancelled", "cancelled")
    assert outcome["prompt_tokens"] == decision["signals"]["needs"]["prompt_tokens"] > 200
    assert (outcome["completion_tokens"], outcome["attempts"][0]["estimated"]) == (0, True)
    assert outcome["cost_micro_usd"] > 0


def test_a_break_in_mid_stream_is_an_error_event(gateway, cloud):
    cloud.script(Reset(after_bytes=400))
    reply = gateway.ask("POST", "/v1/chat/completions", PINNED)
    frames = [line[6:] for line in reply.body.split(b"\n") if line.startswith(b"data: ")]
    assert json.loads(frames[-1])["error"]["code"] == "upstream_broken"
    assert all(json.loads(frame) for frame in frames), "no half frame reaches the caller"
    assert b"[DONE]" not in reply.body


def test_a_stop_lets_streams_finish(tmp_path, settings, cloud):
    cloud.script(Answer(text="slow but whole", pieces=10, delay=0.1))
    with running(tmp_path, settings) as gateway:

        async def stop_midway() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(raw_post(PINNED))
            first = await reader.readuntil(b"data: ")
            gateway.process.send_signal(signal.SIGTERM)
            rest = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return first + rest

        received = asyncio.run(stop_midway())
        assert b"[DONE]" in received
        assert gateway.process.wait(10) == 0
    rows = sqlite3.connect(tmp_path / "data" / "pointsman.sqlite3").execute("select status from decisions").fetchall()
    assert rows == [("ok",)]


def test_a_kill_loses_at_most_the_last_second(tmp_path, settings, lan):
    with running(tmp_path, settings) as gateway:
        for _ in range(20):
            assert gateway.chat("hi", model="fast").status == 200
        time.sleep(1.0)
        os.kill(gateway.process.pid, signal.SIGKILL)
        gateway.process.wait()
    database = sqlite3.connect(tmp_path / "data" / "pointsman.sqlite3")
    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    assert database.execute("select count(*) from decisions where status = 'ok'").fetchone() == (20,)
    database.close()
    with running(tmp_path, settings) as gateway:
        assert gateway.chat("hi", model="fast").status == 200
