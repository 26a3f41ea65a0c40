"""Examples of a step: read from JSON lines, and split so that none is ever on both sides."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pointsman.core.errors import InvalidRequest
from pointsman.core.program import Field, Program

HELD_OUT = 0.3
"""Share of the groups that is kept back."""
LEAST = 6
"""Examples without which nothing can be said."""
LEAST_HELD, LEAST_TRAIN = 2, 2


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A text for each field of a program."""

    values: dict[str, str]
    group: str
    """Examples of one group stay on one side of the split."""


class Split(msgspec.Struct, frozen=True, kw_only=True):
    train: tuple[Example, ...]
    held_out: tuple[Example, ...]


def example_of(program: Program, values: dict[str, Any]) -> Example:
    """What one object says; keys that are no field are left out, but for `group`.

    Raises:
        ValueError: a field is missing, is no text, or is none of its choices; names it.
    """
    texts = {field.name: _text(field, values) for field in (*program.inputs, *program.outputs)}
    group = values.get("group") or values.get("split_key")
    return Example(
        values=texts, group=str(group) if group else "\n".join(texts[field.name] for field in program.inputs)
    )


def read_examples(path: Path, program: Program) -> list[Example]:
    """Examples from JSON lines, gzipped or not: an object with a text for each input and output.

    Raises:
        InvalidRequest: a line is no example; names the line.
        OSError: the file cannot be read.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    found: list[Example] = []
    number = 0
    try:
        with opener(path, "rb") as lines:
            for line in lines:
                number += 1
                if line.strip():
                    found.append(example_of(program, msgspec.json.decode(line, type=dict[str, Any])))
    except (gzip.BadGzipFile, EOFError) as error:
        raise InvalidRequest(f"{path.name} is damaged: {error}.") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidRequest(f"{path.name}, line {max(number, 1)}: {str(error).rstrip('.')}.") from None
    return found


def split(examples: Iterable[Example]) -> Split:
    """Which examples to learn from and which to judge by.

    The side follows from a hash of the group alone, so it is the same in every run, whatever the seed and whatever was
    added since: a program that was optimised before is never judged by what it has seen. Only where a side would be
    nearly empty are groups moved.

    Raises:
        InvalidRequest: there are too few.
    """
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(_digest(example.group), []).append(example)
    count = sum(map(len, groups.values()))
    if count < LEAST or len(groups) < LEAST_HELD + LEAST_TRAIN:
        raise InvalidRequest(
            f"There are {count} different examples in {len(groups)} groups; at least {LEAST} are needed."
        )
    order = sorted(groups)
    border = int(HELD_OUT * (1 << 32))
    held = sum(int(digest[:8], 16) < border for digest in order)
    held = min(max(held, LEAST_HELD), len(order) - LEAST_TRAIN)
    return Split(
        train=tuple(example for digest in order[held:] for example in groups[digest]),
        held_out=tuple(example for digest in order[:held] for example in groups[digest]),
    )


def values_of(examples: Sequence[Example]) -> tuple[dict[str, str], ...]:
    return tuple(example.values for example in examples)


def _text(field: Field, values: dict[str, Any]) -> str:
    value = values.get(field.name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{field.name!r} must be a text")
    if not field.choices:
        return value
    chosen = next((choice for choice in field.choices if choice.casefold() == value.strip().casefold()), None)
    if chosen is None:
        raise ValueError(f"{field.name!r} is {value!r}, none of {', '.join(field.choices)}")
    return chosen


def _digest(group: str) -> str:
    return hashlib.sha256(group.encode("utf-8", "replace")).hexdigest()
