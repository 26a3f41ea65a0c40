"""Runs every case against every gateway, interleaved, and sums up."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import os
import platform
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .cases import CASES, Case, bodies
from .common import BenchError
from .load import Sample, post, run_load
from .peers import GATEWAYS, MODEL, Gateway, started
from .report import Report, Row, Standing, compared, goals, median
from .running import Lane, Manner, Target
from .upstream import Upstream, mock_upstream

CONNECTIONS = (1, 10, 64)
COUNTED = 10
"""Connections at which processor time is counted."""
SHARE = {1: 4, 10: 1, 64: 2}
"""By which the number of requests is divided at so many connections."""
SAMPLE_SECONDS = 4.0
"""For one sample at most, where scale is 1: slow gateways get fewer requests."""
STARTS = 3
"""At most, of each gateway; no more than there are rounds."""
REST_SECONDS = 1.0
DIRECT = "direct"

Progress = Callable[[str], None]


def run(
    *,
    rounds: int = 3,
    scale: float = 1.0,
    targets: Sequence[str] = (),
    install: bool = False,
    tls: bool = False,
    workers: int = 1,
    cache_dir: Path,
    environment: Mapping[str, str],
    cases: Sequence[Case] = CASES,
    progress: Progress = lambda line: None,
) -> Report:
    """Run the benchmark.

    Args:
        rounds: how often each case is run at each target; targets take turns within a round.
        scale: multiplies the number of requests.
        targets: names of gateways; none: every one that is installed.
        install: install what is missing in environments of their own under `cache_dir`.
        environment: of pip and npm.

    Raises:
        BenchError: a name is not known, or nothing could be started. A gateway that does not start is only reported.
    """
    before = os.getloadavg()[0]
    skipped: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(mock_upstream(tls=tls))
        measured = _Measured(upstream, rounds, scale, progress)
        for gateway in _wanted(targets):
            try:
                _ready(gateway, cache_dir, environment, install, progress)
                measured.begin(stack, gateway, workers, cache_dir)
            except BenchError as error:
                skipped[gateway.name] = error.message
                progress(error.message)
        if not measured.running:
            raise BenchError("No gateway could be started: " + "; ".join(skipped.values()))
        measured.rounds(cases)
        peers = [gateway.name for gateway, _, _ in measured.running if gateway.peer]
        rows = compared(measured.rows(cases), peers)
        standings = measured.standings()
        return Report(
            machine=f"{platform.machine()}, {platform.platform()}, Python {platform.python_version()}",
            cores=os.cpu_count() or 1,
            load=(round(before, 1), round(os.getloadavg()[0], 1)),
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
            rounds=rounds,
            scale=scale,
            tls=tls,
            workers=workers,
            gateways=standings,
            rows=rows,
            direct=measured.rows(cases, direct=True),
            skipped=skipped,
            goals=goals(rows, standings) if workers == 1 and not tls else [],
        )


def _wanted(names: Sequence[str]) -> list[Gateway]:
    known = {gateway.name: gateway for gateway in GATEWAYS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BenchError(f"There is no gateway named {', '.join(unknown)}; there are {', '.join(known)}.")
    return [gateway for gateway in GATEWAYS if not names or gateway.name in names]


def _ready(
    gateway: Gateway, cache_dir: Path, environment: Mapping[str, str], install: bool, progress: Progress
) -> None:
    missing = gateway.missing(cache_dir)
    if missing is None:
        return
    if not install or gateway.package is None:
        raise BenchError(missing)
    progress(f"installing {gateway.package.shown}")
    asyncio.run(gateway.package.install(cache_dir, environment))


class _Tally:
    """The rounds of one case at one target."""

    def __init__(self) -> None:
        self.processor_ms: list[float] = []
        self.rates: dict[int, list[float]] = {connections: [] for connections in CONNECTIONS}
        self.alone: list[Sample] = []
        self.requests = self.errors = 0

    def add(self, connections: int, sample: Sample) -> None:
        self.rates[connections].append(len(sample.totals) / sample.seconds)
        self.requests += max(1, len(sample.totals))
        self.errors += sample.errors
        if connections == 1:
            self.alone.append(sample)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a load goes."""

    name: str
    target: Target | None
    """None: the mock itself."""
    manner: Manner
    lane: Lane


class _Measured:
    """The gateways that run, and what was seen of them."""

    def __init__(self, upstream: Upstream, rounds: int, scale: float, progress: Progress) -> None:
        self._upstream, self._rounds, self._scale, self._progress = upstream, rounds, scale, progress
        self._tallies: dict[tuple[str, str], _Tally] = {}
        self._numbers = itertools.count(0, 1_000_000)
        self.running: list[tuple[Gateway, Target, Standing]] = []

    def begin(self, stack: contextlib.ExitStack, gateway: Gateway, workers: int, cache_dir: Path) -> None:
        """Start it as often as starts are timed, and leave it running.

        Raises:
            BenchError: it does not start.
        """
        starts: list[Target] = []
        for left in reversed(range(min(self._rounds, STARTS))):
            self._progress(f"starting {gateway.title}")
            with contextlib.ExitStack() as own:
                target = own.enter_context(started(gateway, self._upstream, workers, cache_dir))
                starts.append(target)
                if left == 0:
                    time.sleep(REST_SECONDS)
                    stack.push(own.pop_all())
        standing = Standing(
            name=gateway.name,
            title=gateway.title,
            source="" if gateway.package is None else gateway.package.shown,
            workers=gateway.workers if workers > 1 else "",
            listens_seconds=round(median([target.listens_seconds for target in starts]), 3),
            answers_seconds=round(median([target.answers_seconds for target in starts]), 3),
            rest_mib=round(starts[-1].memory_bytes() / 2**20, 1),
            memory_mib=0.0,
        )
        self.running.append((gateway, starts[-1], standing))

    def rounds(self, cases: Sequence[Case]) -> None:
        direct = Lane(DIRECT, MODEL)
        places = [
            _Place(lane.name, target, target.manner, lane)
            for _, target, _ in self.running
            for lane in target.manner.lanes
        ]
        for number in range(self._rounds):
            for case in cases:
                self._progress(f"round {number + 1} of {self._rounds}: {case.name}")
                self._measure(case, _Place(DIRECT, None, Manner(lanes=(direct,)), direct))
                for place in places if number % 2 == 0 else places[::-1]:
                    self._measure(case, place)

    def _measure(self, case: Case, place: _Place) -> None:
        tally = self._tallies.setdefault((case.name, place.name), _Tally())
        self._load(case, place, 4, 20)  # warm
        for connections in CONNECTIONS:
            before = place.target.processor_seconds() if place.target is not None else 0.0
            sample = self._load(case, place, connections, SHARE[connections])
            if connections == COUNTED and place.target is not None:
                spent = place.target.processor_seconds() - before
                tally.processor_ms.append(1000 * spent / max(1, len(sample.totals)))
            tally.add(connections, sample)

    def _load(self, case: Case, place: _Place, connections: int, share: int) -> Sample:
        requests = max(connections, int(case.requests * self._scale / share))
        manner = place.manner
        made = itertools.islice(bodies(case, place.lane.model, first=next(self._numbers)), requests)
        raw = iter([post(manner.path, body, key=manner.key, headers=manner.headers) for body in made])
        ports = place.target.ports if place.target is not None else (self._upstream.port,)
        seconds = SAMPLE_SECONDS * max(0.25, min(1.0, self._scale))
        tls = self._upstream.context() if place.target is None else None
        begun = time.perf_counter()
        loaded = run_load(ports, raw, requests=requests, connections=connections, seconds=seconds, tls=tls)
        try:
            return _run(loaded)
        except OSError:  # it takes no connections any more
            return Sample(seconds=time.perf_counter() - begun, totals=[], first_bytes=[], errors=requests)

    def rows(self, cases: Sequence[Case], *, direct: bool = False) -> list[Row]:
        names = [DIRECT] if direct else [lane.name for _, target, _ in self.running for lane in target.manner.lanes]
        return [self._row(case.name, name) for case in cases for name in names]

    def _row(self, case: str, name: str) -> Row:
        mine, direct = self._tallies[case, name], self._tallies[case, DIRECT]
        p50, p95, p99, first = _latencies(mine.alone)
        direct50, direct95, direct99, direct_first = _latencies(direct.alone)
        return Row(
            case=case,
            target=name,
            processor_ms=round(median(mine.processor_ms), 4),
            p50_ms=round(p50, 3),
            p95_ms=round(p95, 3),
            p99_ms=round(p99, 3),
            added_p50_ms=round(p50 - direct50, 3),
            added_p95_ms=round(p95 - direct95, 3),
            added_p99_ms=round(p99 - direct99, 3),
            added_first_byte_ms=round(first - direct_first, 3),
            requests_per_second={str(key): round(median(rates), 1) for key, rates in mine.rates.items()},
            requests=mine.requests,
            errors=mine.errors,
        )

    def standings(self) -> list[Standing]:
        """With what each holds now."""
        return [
            msgspec.structs.replace(standing, memory_mib=round(target.memory_bytes() / 2**20, 1))
            for _, target, standing in self.running
        ]


def _run(loaded: Coroutine[object, object, Sample]) -> Sample:
    try:
        import uvloop
    except ModuleNotFoundError:  # it is not made for every system
        return asyncio.run(loaded)
    sample: Sample = uvloop.run(loaded)
    return sample


def _latencies(samples: Sequence[Sample]) -> tuple[float, float, float, float]:
    """p50, p95 and p99 of the whole answer and p50 of its first byte, in milliseconds."""
    totals = sorted(value for sample in samples for value in sample.totals)
    firsts = sorted(value for sample in samples for value in sample.first_bytes)
    if not totals:
        return (float("nan"),) * 4
    return 1000 * _at(totals, 0.5), 1000 * _at(totals, 0.95), 1000 * _at(totals, 0.99), 1000 * _at(firsts, 0.5)


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
