"""Prompts of a wanted size, all different: an ask, and what people paste beneath it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pointsman
from pointsman.learn.intent.asks import own_asks


def prompts(size: int, *, seed: int) -> Iterator[str]:
    """Prompts of `size` bytes without end, the same for the same seed. All are ASCII."""
    rng = random.Random(f"{seed}:{size}")  # noqa: S311 - chance decides over texts, not over secrets
    asks, lines = _material()
    number = 0
    while True:
        number += 1
        parts = [f"{rng.choice(asks)} ({number})"]
        length = len(parts[0])
        fenced = size > 400 and rng.random() < 0.5
        if fenced:
            parts.append("```python")
        while length < size:
            start = rng.randrange(len(lines) - 12)
            some = lines[start : start + rng.randint(3, 12)]
            parts += some
            length += sum(map(len, some)) + len(some)
        text = "\n".join(parts)
        yield f"{text[: size - 4]}\n```" if fenced else text[:size]


@cache
def _material() -> tuple[list[str], list[str]]:
    """Asks, and lines of this package's source and comments."""
    files = sorted((Path(pointsman.__file__).parent / "core").glob("*.py"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.isascii()]
    return [ask.text for ask in own_asks("known", seed=1) if ask.text and ask.text.isascii()], lines
