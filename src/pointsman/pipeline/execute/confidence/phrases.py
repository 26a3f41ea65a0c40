"""Refusals and doubts, in the words in which models say them."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import re2

BEGINNING = 400
"""Characters in which a refusal is looked for; later ones are mostly about something else."""
LOOKED_AT = 40_000


def refuses(prose: str) -> bool:
    """Whether the text begins with a refusal, or by asking for what it would need."""
    return load_phrases()[0].search(_plain(prose[:BEGINNING])) is not None


def doubts(prose: str) -> bool:
    """Whether the text says anywhere that it is not sure of itself."""
    return load_phrases()[1].search(_plain(prose[:LOOKED_AT])) is not None


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # RE2 takes no half of a surrogate pair


@cache
def load_phrases() -> tuple[Any, Any]:
    """What refusals and doubts are found by, compiled at the first call."""
    table = tomllib.loads(files(__package__).joinpath("phrases.toml").read_text(encoding="utf-8"))
    refusals, doubts = (
        re2.compile("(?i)" + "|".join(f"(?:{pattern})" for pattern in table[kind])) for kind in ("refusals", "doubts")
    )
    return refusals, doubts
