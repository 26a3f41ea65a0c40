"""Where the steps of a request go, by part of the path: a profile that a busy machine does not change."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .cases import CASES, Case, bodies
from .common import BenchError
from .load import post, run_load
from .peers import Setting, pointsman
from .running import Target
from .upstream import mock_upstream

PINNED, AUTO = 0, 1
"""Lanes of this gateway."""
PROFILED = (
    ("2 KB, pinned", CASES[0], PINNED),
    ("2 KB, auto", CASES[0], AUTO),
    ("100 KB, pinned", CASES[1], PINNED),
    ("100 KB, auto", CASES[1], AUTO),
    ("stream of 50 chunks", CASES[2], PINNED),
    (
        "50 chunks, each alone",
        Case(name="2 KB, 50 chunks apart", bytes=2_000, stream=True, apart=True, requests=0),
        PINNED,
    ),
)

PARTS: Mapping[str, tuple[str, ...]] = {
    "server": (
        "transport/server",
        "transport/head",
        "transport/responder",
        "transport/wire",
        "transport/limits",
        "transport/chunked",
        "transport/body_budget",
    ),
    "admit": ("surfaces/entry", "surfaces/endpoints", "pipeline/admit/", "core/caller", "core/knock", "stores/keys"),
    "read": ("core/request", "surfaces/openai/", "surfaces/wishes", "surfaces/credentials_of", "core/aside"),
    "understand": ("pipeline/understand/", "core/signals", "core/tokens", "core/features", "/re2/", "app/intents"),
    "embed": ("providers/static_embedding/", "/numpy/"),
    "decide": ("pipeline/decide/", "core/catalog", "core/decision", "core/budget"),
    "execute": ("pipeline/execute/", "core/trail", "core/events", "core/ports", "core/locality"),
    "provider": ("providers/", "dialects/"),
    "way out": ("transport/",),
    "record": ("pipeline/record/", "stores/", "core/outcome"),
    "answer": ("surfaces/", "pipeline/"),
}
"""Of the path: beginnings of source files, the first part that fits counts. What fits nowhere is `others`: the standard
library, mostly asyncio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One case: steps and calls of Python's on the event loop's thread, a request."""

    case: str
    steps: dict[str, float]
    """By part."""
    calls: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.steps.values())


def run(*, requests: int = 200, progress: Callable[[str], None] = lambda line: None) -> list[Profile]:
    """Profile each case; a few seconds each.

    Raises:
        BenchError: a part is missing or did not start.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-bench-")))
        output = folder / "steps.json"
        upstream = stack.enter_context(mock_upstream())
        start = ("-m", "pointsman.evals.gateway.counted", str(output))
        setting = Setting(upstream=upstream, workers=1, cache_dir=folder, folder=folder)
        target = stack.enter_context(pointsman(setting, start=start))
        numbers = itertools.count(0, 1_000_000)
        profiles = []
        for name, case, lane in PROFILED:
            progress(name)
            count = -(-requests // 4) if case.apart else requests
            _ask(target, case, lane, -(-count // 2), next(numbers))  # what is remembered and loaded once is not counted
            output.unlink(missing_ok=True)
            target.processes[0].send_signal(signal.SIGUSR1)
            time.sleep(0.2)
            _ask(target, case, lane, count, next(numbers))
            target.processes[0].send_signal(signal.SIGUSR1)
            profiles.append(_counted(name, output, count))
        return profiles


def _counted(name: str, output: Path, requests: int) -> Profile:
    until = time.monotonic() + 30
    while not output.exists():
        if time.monotonic() > until:
            raise BenchError("the gateway did not say what it counted")
        time.sleep(0.02)
    counted = json.loads(output.read_bytes())
    return Profile(
        case=name,
        steps=_by_part(counted["steps"], requests),
        calls=_by_part(counted["calls"], requests),
    )


def _ask(target: Target, case: Case, lane: int, requests: int, first: int) -> None:
    manner = target.manner
    made = itertools.islice(bodies(case, manner.lanes[lane].model, first=first), requests)
    raw = iter([post(manner.path, body, key=manner.key) for body in made])
    sample = asyncio.run(run_load(target.ports, raw, requests=requests, connections=4))
    if sample.errors:
        raise BenchError(f"{sample.errors} of {requests} requests failed")


def _by_part(by_file: Mapping[str, int], requests: int) -> dict[str, float]:
    found = dict.fromkeys((*PARTS, "others"), 0.0)
    for file, count in by_file.items():
        found[part_of(file)] += count / requests
    return {part: round(count, 1) for part, count in found.items()}


def part_of(file: str) -> str:
    """The part of the path that a source file belongs to."""
    inside = file.rpartition("/pointsman/")[2] if "/pointsman/" in file else file
    for part, beginnings in PARTS.items():
        if any(inside.startswith(one) or (one.startswith("/") and one in file) for one in beginnings):
            return part
    return "others"


def table(profiles: Sequence[Profile]) -> Iterator[list[str]]:
    """Rows: a part and its steps in each case, then the sums."""
    for part in (*PARTS, "others"):
        yield [part, *(f"{profile.steps[part]:.0f}" for profile in profiles)]
    yield ["all", *(f"{profile.total:.0f}" for profile in profiles)]
