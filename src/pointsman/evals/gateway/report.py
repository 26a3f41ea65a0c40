"""What a measurement of gateways found, and how it stands to what this gateway set out to cost."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

MAX_FAILED = 0.01
"""Share of failed requests above which a row's figures say nothing: errors are quickly told."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One case at one target. Times in milliseconds; medians over the rounds, latencies over all their requests."""

    case: str
    target: str
    processor_ms: float
    """Processor time a request (seconds per 1,000 requests), user and system, of the target's whole process tree, at 10
    connections; null for the mock, whose time is nobody's."""
    processor_ratio: float | None = None
    """To nginx in the same run; None where it was not measured."""
    peer_ratio: float | None = None
    """To the peer that took the least; None where there was none."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    added_p50_ms: float
    """Over the mock asked directly, as the next three; at 1 connection."""
    added_p95_ms: float
    added_p99_ms: float
    added_first_byte_ms: float
    requests_per_second: dict[str, float]
    """By the number of connections."""
    requests: int
    errors: int

    @property
    def sound(self) -> bool:
        return self.errors <= MAX_FAILED * self.requests


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway by itself."""

    name: str
    title: str
    source: str
    """Package and version, where it comes from a registry."""
    workers: str
    """What the number of workers made of it."""
    listens_seconds: float
    """From its start; the median of its starts, as the next."""
    answers_seconds: float
    """To the first answer of the upstream."""
    rest_mib: float
    """Unique memory of the process tree one second after its first answer."""
    memory_mib: float
    """After the load."""


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A figure that this gateway set out not to exceed."""

    what: str
    unit: str
    wanted: float
    measured: float
    held_to_peers: float | None = None
    """What is wanted on a machine as quick as this one: `wanted` times the median, over nginx and the peers, of what
    each took in this run to what it took where the goals were set. None where no such figure is known."""

    @property
    def met(self) -> bool:
        return self.measured <= self.wanted


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run."""

    machine: str
    cores: int
    load: tuple[float, float]
    """What the machine had to do in the minute before the run and in its last one (the system's load average)."""
    date: str
    rounds: int
    scale: float
    tls: bool
    workers: int
    gateways: list[Standing]
    rows: list[Row]
    direct: list[Row]
    """The mock asked directly: what it and the load generator can do."""
    skipped: dict[str, str]
    """Gateways that were not measured, and why."""
    goals: list[Goal]


def compared(rows: Sequence[Row], peers: Sequence[str]) -> list[Row]:
    """The rows with their ratios. Rows with too many errors have none."""
    found = []
    for row in rows:
        beside = [other for other in rows if other.case == row.case and other.sound]
        floor = next((other.processor_ms for other in beside if other.target == "nginx"), 0.0)
        best = min((other.processor_ms for other in beside if other.target in peers), default=0.0)
        found.append(
            msgspec.structs.replace(
                row,
                processor_ratio=round(row.processor_ms / floor, 2) if floor and row.sound else None,
                peer_ratio=round(row.processor_ms / best, 3) if best and row.sound else None,
            )
        )
    return found


def goals(rows: Sequence[Row], gateways: Sequence[Standing]) -> list[Goal]:
    """The figures for one worker and an upstream without TLS."""
    return list(_goals(rows, gateways))


_STREAM = "2 KB, stream of 50 chunks"
_PROCESSOR = (
    ("2 KB", "pointsman", "a pinned request of 2 KB", 0.20),
    ("2 KB", "pointsman, auto", "an `auto` request of 2 KB", 0.60),
    ("100 KB", "pointsman", "a pinned request of 100 KB", 0.50),
    ("100 KB", "pointsman, auto", "an `auto` request of 100 KB", 1.50),
    (_STREAM, "pointsman", "a pinned stream of 50 chunks", 0.60),
)
_WHERE_SET: Mapping[str, Mapping[str, float]] = {
    "2 KB": {
        "nginx": 0.024, "vllm-router": 0.09, "switchyard": 0.32, "tensorzero": 0.35, "portkey": 4.0, "litellm": 21.0,
    },
    "100 KB": {"vllm-router": 1.1, "switchyard": 3.3, "tensorzero": 6.0, "litellm": 59.0},
    _STREAM: {"nginx": 0.27, "vllm-router": 0.65, "switchyard": 1.5, "tensorzero": 1.8, "litellm": 88.0},
}  # fmt: skip
"""Milliseconds of processor time a request where the goals were set, on another machine of 2 cores."""


def _goals(rows: Sequence[Row], gateways: Sequence[Standing]) -> Iterator[Goal]:
    known = {(row.case, row.target): row for row in rows if row.sound}
    for case, target, name, wanted in _PROCESSOR:
        if row := known.get((case, target)):
            paces = [
                known[case, peer].processor_ms / there
                for peer, there in _WHERE_SET[case].items()
                if (case, peer) in known
            ]
            yield Goal(
                what=f"Processor time of {name}",
                unit="ms",
                wanted=wanted,
                measured=row.processor_ms,
                held_to_peers=round(wanted * statistics.median(paces), 3) if paces else None,
            )
    if row := known.get(("2 KB", "pointsman")):
        yield Goal(what="Added latency, p50 (2 KB, pinned)", unit="ms", wanted=0.3, measured=row.added_p50_ms)
        yield Goal(what="Added latency, p99 (2 KB, pinned)", unit="ms", wanted=1.0, measured=row.added_p99_ms)
    if row := known.get((_STREAM, "pointsman")):
        first = row.added_first_byte_ms
        yield Goal(what="Added time to the first byte of a stream", unit="ms", wanted=1.0, measured=first)
    for own in gateways:
        if own.name == "pointsman":
            yield Goal(what="First answer after the start", unit="s", wanted=0.8, measured=own.answers_seconds)
            yield Goal(what="Memory at rest", unit="MB", wanted=80, measured=round(own.rest_mib * 2**20 / 1e6, 1))


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")


def as_json(report: Report) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(report))  # what is not a number becomes null
    for goal, told in zip(report.goals, built["goals"], strict=True):
        told["met"] = goal.met
    return built
