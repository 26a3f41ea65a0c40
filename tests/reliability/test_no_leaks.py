"""Thousands of requests that end in every way leave nothing behind, and one true row each."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.running import Gateway, running
from pointsman import app
from pointsman.settings import load
from pointsman.testing.upstream import ScriptedUpstream

from .http_client import Client, Seen, post
from .measures import Held, eventually, held, rows
from .scenarios import OTHER, PINNED, Plan, Stage, plans

CONCURRENCY = 50
WARM_UP, MIX = 300, 1700
MEBIBYTE = 2**20


def settings(upstream: ScriptedUpstream, data_plane: str) -> dict[str, Any]:
    return {
        "providers": {
            "openai": {
                "base_url": upstream.base_url,
                "api_key": "sk-none",
                "models": [PINNED.split(":")[1], OTHER.split(":")[1]],
            },
            "ollama": {"enabled": False},
        },
        "privacy": {"store_prompts": "all"},
        # Only what stalls waits so long; what an upstream says at once must come through in time on a busy machine too.
        "limits": {"first_byte_timeout": 5.0, "between_bytes_timeout": 5.0, "connect_timeout": 5.0},
        "server": {"data_plane": data_plane},
    }


@pytest.fixture
def stage(upstream: ScriptedUpstream) -> Stage:
    stage = Stage()
    upstream.default = stage
    return stage


@pytest.fixture
def gateway(upstream: ScriptedUpstream, data_plane: str, tmp_path: Path) -> Iterator[Gateway]:
    with running(tmp_path, settings(upstream, data_plane)) as gateway:
        yield gateway


async def play(port: int, mix: list[Plan]) -> dict[int, Seen]:
    """The mix, `CONCURRENCY` requests at a time; what each client saw, by number."""
    waiting = list(reversed(mix))
    saw: dict[int, Seen] = {}

    async def work() -> None:
        client = Client(port)
        while waiting:
            plan = waiting.pop()
            saw[plan.number] = await client.ask(post(plan.body), leave_after=plan.leave_after, by_reset=plan.by_reset)
        await client.close()

    async with asyncio.timeout(150):
        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return saw


def check_answer(plan: Plan, seen: Seen) -> None:
    """Each answer is its own: nothing of another, nothing twice, nothing left out in the middle."""
    about = (plan.scenario.name, plan.stream, seen)
    assert plan.text.startswith(seen.text), about
    if seen.left:
        return
    assert seen.status is not None, about
    if plan.scenario.whole:
        assert seen.answered, about
        assert seen.text == plan.text, about
    else:
        assert seen.error is not None or not seen.whole, about
        assert not seen.done, about


def by_request(database: Path) -> dict[int, list[dict[str, Any]]]:
    """The log's rows of those requests whose prompt it has, by number."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    query = "SELECT d.*, p.messages FROM decisions d JOIN prompts p ON p.decision_id = d.id"
    for row in rows(database, query):
        found[int(re.search(rb"request-(\d+)-end", row["messages"]).group(1))].append(row)
    return found


def check_rows(mix: list[Plan], saw: dict[int, Seen], database: Path) -> Counter[str]:
    every = {row["id"]: row for row in rows(database)}
    assert all(row["status"] is not None for row in every.values())
    prompted = by_request(database)
    statuses: Counter[str] = Counter()
    for plan in mix:
        seen = saw[plan.number]
        about = (plan, seen, prompted[plan.number])
        if plan.scenario.statuses == frozenset({"refused"}):
            found = [every[seen.decision]] if seen.decision in every else []
        else:
            found = prompted[plan.number]
        if seen.left and not found:
            # It may have gone before its request was read; one that saw an answer begin was certainly heard.
            assert seen.status is None, about
            continue
        assert len(found) == 1, about
        status = found[0]["status"]
        statuses[status] += 1
        if seen.left:
            # The answer may have been on its way as the client left.
            assert status in plan.scenario.statuses | {"cancelled"}, about
        else:
            assert status in plan.scenario.statuses, about
            assert seen.decision == found[0]["id"], about
            assert (status == "ok") == seen.answered, about
            if seen.error is not None:
                assert found[0]["error"] is not None, about
    return statuses


async def settled(gateway: Gateway, upstream: ScriptedUpstream) -> Held:
    """What the gateway holds when nothing has moved for a while."""
    last = held(gateway.process.pid)
    still = 0
    for _ in range(100):
        await asyncio.sleep(0.1)
        now = held(gateway.process.pid)
        still = still + 1 if (now.descriptors, now.threads) == (last.descriptors, last.threads) else 0
        last = now
        if still >= 5:
            break
    return last


@pytest.mark.timeout(330)
async def test_a_mix_of_everything_leaves_nothing_behind(gateway, upstream, stage, tmp_path):
    database = tmp_path / "data" / "pointsman.sqlite3"
    warm_up, mix = plans(WARM_UP, seed=1), plans(MIX, seed=2, first=WARM_UP)
    stage.expect(warm_up + mix)
    saw = await play(gateway.port, warm_up)
    before = await settled(gateway, upstream)

    saw |= await play(gateway.port, mix)

    def back() -> None:
        after = held(gateway.process.pid)
        # Idle connections to the upstream are kept, at most as many as were needed at once.
        assert after.sockets <= max(before.sockets, CONCURRENCY) + 2, (before, after)
        assert after.descriptors - after.sockets <= before.descriptors - before.sockets + 2, (before, after)
        assert after.threads <= before.threads + 1, (before, after)
        assert after.children == 0
        assert upstream.open_connections <= max(before.sockets, CONCURRENCY) + 2

    await eventually(back, within=20)  # before idle connections are closed for their age
    growth = held(gateway.process.pid).memory - before.memory
    assert growth < 16 * MEBIBYTE, f"{growth / MEBIBYTE:.1f} MiB more after {MIX} requests"

    for plan in warm_up + mix:
        check_answer(plan, saw[plan.number])
    await asyncio.sleep(0.5)
    await eventually(lambda: all(row["status"] for row in rows(database)))
    statuses = check_rows(warm_up + mix, saw, database)
    assert statuses["cancelled"] > 50, statuses
    assert len(rows(database)) <= len(saw)


async def test_no_task_outlives_its_request(upstream, stage, data_plane, tmp_path):
    mix = plans(500, seed=3)
    stage.expect(mix)
    tree = {**settings(upstream, data_plane), "data_dir": str(tmp_path), "embedded": {"enabled": False}}
    tree["server"]["port"] = 0
    (tmp_path / "pointsman.yaml").write_text(yaml.safe_dump(tree))
    async with app.Gateway(load(config=tmp_path / "pointsman.yaml", environ={})) as gateway:
        before = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}
        await play(gateway.port, mix)

        def only_those_from_before() -> None:
            now = Counter(task.get_coro().__qualname__ for task in asyncio.all_tasks())
            served = {name for name in now if not name.startswith("ScriptedUpstream")}
            assert served <= before, now
            assert now.total() <= len(before) + CONCURRENCY, now  # upstream, a task waits on each idle connection

        await eventually(only_those_from_before)
