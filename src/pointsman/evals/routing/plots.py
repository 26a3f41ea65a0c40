"""Plots as SVG: a few lines in axes, written by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 640, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 36, 48
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555")
"""Of Okabe and Ito, who chose them so that everybody can tell them apart."""
TICKS = 8
LONGEST = 76
"""Characters of a title that fit."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve, or with `dots` a cloud."""

    name: str
    points: Points
    dashed: bool = False
    dots: bool = False


def svg(title: str, across: str, up: str, lines: Sequence[Line]) -> str:
    """A plot of these lines on axes that hold them all."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    low_x, high_x, low_y, high_y = *_span(xs), *_span(ys)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - low_y) / (high_y - low_y) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        f' font-size="12" role="img" aria-label="{escape(title)}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(_shortened(title))}</text>',
    ]
    for x in _ticks(low_x, high_x):
        at, _ = place(x, low_y)
        parts.append(f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x:.6g}</text>')
    for y in _ticks(low_y, high_y):
        _, at = place(low_x, y)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{y:.6g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(up)}</text>')
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        placed = [place(x, y) for x, y in line.points]
        if line.dots:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        else:
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
            dash = ' stroke-dasharray="5 4"' if line.dashed else ""
            parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        key = HEIGHT - BOTTOM - 12 - 16 * (len(lines) - 1 - number)
        parts.append(
            f'<text x="{WIDTH - RIGHT - 8}" y="{key}" text-anchor="end" fill="{colour}">{escape(line.name)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers inside a range, in steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.04 or 1.0
    return low - margin, high + margin


def write_plots(results: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Path]:
    """The PGR curve of each pair, the cost-quality curve of each pool with costs, and what regret came to online.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, result in results.items():
        for file, text in _plots(name, result):
            path = folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', file)}.svg"
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def _plots(name: str, result: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for number, pair in enumerate(result.get("pairs", ()), 1):
        points = _points(pair["curve"]["x"], pair["curve"]["pgr"])
        if points:
            lines = [
                Line(name="router", points=points),
                Line(name="random order", points=[(0.0, 0.0), points[-1]], dashed=True),
            ]
            title = f"{name}: {pair['weak']} → {pair['strong']}"
            found.append((f"{name}-pgr-{number}", svg(title, "share of strong calls", "PGR", lines)))
    pool = result.get("pool")
    if pool and "hull" in pool:
        lines = [
            Line(name="router", points=_points(pool["curve"]["cost_usd"], pool["curve"]["score"])),
            Line(
                name="hull of single models",
                points=_points(pool["hull"]["cost_usd"], pool["hull"]["score"]),
                dashed=True,
            ),
            Line(
                name="single models", points=_points(pool["singles"]["cost_usd"], pool["singles"]["score"]), dots=True
            ),
        ]
        found.append(
            (f"{name}-pool", svg(f"{name}: {pool['models']} models", "mean cost, US dollars", "mean score", lines))
        )
    for number, pair in enumerate(result.get("online", ()), 1):
        lines = [
            Line(
                name=learner.replace("_", " "),
                points=[
                    (pair["rows"] * step / max(len(figures["course"]) - 1, 1), lost)
                    for step, lost in enumerate(figures["course"])
                ],
                dashed=learner != "router",
            )
            for learner, figures in pair["learners"].items()
        ]
        found.append((f"{name}-online-{number}", svg(f"{name}: online", "prompts", "cumulative regret", lines)))
    return found


def _points(xs: Sequence[float | None], ys: Sequence[float | None]) -> Points:
    return [(x, y) for x, y in zip(xs, ys, strict=True) if x is not None and y is not None]
