"""The labelled set: templates filled with seeded random values, each put into what surrounds such values in practice.

Two parts. `known`: the templates that the detectors were made with; they say that nothing got worse. `heldout`:
templates that were written afterwards, before the detectors were run on them; they are the honest figures.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Literal, NamedTuple

from .values import Values

Part = Literal["known", "heldout"]
PARTS: tuple[Part, ...] = ("heldout", "known")
HARMLESS = "harmless"
"""The table of texts in which nothing private stands."""


class Case(NamedTuple):
    """One text. Without a detector, nothing private stands in it."""

    text: str
    detector: str | None
    carrier: str


def _file(text: str) -> str:
    return f"# settings of the worker\nDEBUG=1\n{text}\nLOG_LEVEL=info\n"


def _prose(text: str) -> str:
    return (
        f"Hi! Something is off with the deployment since this morning. I have\n\n{text}\n\nand it worked before. Ideas?"
    )


def _code(text: str) -> str:
    return f"```python\ndef main() -> None:\n    # {text}\n    run(retries=3, backoff=0.5)\n```\nWhy does it fail?"


def _log(text: str) -> str:
    return f"2026-03-01T10:22:01Z INFO worker[12]: starting\n2026-03-01T10:22:02Z WARN worker[12]: {text}\n"


def _result(text: str) -> str:
    return json.dumps({"exit_code": 0, "stdout": f"total 3\n{text}\n", "stderr": ""}, ensure_ascii=False)


CARRIERS: dict[str, Callable[[str], str]] = {
    "alone": str,
    "file": _file,
    "prose": _prose,
    "code": _code,
    "log": _log,
    "tool result": _result,
}


def cases(part: Part, *, seed: int = 20, variants: int = 4) -> Iterator[Case]:
    """The texts of a part: every template `variants` times, with new values, each in another carrier."""
    values = Values(seed)
    names = list(CARRIERS)
    turn = 0
    for detector, template in templates(part):
        for _ in range(variants):
            carrier = names[turn % len(names)]
            turn += 1
            yield Case(CARRIERS[carrier](values.fill(template)), detector, carrier)


def templates(part: Part) -> Iterator[tuple[str | None, str]]:
    """Detector (None: nothing private) and template."""
    folder = resources.files(__package__)
    table = tomllib.loads(folder.joinpath(f"{part}.toml").read_text(encoding="utf-8"))
    for name, row in table.items():
        for template in row["texts"]:
            yield (None if name == HARMLESS else name), template
    if part == "known":
        for text in known_harmless():
            yield None, text


def known_harmless() -> list[str]:
    """The texts of known_harmless.txt."""
    raw = resources.files(__package__).joinpath("known_harmless.txt").read_text(encoding="utf-8")
    return [line.replace("\\n", "\n") for line in raw.splitlines() if line and not line.startswith("#")]
