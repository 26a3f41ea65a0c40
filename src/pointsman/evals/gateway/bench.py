"""Runs every case against every target, interleaved, and sums up."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import platform
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .cases import CASES, Case, requests_of
from .load import Sample, run_load
from .targets import Target, find_nginx, mock_upstream, nginx, pointsman


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One case at one target. Times in milliseconds, medians over the rounds."""

    case: str
    target: str
    processor_ms: float
    """Processor time a request, user and system, of the target's whole process tree, at 10 connections."""
    processor_ratio: float | None
    """To nginx in the same run; None where it is not installed."""
    p50_ms: float
    p99_ms: float
    added_p50_ms: float
    """Over the mock asked directly, at 1 connection."""
    added_p99_ms: float
    added_first_byte_ms: float
    requests_per_second: float
    errors: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run."""

    machine: str
    rounds: int
    start_seconds: dict[str, float]
    memory_mib: dict[str, float]
    """Unique memory of the process tree after the load."""
    rows: list[Row]


class _Tally:
    """The rounds of one case at one target."""

    def __init__(self) -> None:
        self.processor_ms: list[float] = []
        self.rates: list[float] = []
        self.alone: list[Sample] = []
        self.errors = 0


def run(
    *, rounds: int = 3, scale: float = 1.0, cases: Sequence[Case] = CASES, progress: Callable[[str], None] | None = None
) -> Report:
    """Run the benchmark. Takes about a minute with the defaults.

    Args:
        rounds: how often each case is run at each target; targets take turns within a round.
        scale: multiplies the number of requests.

    Raises:
        BenchError: a part is missing or did not start.
    """
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(mock_upstream())
        targets = [stack.enter_context(pointsman(upstream))]
        if find_nginx() is not None:
            targets.insert(0, stack.enter_context(nginx(upstream)))
        elif progress is not None:
            progress(
                "nginx is not installed, so there is no floor to compare with; on Debian: apt-get install nginx-light"
            )
        tallies: dict[tuple[str, str], _Tally] = {}
        numbers = itertools.count(0, 1_000_000)
        for round_ in range(rounds):
            for case in cases:
                if progress is not None:
                    progress(f"round {round_ + 1} of {rounds}: {case.name}")
                order = targets if round_ % 2 == 0 else targets[::-1]
                tally = tallies.setdefault((case.name, "direct"), _Tally())
                tally.alone.append(_load(upstream, case, scale / 4, 1, next(numbers)))
                for target in order:
                    tally = tallies.setdefault((case.name, target.name), _Tally())
                    _measure(tally, target, case, scale, lambda: next(numbers))
        return Report(
            machine=f"{platform.machine()}, {platform.platform()}, Python {platform.python_version()}",
            rounds=rounds,
            start_seconds={target.name: round(target.start_seconds, 3) for target in targets},
            memory_mib={target.name: round(target.memory_bytes() / 2**20, 1) for target in targets},
            rows=[_row(case.name, target.name, tallies) for case in cases for target in targets],
        )


def _measure(tally: _Tally, target: Target, case: Case, scale: float, number: Callable[[], int]) -> None:
    _load(target.port, case, scale / 20, 4, number())  # warm
    before = target.processor_seconds()
    sample = _load(target.port, case, scale, 10, number())
    spent = target.processor_seconds() - before
    tally.processor_ms.append(1000 * spent / max(1, len(sample.totals)))
    tally.rates.append(len(sample.totals) / sample.seconds)
    tally.alone.append(_load(target.port, case, scale / 4, 1, number()))
    tally.errors += sample.errors + tally.alone[-1].errors


def _load(port: int, case: Case, scale: float, connections: int, first: int) -> Sample:
    requests = max(connections, int(case.requests * scale))
    bodies = iter(list(itertools.islice(requests_of(case, first=first), requests)))
    return asyncio.run(run_load(port, bodies, requests=requests, connections=connections))


def _row(case: str, target: str, tallies: dict[tuple[str, str], _Tally]) -> Row:
    mine, floor, direct = tallies[case, target], tallies.get((case, "nginx")), tallies[case, "direct"]
    processor = statistics.median(mine.processor_ms)
    base = statistics.median(floor.processor_ms) if floor is not None else 0.0
    p50, p99, first = _latencies(mine.alone)
    direct50, direct99, direct_first = _latencies(direct.alone)
    return Row(
        case=case,
        target=target,
        processor_ms=round(processor, 4),
        processor_ratio=round(processor / base, 2) if base else None,
        p50_ms=round(p50, 3),
        p99_ms=round(p99, 3),
        added_p50_ms=round(p50 - direct50, 3),
        added_p99_ms=round(p99 - direct99, 3),
        added_first_byte_ms=round(first - direct_first, 3),
        requests_per_second=round(statistics.median(mine.rates), 1),
        errors=mine.errors,
    )


def _latencies(samples: Sequence[Sample]) -> tuple[float, float, float]:
    """p50 and p99 of the whole answer and p50 of its first byte, in milliseconds."""
    totals = sorted(value for sample in samples for value in sample.totals)
    firsts = sorted(value for sample in samples for value in sample.first_bytes)
    if not totals:
        return float("nan"), float("nan"), float("nan")
    return 1000 * _at(totals, 0.5), 1000 * _at(totals, 0.99), 1000 * _at(firsts, 0.5)


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def as_json(report: Report) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(report)
    return built
