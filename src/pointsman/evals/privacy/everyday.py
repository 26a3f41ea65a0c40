"""What tools print and files hold by the hundred kilobyte, and coding agents send on."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

from .values import Values


@cache
def lines() -> dict[str, str]:
    """The templates of everyday.toml, each of one line or entry."""
    text = resources.files(__package__).joinpath("everyday.toml").read_text(encoding="utf-8")
    table: dict[str, str] = tomllib.loads(text)
    return table


def everyday(name: str, characters: int) -> str:
    """A text of many such lines, with other values in each."""
    values = Values(seed=11)
    pieces: list[str] = []
    size = 0
    while size < characters:
        pieces.append(values.fill(lines()[name]))
        size += len(pieces[-1])
    return "".join(pieces)[:characters]
