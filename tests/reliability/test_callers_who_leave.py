"""Whoever hangs up, in any dialect and at any moment, frees what stood behind the request within a second."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects_in import DIALECTS, Dialect
from gateway.running import Gateway, running
from gateway.upstreams_in_trouble import SHOWS, UPSTREAMS, Good, Slow, providers
from pointsman.testing.answers import SeenRequest, Stall, Status, Step, Wire
from pointsman.testing.upstream import ScriptedUpstream

from .http_client import ask_once, post
from .measures import eventually, held, rows

ADMIN = {"authorization": "Bearer pm-key-of-an-admin-0123456789abcdef"}
SHORT = 10
"""Requests a minute that one provider allows: the next one has to wait for six seconds."""


class ByMoment:
    """What the upstream plays for those who leave at a moment."""

    steps: dict[str, Step] = {  # noqa: RUF012 - never changed
        "before": Stall(),
        "middle": Slow(),
        "whole": Stall(),
        "retry": Status(429, retry_after=5),
        "short": Good(),
    }

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        step = next((step for word, step in self.steps.items() if f"leaves-{word}".encode() in request.body), Good())
        await step.play(request, wire)


def tree(upstream: ScriptedUpstream, data_plane: str) -> dict[str, Any]:
    known = providers(upstream.root)
    priced = {"input": 1.0, "output": 1.0}
    for provider in known.values():
        provider["prices"] = dict.fromkeys(provider["models"], priced)
    known["short"] = {**known["openai"], "requests_per_minute": SHORT}
    return {
        "providers": known,
        "limits": {"first_byte_timeout": 20.0, "between_bytes_timeout": 20.0},
        "budgets": {"monthly": 1000.0},
        "execution": {"retries": 1},
        "server": {"data_plane": data_plane, "admin_keys": [ADMIN["authorization"].removeprefix("Bearer ")]},
    }


@pytest.fixture
def gateway(upstream: ScriptedUpstream, data_plane: str, tmp_path: Path) -> Iterator[Gateway]:
    upstream.default = ByMoment()
    upstream.models, upstream.shows = tuple(SHOWS), SHOWS
    with running(tmp_path, tree(upstream, data_plane)) as gateway:
        gateway.headers = ADMIN
        yield gateway


def asked(dialect: Dialect, model: str, moment: str) -> bytes:
    body = dialect.asked(model, f"hi leaves-{moment}", stream=moment in ("before", "middle"))
    return post(json.dumps(body).encode(), dialect.path, f"Authorization: {ADMIN['authorization']}\r\n")


def everybody() -> Iterator[tuple[Dialect, str, str]]:
    """A dialect, a model, and when its caller leaves."""
    for dialect in DIALECTS.values():
        if dialect.kind == "nothing":
            continue
        for kind in ("openai", "anthropic", "ollama"):
            model = UPSTREAMS[kind].model(dialect.kind)
            if model is None:
                continue
            if True in dialect.streams:
                yield dialect, model, "before"
                yield dialect, model, "middle"
            if False in dialect.streams:
                yield dialect, model, "whole"


def posts(upstream: ScriptedUpstream) -> list[SeenRequest]:
    return [request for request in upstream.requests if b"leaves-" in request.body]


async def details(gateway: Gateway) -> dict[str, Any]:
    return (await asyncio.to_thread(gateway.ask, "GET", "/api/v1/health/details")).json


async def reserved(gateway: Gateway) -> int:
    reply = await asyncio.to_thread(gateway.ask, "GET", "/api/v1/budgets")
    assert reply.status == 200, reply.body
    return sum(budget["reserved_micro_usd"] for budget in reply.json["budgets"])


async def test_at_any_moment_of_an_answer(gateway, upstream, tmp_path):
    callers = list(everybody())
    before, tasks = held(gateway.process.pid), (await details(gateway))["process"]["tasks"]
    known = len(upstream.requests)

    async def ask(dialect: Dialect, model: str, moment: str) -> asyncio.StreamWriter:
        """Asks, and waits until it is time to leave."""
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(asked(dialect, model, moment))
        if moment == "middle":
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), (dialect.path, model, head)
            await reader.read(1)
        return writer

    async with asyncio.timeout(30):
        waiting = await asyncio.gather(*(ask(*caller) for caller in callers))
    await upstream.wait_until(lambda seen: len(seen.requests) >= known + len(callers), timeout=60)
    assert (await details(gateway))["active_requests"] == len(callers)
    assert await reserved(gateway) > 0
    begun = upstream.abandoned
    for number, writer in enumerate(waiting):
        if number % 2:
            writer.transport.abort()
        else:
            writer.close()
    left = time.monotonic()
    await upstream.wait_until(lambda seen: seen.abandoned == begun + len(callers), timeout=1.0)
    assert time.monotonic() - left < 1.0

    database = tmp_path / "data" / "pointsman.sqlite3"
    await eventually(lambda: {row["status"] for row in rows(database)} == {"cancelled"})
    ends = rows(database)
    assert len(ends) == len(callers)
    assert {(row["error"], row["http_status"]) for row in ends} == {(None, 499)}
    attempts = [json.loads(row["attempts"]) for row in ends]
    assert {tuple(attempt["status"] for attempt in one) for one in attempts} == {("cancelled",)}
    told = [row for row in ends if row["model"].startswith("anthropic:") and row["first_byte_seconds"] is not None]
    assert told, "Anthropic tells of the prompt's tokens at first"
    assert all(row["prompt_tokens"] for row in told)

    async with asyncio.timeout(60):
        while await reserved(gateway) or (await details(gateway))["active_requests"]:
            await asyncio.sleep(0.02)
        while (await details(gateway))["process"]["tasks"] > tasks:
            await asyncio.sleep(0.02)
    few = len(callers) // 4  # connections that are kept for later calls, such as those that ask for health
    await eventually(lambda: held(gateway.process.pid).descriptors <= before.descriptors + few)


@pytest.mark.parametrize("data_plane", ["native"])
async def test_while_the_request_waits(gateway, upstream, tmp_path):
    """For the moment that the upstream named, or in which its provider's limit allows another request."""
    database = tmp_path / "data" / "pointsman.sqlite3"
    known = 0
    for model, moment, status in (("openai:gpt-4o-mini", "retry", "error"), ("short:gpt-4o-mini", "short", "refused")):
        chat = asked(DIALECTS["chat"], model, moment)
        if moment == "short":
            for _ in range(SHORT):
                assert (await ask_once(gateway.port, chat)).status == 200
            known += SHORT
        begun = len(posts(upstream))
        assert (await ask_once(gateway.port, chat, leave_after=0.8)).left
        known += 1
        await eventually(lambda known=known: [row["status"] for row in rows(database)][known - 1 :] == ["cancelled"])
        last = rows(database)[-1]
        assert 0.5 < last["seconds"] < 2.5
        assert len(posts(upstream)) == begun + (moment == "retry")
        assert [attempt["status"] for attempt in json.loads(last["attempts"])] == [status]
    async with asyncio.timeout(60):
        while await reserved(gateway) or (await details(gateway))["active_requests"]:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("data_plane", ["native"])
async def test_while_two_models_race(upstream, data_plane, tmp_path):
    """The second is asked because the first is slow to begin; both are told that nobody listens any more."""
    upstream.default = ByMoment()
    known = {"openai": providers(upstream.root)["openai"], "ollama": {"enabled": False}}
    known["openai"]["models"] = ["gpt-4o-mini", "gpt-4o"]
    known["openai"]["prices"] = {model: {"input": 0.1, "output": 0.1} for model in known["openai"]["models"]}
    execution = {"retries": 0, "hedging": {"enabled": True, "share": 1.0}}
    settings = {**tree(upstream, data_plane), "providers": known, "execution": execution}
    with running(tmp_path, settings) as gateway:
        gateway.headers = ADMIN
        for _ in range(25):  # so that it is known how soon the model begins
            assert (await ask_once(gateway.port, asked(DIALECTS["chat"], "auto", "short"))).status == 200
        begun = len(posts(upstream))
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(asked(DIALECTS["chat"], "auto", "before"))
        await upstream.wait_until(lambda seen: len(posts(seen)) == begun + 2, timeout=60)
        abandoned = upstream.abandoned
        writer.transport.abort()
        await upstream.wait_until(lambda seen: seen.abandoned == abandoned + 2, timeout=1.0)
        database = tmp_path / "data" / "pointsman.sqlite3"
        await eventually(lambda: [row["status"] for row in rows(database)][-1:] == ["cancelled"], within=2)
        attempts = json.loads(rows(database)[-1]["attempts"])
        assert [attempt["status"] for attempt in attempts] == ["cancelled", "cancelled"]
        async with asyncio.timeout(60):
            while await reserved(gateway) or (await details(gateway))["active_requests"]:
                await asyncio.sleep(0.02)
