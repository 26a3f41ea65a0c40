"""The settings as they may be shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from .checks import shown_address
from .section import Secret, Section

MASK = "…"


def flatten(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and plain value of every setting; secrets masked."""
    for field in msgspec.structs.fields(section):
        value, name = getattr(section, field.name), f"{prefix}{field.name}"
        if isinstance(value, Section):
            yield from flatten(value, f"{name}.")
        elif isinstance(value, dict) and any(isinstance(inner, Section) for inner in value.values()):
            for key, inner in value.items():
                yield from flatten(inner, f"{name}.{key}.")
        elif field.name == "webhook":
            yield name, MASK if value else None  # such addresses are often secrets themselves
        elif field.name == "headers":
            yield name, dict.fromkeys(value, MASK)  # upstream headers often carry keys
        elif field.name == "base_url":
            yield name, shown_address(value)
        elif field.name == "instances":
            yield name, [_shown_instance(item) for item in value]
        elif isinstance(value, Secret):
            yield name, MASK
        elif isinstance(value, list):
            yield name, [MASK if isinstance(item, Secret) else _plain(item) for item in value]
        else:
            yield name, str(value) if isinstance(value, Path) else value


def _shown_instance(item: Any) -> Any:
    if isinstance(item, str):
        return shown_address(item)
    return {**_plain(item), "url": shown_address(item.url)}


def _plain(item: Any) -> Any:
    """An entry of a list; of a section what was set."""
    if not isinstance(item, Section):
        return item
    plain = msgspec.to_builtins(item)
    return {name: value for name, value in plain.items() if value is not None}
