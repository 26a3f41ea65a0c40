"""What detection costs, beside what the least and the most obvious way of matching the same patterns cost."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pointsman
from pointsman.pipeline.understand.detectors import Detectors

from .cases import CARRIERS, known_harmless
from .everyday import everyday, lines

SIZES = (2_000, 100_000)
"""Characters: a question, and a coding agent's history."""
TURNS = 7


class Cost(NamedTuple):
    """Milliseconds of one look at one text; the least of several turns, as what else runs only adds to it."""

    text: str
    """`ordinary`: source code and its comments; `look-alikes`: hardly a line that does not look private; others as in
    everyday.toml."""
    characters: int
    detectors: float
    prefilter: float
    """The first step alone: one RE2 set over all triggers."""
    standard_library: float
    """The same patterns by `re`, one after another, without checks."""
    patterns_left_out: int
    """Patterns that `re` cannot read."""


def ordinary(characters: int) -> str:
    """Source code of this package: what coding agents send, with few lines that look private."""
    files = sorted(Path(pointsman.__file__).parent.rglob("*.py"))
    text = "\n".join(file.read_text(encoding="utf-8") for file in files[: len(files) // 2])
    return text[-characters:]


def look_alikes(characters: int) -> str:
    """Text with nothing private, and hardly a line that does not look as if."""
    carriers = list(CARRIERS.values())
    pieces: list[str] = []
    size = turn = 0
    harmless = known_harmless()
    while size < characters:
        piece = carriers[turn % len(carriers)](harmless[turn % len(harmless)]) + "\n"
        pieces.append(piece)
        size += len(piece)
        turn += 1
    return "".join(pieces)[:characters]


TEXTS: dict[str, Callable[[int], str]] = {"ordinary": ordinary, "look-alikes": look_alikes}


def measure(sizes: tuple[int, ...] = SIZES) -> list[Cost]:
    """Costs by text and size, measured in turns in this process."""
    detectors = Detectors()
    compiled, left_out = [], 0
    for pattern in detectors.expressions:
        try:
            compiled.append(re.compile(pattern))
        except re.error:
            left_out += 1
    found = []
    texts = [(size, name, TEXTS[name]) for name in TEXTS for size in sizes]
    texts += [(sizes[-1], name, partial(everyday, name)) for name in lines()]
    for size, name, make in texts:
        text = make(size)
        ways: tuple[Callable[[], object], ...] = (
            partial(detectors.find, text),
            partial(detectors.prefilter, text),
            partial(_search_all, compiled, text),
        )
        best = [float("inf")] * len(ways)
        for turn in range(TURNS):
            for place, way in enumerate(ways):
                if place == 2 and turn > 1:  # it takes a hundred times as long
                    continue
                best[place] = min(best[place], _once(way, 1 if place == 2 else 5))
        detecting, filtering, standard = (round(seconds * 1000, 4) for seconds in best)
        found.append(
            Cost(
                text=name,
                characters=size,
                detectors=detecting,
                prefilter=filtering,
                standard_library=standard,
                patterns_left_out=left_out,
            )
        )
    return found


def _once(way: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        way()
    return (time.perf_counter() - start) / times


def _search_all(patterns: list[re.Pattern[str]], text: str) -> int:
    return sum(pattern.search(text) is not None for pattern in patterns)
