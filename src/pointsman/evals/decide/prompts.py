"""Prompts of a wanted size, all different: an ask, and what people paste beneath it."""

from __future__ import annotations

import argparse
import csv
import difflib
import heapq
import mailbox
import random
import shelve
import statistics
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pointsman.learn.intent.asks import own_asks

LIBRARIES = (argparse, csv, difflib, heapq, mailbox, shelve, statistics, tarfile)
"""Whose source stands for the code that people paste."""


def prompts(size: int, *, seed: int) -> Iterator[str]:
    """Prompts of `size` bytes without end, the same for the same seed and version of Python. All are ASCII.

    A third of them hold code in a fence, a third code without one, a third are prose.
    """
    rng = random.Random(f"{seed}:{size}")  # noqa: S311 - chance decides over texts, not over secrets
    asks, lines = _material()
    number = 0
    while True:
        number += 1
        parts = [f"{rng.choice(asks)} ({number})"]
        length = len(parts[0])
        kind = rng.choice(("fenced", "pasted", "said"))
        fenced = size > 400 and kind == "fenced"
        if fenced:
            parts.append("```python")
        while length < size:
            if kind == "said":
                some = [rng.choice(asks)]
            else:
                start = rng.randrange(len(lines) - 12)
                some = lines[start : start + rng.randint(3, 12)]
            parts += some
            length += sum(map(len, some)) + len(some)
        text = "\n".join(parts)
        yield f"{text[: size - 4]}\n```" if fenced else text[:size]


@cache
def _material() -> tuple[list[str], list[str]]:
    """Asks, and lines of the standard library's source and comments."""
    files = [Path(library.__file__) for library in LIBRARIES if library.__file__ is not None]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.isascii()]
    return [ask.text for ask in own_asks("known", seed=1) if ask.text and ask.text.isascii()], lines
