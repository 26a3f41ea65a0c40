"""The count: per fault, per dialect, and of what must never happen; as JSON, as tables, and as a page."""

from __future__ import annotations

import platform
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from pointsman import __version__

from .run import DEADLINE, TIMEOUTS, Result
from .verdicts import DEFECTS, ENDS, End, Verdict

SAMPLES = 20
"""Defects that are told one by one."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of a kind, by how they ended."""

    name: str
    requests: int
    ends: dict[End, int]
    slowest_seconds: float


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A request that something befell which must not."""

    number: int
    dialect: str
    stream: bool
    tools: bool
    model: str
    fates: tuple[str, ...]
    """The fault that was drawn for each attempt."""
    defects: dict[str, str]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario."""

    title: str
    told: str
    requests: int
    attempts: int
    seconds: float
    ends: dict[End, int]
    spoiled: int
    """Requests whose attempts met no more than an oddity, and that were not answered whole."""
    defects: dict[str, int]
    """What must never happen, by name; every one is here."""
    by_fault: list[Row]
    by_dialect: list[Row]
    played: dict[str, int]
    """How many attempts met each fault, fallbacks' attempts with them."""
    samples: list[Sample]
    notes: list[str]
    """Which requests their upstream would not take, and which answers were under way to the last."""
    traces: str
    """Of the gateway's log, from its first unexpected failure on; cut."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole bench."""

    seed: int
    concurrency: int
    version: str
    machine: str
    parts: list[Part]

    @property
    def kept(self) -> bool:
        """Whether nothing happened that must not."""
        return not any(count for part in self.parts for count in part.defects.values())


def report(results: Sequence[Result], *, seed: int, concurrency: int) -> Report:
    """Count the runs of a bench."""
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    parts = [_part(result) for result in results]
    return Report(seed=seed, concurrency=concurrency, version=__version__, machine=machine, parts=parts)


def _part(result: Result) -> Part:
    verdicts = result.verdicts
    befell = Counter(name for verdict in verdicts for name in verdict.defects)
    return Part(
        title=result.scenario.title,
        told=result.scenario.told,
        requests=len(verdicts),
        attempts=result.attempts,
        seconds=result.seconds,
        ends=_ends(verdicts),
        spoiled=sum(verdict.spoiled for verdict in verdicts),
        defects={name: befell[name] + result.leaks.get(name, 0) for name in DEFECTS},
        by_fault=_rows(verdicts, lambda verdict: verdict.ask.fault),
        by_dialect=_rows(
            verdicts, lambda verdict: verdict.ask.dialect.name + (", streamed" if verdict.ask.stream else "")
        ),
        played=dict(sorted(result.played.items())),
        samples=[_sample(verdict) for verdict in verdicts if verdict.defects][:SAMPLES],
        notes=list(result.notes)[:SAMPLES],
        traces=result.log[max(result.log.find("Traceback"), 0) :][:3000] if result.leaks.get("traces") else "",
    )


def _ends(verdicts: Sequence[Verdict]) -> dict[End, int]:
    counted = Counter(verdict.end for verdict in verdicts)
    return {end: counted[end] for end in ENDS}


def _rows(verdicts: Sequence[Verdict], named: Callable[[Verdict], str]) -> list[Row]:
    groups: defaultdict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[named(verdict)].append(verdict)
    return [
        Row(
            name=name,
            requests=len(group),
            ends=_ends(group),
            slowest_seconds=round(max(verdict.seconds for verdict in group), 2),
        )
        for name, group in sorted(groups.items())
    ]


def _sample(verdict: Verdict) -> Sample:
    ask = verdict.ask
    return Sample(
        number=ask.number,
        dialect=ask.dialect.name,
        stream=ask.stream,
        tools=ask.tools,
        model=ask.model,
        fates=ask.fates,
        defects=dict(verdict.defects),
    )


def rows_of(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """A table's cells: name, requests, each end, slowest."""
    return [
        (row.name, str(row.requests), *(str(row.ends[end] or "") for end in ENDS), f"{row.slowest_seconds:.2f}")
        for row in rows
    ]


def columns(first: str) -> tuple[str, ...]:
    return (first, "Requests", *ENDS, "Slowest s")


def markdown(told: Report) -> str:
    """A page of the documentation."""
    requests = sum(part.requests for part in told.parts)
    parts = [
        "# What becomes of requests whose upstreams fail",
        "Written by `pointsman bench faults --markdown FILE`, which starts a real gateway before scripted upstreams"
        " that fail in every way below, asks in every dialect, and reads each answer word by word. The exit status"
        " is 1 when anything happened that must not.",
        f"This page: `pointsman bench faults --seed {told.seed} --requests {requests}`, version {told.version},"
        f" {told.machine}; {told.concurrency} requests at a time, of which the gateway may take {DEADLINE:g} s over all"
        f" attempts, {TIMEOUTS['connect_timeout']:g} s to connect, {TIMEOUTS['first_byte_timeout']:g} s to a first byte"
        f" and {TIMEOUTS['between_bytes_timeout']:g} s between two. What is asked and which faults are met follows from"
        " the seed; times do not.",
        "Every word of an answer names its request and its place, so that text that is lost, foreign or told twice is"
        " seen. Three of ten requests, where the dialect knows tools, get a tool call too. One of four names a model"
        " without any other behind it.",
        "No gateway can see that a piece of text came twice, byte for byte: the answer is then what the upstream said."
        " Nor does it see an answer that nobody asked for and that comes after the next request was sent; here it comes"
        " with the end of the one before, and must be thrown away. A model that is asked to go on with an answer does"
        " so from where it is asked to; of ten, one begins further back, and one with a phrase of its own.",
        "## How a request may end",
        _table(("Column", "Means"), list(ENDS.items())),
        "## What must never happen",
        _table(
            ("", *(part.title for part in told.parts), "Means"),
            [(name, *(str(part.defects[name]) for part in told.parts), text) for name, text in DEFECTS.items()],
        ),
    ]
    for part in told.parts:
        parts += _section(part)
    return "\n\n".join(parts) + "\n"


def _section(part: Part) -> list[str]:
    answered = part.requests - part.ends["refused"] - part.ends["broken"] - part.ends["wrong"]
    told = [
        f"## {part.title}",
        part.told,
        f"{part.requests} requests in {part.seconds:g} s, {part.attempts} attempts that reached an upstream;"
        f" {answered} answered whole ({answered / part.requests:.1%}). Of requests whose attempts met nothing worse"
        f" than an oddity, {part.spoiled} got no whole answer.",
    ]
    if len(part.by_fault) > 1:
        told += [
            "By the fault of the first attempt; others may follow.",
            _table(columns("Fault"), rows_of(part.by_fault)),
        ]
    return [*told, "By dialect.", _table(columns("Dialect"), rows_of(part.by_dialect))]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def as_json(told: Report) -> Mapping[str, Any]:
    return {**msgspec.to_builtins(told), "kept": told.kept}
