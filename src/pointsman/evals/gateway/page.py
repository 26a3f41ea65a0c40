"""A measurement of gateways for people: tables, a page of them, and a chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import isnan

from .report import MAX_FAILED, Report, Row

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""Its title, its head and its rows."""

_WIDTH, _LEFT, _BAR, _STEP = 720, 150, 16, 22
_OURS, _FLOOR, _OTHERS = "#0072b2", "#999999", "#d55e00"


def conditions(report: Report) -> str:
    """What it was measured under."""
    how = f"{report.rounds} interleaved round{'s' if report.rounds > 1 else ''}"
    if report.scale != 1:
        how += f" at scale {report.scale:g}"
    extra = ", TLS to the upstream" if report.tls else ""
    extra += f", {report.workers} workers" if report.workers > 1 else ""
    return (
        f"{report.date}, {report.machine}, {report.cores} processors; {how}{extra}; load average"
        f" {report.load[0]:g} before and {report.load[1]:g} at the end."
    )


def tables(report: Report) -> Iterator[Table]:
    """Every table: the goals, a case each, the gateways by themselves, and the mock."""
    if report.goals:
        head = ("what", "goal", "measured", "", "goal held to the peers of this run")
        yield (
            "Goals",
            head,
            [
                (
                    goal.what,
                    f"≤ {goal.wanted:g} {goal.unit}",
                    f"{goal.measured:.3g} {goal.unit}",
                    "met" if goal.met else f"missed: {goal.measured / goal.wanted:.2f} × the goal",
                    "–" if goal.held_to_peers is None else f"≤ {goal.held_to_peers:.3g} {goal.unit}",
                )
                for goal in report.goals
            ],
        )
    for case in dict.fromkeys(row.case for row in report.rows):
        yield _of_case(case, [row for row in report.rows if row.case == case])
    yield (
        "Start and memory",
        ("gateway", "listens, s", "first answer, s", "at rest, MiB", "after the load, MiB"),
        [
            (
                standing.name,
                f"{standing.listens_seconds:.2f}",
                f"{standing.answers_seconds:.2f}",
                f"{standing.rest_mib:.0f}",
                f"{standing.memory_mib:.0f}",
            )
            for standing in report.gateways
        ],
    )
    rates = sorted(report.direct[0].requests_per_second, key=int)
    yield (
        "The mock asked directly",
        ("case", "p50, ms", "p99, ms", *(f"req/s at {connections}" for connections in rates)),
        [
            (row.case, _ms(row.p50_ms), _ms(row.p99_ms), *(f"{row.requests_per_second[rate]:.0f}" for rate in rates))
            for row in report.direct
        ],
    )


def _of_case(case: str, rows: Sequence[Row]) -> Table:
    rates = sorted(rows[0].requests_per_second, key=int)
    head = (
        "gateway", "CPU s per 1,000", "× nginx", "× best peer", "+p50 ms", "+p95 ms", "+p99 ms", "+TTFB ms",
        *(f"req/s at {connections}" for connections in rates), "errors",
    )  # fmt: skip
    return case, head, [_cells(row, rates) for row in rows]


def _cells(row: Row, rates: Sequence[str]) -> tuple[str, ...]:
    if not row.sound:
        return (row.target, *["–"] * (7 + len(rates)), f"{row.errors} of {row.requests}")
    return (
        row.target,
        f"{row.processor_ms:.3f}",
        _ratio(row.processor_ratio),
        _ratio(row.peer_ratio),
        *map(_ms, (row.added_p50_ms, row.added_p95_ms, row.added_p99_ms, row.added_first_byte_ms)),
        *(f"{row.requests_per_second[rate]:.0f}" for rate in rates),
        str(row.errors),
    )


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _ms(value: float) -> str:
    return "–" if isnan(value) else f"{value:.2f}"


def markdown(report: Report, chart_name: str) -> str:
    """A page."""
    parts = [_HEAD.format(chart=chart_name, conditions=conditions(report), failed=f"{MAX_FAILED:.0%}")]
    for title, head, rows in tables(report):
        parts.append(f"## {title}\n")
        if title == "Goals":
            parts.append(_GOALS + _verdict(report) + "\n")
        parts.append(_markdown_table(head, rows))
    parts.append(_about(report))
    return "\n".join(parts)


def _verdict(report: Report) -> str:
    missed = [goal for goal in report.goals if not goal.met]
    if not missed:
        return "All are met here."
    return f"{len(missed)} of {len(report.goals)} are missed here."


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    line = "|" + "|".join("---" if number == 0 else "--:" for number in range(len(head))) + "|"
    return "\n".join([_line(head), line, *map(_line, rows)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _about(report: Report) -> str:
    lines = ["## What was measured\n"]
    for standing in report.gateways:
        source = f" ({standing.source})" if standing.source else ""
        workers = f" Workers: {standing.workers}." if standing.workers else ""
        lines.append(f"- **{standing.name}**{source}: {_NOTES[standing.name]}{workers}")
    if report.skipped:
        lines.append("\nNot measured in this run:\n")
        lines += [f"- {name}: {' '.join(reason.split())}" for name, reason in report.skipped.items()]
    lines.append(_MISSING)
    return "\n".join(lines)


_HEAD = """# What a request costs, here and at other gateways

`pointsman bench gateway --markdown FILE` wrote this page: processor time, latency, throughput and memory of gateways
that forward the same chat completions to the same mock upstream, in one run.

```
pointsman bench gateway                              # every gateway that is installed
pointsman bench gateway --install                    # fetch the peers first, from PyPI and npm
pointsman bench gateway --targets nginx,pointsman    # these alone
```

`--tls` has the upstream speak TLS, `--workers 2` gives each gateway two processes where it can, `--rounds`, `--scale`
and `--json` are as they say.

{conditions}

![Processor time a request, by gateway]({chart})

How to read it:

- **CPU s per 1,000**: processor time of the gateway's whole process tree, user and system, in seconds per 1,000
  requests, which is milliseconds a request; at 10 connections. It is the figure that a busy machine changes least;
  nginx as a plain reverse proxy is the floor of the same run, and `× best peer` is to the peer that took the least.
- **+p50, +p95, +p99, +TTFB** (first byte, median): milliseconds more than the mock asked directly, at 1 connection.
  On a busy machine these waits are the machine's as much as the gateway's.
- **req/s** at 1, 10 and 64 connections, each sending its next request when the last answer is whole. Load generator,
  gateway and mock share the machine; where a figure comes near to that of the mock asked directly, it is theirs.
- A row with more than {failed} of errors has no figures: errors are quickly told.

`pointsman` is asked for a model by name, `pointsman, auto` chooses between two; both with a key, and with all that a
default install switches on: the caller's identity, privacy detectors, decision log, costs, breakers. Embedded models
are off. The bodies hold one conversation whose last message is always new. Ready-made answers come from a mock in
Python on uvloop; of a stream it writes each chunk by itself and without pause, so that whoever reads more slowly finds
several at once. What the mock and the load generator can do by themselves is the last table.
"""
_GOALS = (
    "What this gateway set out not to exceed, with one worker, everything on, and an upstream without TLS.\n"
    "Machines differ: the last column is the goal times the median, over nginx and the peers, of what each took in\n"
    "this run to what it took where the goals were set.\n"
)
_NAGLE = (
    "It leaves Nagle's algorithm on: at 1 connection a stream waits some 40 ms for the client's delayed"
    " acknowledgement, and does not where the client acknowledges at once."
)
_NOTES = {
    "nginx": "a reverse proxy with keep-alive to the upstream and buffering off; it reads nothing of a body.",
    "pointsman": "as above.",
    "litellm": "its proxy with a master key and one model, no database, telemetry off.",
    "portkey": (
        "its open gateway on Node; each request's headers name the provider and its address. It has no key of its"
        " own and no log without the hosted service. `@hono/node-server` is held at 1.13.8, since with newer ones it"
        " answers every stream with an error (Portkey-AI/gateway, issue 1389). It holds the first chunk of a stream"
        " back for 25 ms, by its source."
    ),
    "vllm-router": "one worker address, its default policy; no key, no log of requests.",
    "sglang-router": f"one worker address, its default policy; no key, no log of requests. {_NAGLE}",
    "switchyard": f"NVIDIA's native server, one route that passes through to one target; no key. {_NAGLE}",
    "tensorzero": (
        "its gateway as the Python package carries it, one model; no key, and without ClickHouse nothing is observed."
        f" {_NAGLE}"
    ),
}
_MISSING = """
Bifrost (`@maximhq/bifrost`) is not among them: its npm package holds a script alone, which downloads the program from
its maker's site.
"""


def chart(report: Report) -> str:
    """Processor time a request as bars, a case a panel, on a scale of its own each, as SVG."""
    cases = list(dict.fromkeys(row.case for row in report.rows))
    parts: list[str] = []
    top = 40
    for case in cases:
        rows = sorted((row for row in report.rows if row.case == case and row.sound), key=lambda row: row.processor_ms)
        longest = max((row.processor_ms for row in rows), default=0.0) or 1.0
        parts.append(f'<text x="10" y="{top}" font-weight="bold">{escape(case)}</text>')
        for number, row in enumerate(rows):
            at = top + 10 + number * _STEP
            width = max(1.0, row.processor_ms / longest * (_WIDTH - _LEFT - 90))
            parts.append(f'<text x="{_LEFT - 8}" y="{at + 12}" text-anchor="end">{escape(row.target)}</text>')
            parts.append(
                f'<rect x="{_LEFT}" y="{at}" width="{width:.1f}" height="{_BAR}" fill="{_colour(row.target)}"/>'
            )
            parts.append(f'<text x="{_LEFT + width + 6:.1f}" y="{at + 12}">{row.processor_ms:.3f} ms</text>')
        top += 40 + len(rows) * _STEP
    title = "Processor time a request"
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" font-family="sans-serif" font-size="12"'
        f' role="img" aria-label="{title}">',
        f'<rect width="{_WIDTH}" height="{top}" fill="white"/>',
        f'<text x="10" y="18" font-size="14" font-weight="bold">{title}</text>',
    ]
    return "\n".join([*head, *parts, "</svg>\n"])


def _colour(target: str) -> str:
    return _FLOOR if target == "nginx" else _OURS if target.startswith("pointsman") else _OTHERS
