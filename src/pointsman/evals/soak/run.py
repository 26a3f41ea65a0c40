"""Starts a gateway before a mock upstream, warms it up, soaks it, and compares what it holds before and after."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil

from pointsman.evals.gateway.common import BenchError, free_port, listening, serving
from pointsman.evals.gateway.upstream import mock_upstream

from .callers import Callers
from .held import Held, held
from .mix import requests
from .verdict import Change, changes, growth_per_hour

CAPACITY_SECONDS = 5.0
SETTLE_SECONDS = 40.0
"""At most, until nothing is under way any more."""
STILL_SECONDS = 3.0
"""Then, before what is held is noted: the log is written, and the pool has closed what it will not use again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long, and how much.

    Attributes:
        seconds: of the soak itself.
        warm_up: seconds of the same traffic before it.
        rate: requests a second; None: half of what the gateway can do, which is measured first.
        callers: requests at the same time, at most.
        prompts: different prompts of each kind; 0: each is new, and caches grow until they are full.
        every: seconds between two rows of the table.
    """

    seconds: float
    warm_up: float
    rate: float | None = None
    callers: int = 32
    prompts: int = 50
    every: float = 30.0
    seed: int = 7
    data_plane: str = "native"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    seconds: float
    rate: float
    """Requests a second that were asked for."""
    capacity: float | None
    """Requests a second that the gateway could do; None where the rate was given."""
    ended: dict[str, int]
    failures: dict[str, int]
    memory_growth_mib_per_hour: float
    """The slope of a line through the samples of the second half (Theil and Sen's: the median of all slopes)."""
    changes: list[Change]
    samples: list[Held]

    @property
    def kept(self) -> bool:
        """Whether everything is where it was, and every request ended as it was to."""
        return not self.failures and all(change.kept for change in self.changes)


def run(plan: Plan, *, progress: Callable[[str], None] = lambda line: None) -> Report:
    """Soak.

    Raises:
        BenchError: it cannot run here, or the gateway ended.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-soak-")))
        upstream = stack.enter_context(mock_upstream("pointsman.evals.soak.upstream")).port
        port = free_port()
        config, log = folder / "pointsman.yaml", folder / "gateway.log"
        config.write_text(json.dumps(settings(folder, port, upstream, plan.data_plane)), encoding="utf-8")
        process = stack.enter_context(serving(config, stack.enter_context(log.open("wb"))))

        async def soak() -> Report:
            await listening(port, process, log)
            return await _Soak(plan, psutil.Process(process.pid), port, progress).run()

        try:
            return asyncio.run(soak())
        except psutil.NoSuchProcess:
            raise BenchError(f"The gateway ended: {log.read_text(errors='replace')[-2000:]}") from None


def settings(folder: Path, port: int, upstream: int, data_plane: str) -> Mapping[str, Any]:
    """A default install's, with limits and a budget that hold nobody up, so that what keeps count is soaked too."""
    address = f"http://127.0.0.1:{upstream}/v1"
    price = {"input": 0.1, "output": 0.4}
    models = ["gpt-4o-mini", "gpt-4o", "text-embedding-3-small"]
    return {
        "data_dir": str(folder / "data"),
        "cache_dir": str(folder / "cache"),
        "server": {"host": "127.0.0.1", "port": port, "data_plane": data_plane},
        "embedded": {"enabled": False},
        "log": {"level": "warning"},
        "budgets": {"monthly": 1e6},
        "providers": {
            "ollama": {"enabled": False},
            "openai": {
                "base_url": address,
                "api_key": "soak",
                "models": models,
                "prices": dict.fromkeys(models, price),
                "requests_per_minute": 10_000_000,
            },
            "faulty": {"base_url": address, "api_key": "soak", "models": ["gpt-4o"], "prices": {"gpt-4o": price}},
        },
    }


class _Soak:
    def __init__(self, plan: Plan, process: psutil.Process, port: int, progress: Callable[[str], None]) -> None:
        self._plan = plan
        self._process = process
        self._port = port
        self._progress = progress
        self._callers = Callers(port, count=plan.callers, requests=requests(plan.seed, prompts=plan.prompts))
        self._began = time.monotonic()

    async def run(self) -> Report:
        plan, callers = self._plan, self._callers
        rate, capacity = plan.rate, None
        if rate is None:
            capacity = await self._capacity()
            rate = capacity / 2
        self._progress(f"warming up: {rate:.0f} requests a second for {plan.warm_up:.0f} s")
        async with callers.asking(rate):
            await asyncio.sleep(plan.warm_up)
        before = await self._at_rest()
        self._progress(f"soaking for {plan.seconds:.0f} s")
        known, self._began = callers.counts.total, time.monotonic()
        samples = [before]
        async with callers.asking(rate):
            until = self._began + plan.seconds
            while (left := until - time.monotonic()) > 0:
                await asyncio.sleep(min(plan.every, left))
                samples.append(await self._held())
                self._progress(f"{samples[-1].seconds:.0f} s: {callers.counts.total - known} requests")
        seconds = time.monotonic() - self._began
        samples.append(await self._at_rest())
        return Report(
            seconds=round(seconds, 1),
            rate=round(rate, 1),
            capacity=None if capacity is None else round(capacity, 1),
            ended=dict(callers.counts.ended),
            failures=dict(callers.counts.failures),
            memory_growth_mib_per_hour=growth_per_hour(samples[1:-1]),
            changes=changes(before, samples[-1], callers=plan.callers),
            samples=samples,
        )

    async def _capacity(self) -> float:
        """Requests a second of the same traffic when nobody waits."""
        self._progress("measuring what the gateway can do")
        callers = self._callers
        async with callers.asking(None):
            await asyncio.sleep(1.0)
            known, began = callers.counts.total, time.monotonic()
            await asyncio.sleep(CAPACITY_SECONDS)
            return max(1.0, (callers.counts.total - known) / (time.monotonic() - began))

    async def _at_rest(self) -> Held:
        """What is held when no answer is under way.

        Raises:
            BenchError: some still are, long after.
        """
        until = time.monotonic() + SETTLE_SECONDS
        while (await self._held()).active:
            if time.monotonic() > until:
                raise BenchError(f"Answers are under way {SETTLE_SECONDS:.0f} s after the last caller left.")
            await asyncio.sleep(0.2)
        await asyncio.sleep(STILL_SECONDS)
        return await self._held()

    async def _held(self) -> Held:
        return await held(
            self._process,
            self._port,
            seconds=max(0.0, time.monotonic() - self._began),
            requests=self._callers.counts.total,
        )


def as_json(report: Report) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(report)
    return {**built, "kept": report.kept}
