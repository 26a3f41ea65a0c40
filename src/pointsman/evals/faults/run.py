"""The bench: for each scenario the upstreams, a real gateway before them, the requests, the quiet behind, the count."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pointsman.evals.gateway.common import free_port, listening, serving

from .holding import PATIENCE, grown, quiet
from .scenarios import SCENARIOS, Scenario
from .traffic import Ask, Client, Seen, asks
from .upstream import Stage, Upstreams
from .verdicts import Behind, Verdict, judge

CONCURRENCY = 32
WARM_UP = 60
"""Requests that go well, before anything is measured."""
DEADLINE = 8.0
"""Seconds that the gateway may take for a request, over all attempts (`limits.request_timeout`)."""
GRACE = 12.0
"""Seconds beyond the deadline after which a request counts as hung."""
TIMEOUTS = {"connect_timeout": 1.0, "first_byte_timeout": 0.8, "between_bytes_timeout": 0.8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a scenario.

    Attributes:
        played: how often each fault was met by an attempt.
        attempts: that reached an upstream.
        leaks: defects of the run as a whole, by name; 0 where all is well.
        notes: which requests their upstream would not take, and which answers were under way to the last.
        log: what the gateway said.
    """

    scenario: Scenario
    verdicts: Sequence[Verdict]
    played: Mapping[str, int]
    attempts: int
    leaks: Mapping[str, int]
    notes: Sequence[str]
    seconds: float
    log: str


def run(
    *,
    seed: int,
    requests: int,
    concurrency: int = CONCURRENCY,
    scenarios: Sequence[Scenario] = SCENARIOS,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Result]:
    """Ask `requests` times over all scenarios, everything drawn by the seed.

    Raises:
        BenchError: it cannot run here.
    """
    found = []
    for scenario in scenarios:
        share = scenario.share / sum(each.share for each in scenarios)
        with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as folder:
            work = _run(Path(folder), scenario, seed, max(1, round(requests * share)), concurrency, progress)
            found.append(asyncio.run(work))
    return found


async def _run(
    folder: Path, scenario: Scenario, seed: int, requests: int, concurrency: int, progress: Callable[[str], None]
) -> Result:
    async with Upstreams(folder) as upstreams, contextlib.AsyncExitStack() as stack:
        port = free_port()
        config = folder / "gateway.yaml"
        config.write_text(json.dumps(settings(folder, port, upstreams, scenario)))
        path = folder / "gateway.log"
        started = stack.enter_context(serving(config, stack.enter_context(path.open("wb"))))
        await listening(port, started, path)
        process = psutil.Process(started.pid)
        stage = upstreams.stage
        warm = asks(WARM_UP, seed=seed, routes=scenario.routes(upstreams), faults=False)
        plan = scenario.asks(requests, upstreams, seed=seed, first=WARM_UP)
        stage.expect([*warm, *plan])
        await play(port, warm, concurrency)
        before = await quiet(port, process, upstreams)
        progress(f"{scenario.title}: {requests} requests, {concurrency} at a time, seed {seed}")
        stage.pace = scenario.pace
        async with _disturbed(scenario, upstreams, seed):
            begun = time.perf_counter()
            saw = await play(port, plan, concurrency)
            seconds = time.perf_counter() - begun
        progress(f"asked in {seconds:.1f} s; waiting until all is quiet")
        after = await quiet(port, process, upstreams, like=before)
        records = await read_log(port, [saw[ask.number] for ask in plan])
        verdicts = [
            judge(ask, saw[ask.number], behind(stage, ask, saw[ask.number], records), must=scenario.answers_all)
            for ask in plan
        ]
        text = path.read_text(encoding="utf-8", errors="replace")
        return Result(
            scenario=scenario,
            verdicts=verdicts,
            played=dict(stage.played - Counter(none=len(warm))),
            attempts=stage.attempts.total() - len(warm),
            leaks={
                **grown(before, after, upstreams),
                "uncounted": abs(after.ended - before.ended - len(plan)),
                "unfit": len(stage.unfit),
                "traces": text.count("Traceback") + text.count("in the handler of"),
            },
            notes=[*stage.unfit, *(f"still under way: {name}" for name in +stage.playing)],
            seconds=round(seconds, 1),
            log=text,
        )


def settings(folder: Path, port: int, upstreams: Upstreams, scenario: Scenario) -> dict[str, Any]:
    """Of the gateway: short time-outs."""
    return {
        "data_dir": str(folder / "data"),
        "cache_dir": str(folder / "cache"),
        "server": {"host": "127.0.0.1", "port": port},
        "embedded": {"enabled": False},
        "log": {"level": "warning"},
        "limits": {**TIMEOUTS, "request_timeout": DEADLINE},
        "routing": {"fallbacks": upstreams.fallbacks(), "exploration": {"share": 0.0}},
        "providers": upstreams.providers(),
        **scenario.settings(upstreams),
    }


@contextlib.asynccontextmanager
async def _disturbed(scenario: Scenario, upstreams: Upstreams, seed: int) -> Any:
    if scenario.disturb is None:
        yield
        return
    rng = random.Random(seed)  # noqa: S311 - no secret
    disturbing = asyncio.ensure_future(scenario.disturb(upstreams, rng))
    try:
        yield
    finally:
        disturbing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await disturbing


async def play(port: int, plan: Sequence[Ask], concurrency: int) -> dict[int, Seen]:
    """Ask everything, so many at a time; what each client saw, by number."""
    waiting = list(reversed(plan))
    saw: dict[int, Seen] = {}

    async def work() -> None:
        client = Client(port, patience=DEADLINE + GRACE)
        while waiting:
            ask = waiting.pop()
            saw[ask.number] = await client.ask("POST", ask.dialect.path, ask.body())
        client.close()

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return saw


def behind(stage: Stage, ask: Ask, seen: Seen, records: Mapping[str, Any]) -> Behind:
    """What is known of a request beside what its caller saw."""
    return Behind(
        record=records.get(seen.decision or ""),
        said=frozenset(stage.said.get(ask.number, ())),
        continued=stage.continued[ask.number],
    )


async def read_log(port: int, saw: Sequence[Seen]) -> dict[str, Any]:
    """The log's entries of the answers that name one, with their outcomes as soon as these are written."""
    wanted = [seen.decision for seen in saw if seen.decision is not None]
    found: dict[str, Any] = {}
    until = time.monotonic() + PATIENCE

    async def work() -> None:
        client = Client(port, patience=PATIENCE)
        while wanted:
            decision = wanted.pop()
            while True:
                reply = await client.ask("GET", f"/api/v1/decisions/{decision}")
                if reply.status == 200:
                    found[decision] = json.loads(reply.body)
                    if found[decision].get("outcome") is not None:
                        break
                if time.monotonic() > until:
                    break
                await asyncio.sleep(0.1)
        client.close()

    await asyncio.gather(*(work() for _ in range(4)))
    return found
