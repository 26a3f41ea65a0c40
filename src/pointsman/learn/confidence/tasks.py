"""The tasks whose answers are executed: families with settings, as `tasks.toml` holds them."""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import msgspec

PHRASINGS = (
    "Write a Python function `{signature}` that {ask}. Answer with the code alone.",
    "Write a Python function `{signature}` that {ask}. Give only the function, without examples or explanation.",
    "I need a Python function `{signature}` that {ask}. No explanation, please.",
)


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One programming task."""

    name: str
    family: str
    prompt: str
    solution: str
    """Code that defines the function."""
    calls: tuple[str, ...]
    """Expressions; an answer is right when each gives what it gives with the solution."""


class _Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    signature: str
    ask: str
    body: str
    calls: list[str]
    settings: list[dict[str, str | int]]


def tasks() -> list[Task]:
    """Every task, in the order of the file; the same each time."""
    table = tomllib.loads(files(__package__).joinpath("tasks.toml").read_text(encoding="utf-8"))
    return list(_made(msgspec.convert(table["family"], list[_Family])))


def _made(families: list[_Family]) -> Iterator[Task]:
    for number, family in enumerate(families):
        for place, setting in enumerate(family.settings):
            phrasing = PHRASINGS[(number + place) % len(PHRASINGS)]
            yield Task(
                name=f"{family.name}-{place + 1}",
                family=family.name,
                prompt=phrasing.format(signature=family.signature, ask=_filled(family.ask, setting)),
                solution=f"def {family.signature}:\n"
                + textwrap.indent(_filled(family.body, setting).strip("\n"), "    ")
                + "\n",
                calls=tuple(_filled(call, setting) for call in family.calls),
            )


def _filled(text: str, setting: Mapping[str, Any]) -> str:
    for name, value in setting.items():
        text = text.replace(f"<{name}>", str(value))
    return text
