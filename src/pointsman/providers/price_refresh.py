"""Making the price file anew from LiteLLM's table, which is read as data: out of its wheel, or from a file."""

from __future__ import annotations

import asyncio
import re
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pointsman.core.errors import InvalidRequest

from .price_row import Row, row_of
from .prices import PROVIDERS, PriceTable

MEMBER = "litellm/model_prices_and_context_window_backup.json"
LICENCE = "MIT, Copyright (c) 2023 Berri AI"
_LARGEST = 64 * 1024 * 1024


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """How a model differs from the table in use."""

    model: str
    kind: str
    """`new`, `gone` or `changed`."""
    fields: dict[str, tuple[Any, Any]] = {}
    """Of a changed one: field → before and after."""


def table_of(raw: bytes, *, source: str, date: str) -> PriceTable:
    """LiteLLM's table, cut down to what is reached directly and in our words.

    Raises:
        InvalidRequest: it is no such table, or none of our providers is in it.
    """
    try:
        entries = msgspec.json.decode(raw, type=dict[str, dict[str, Any]])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{source} is not LiteLLM's table of prices: {error}.") from None
    models: dict[str, Row] = {}
    for name, entry in entries.items():
        theirs = entry.get("litellm_provider")
        provider = PROVIDERS.get(theirs) if isinstance(theirs, str) else None
        row = row_of(entry) if provider is not None else None
        if row is not None:
            models.setdefault(f"{provider}:{name.removeprefix(f'{theirs}/')}", row)
    if not any(row.price_fields() for row in models.values()):
        raise InvalidRequest(f"{source} holds no price of a provider that is reached directly; nothing was changed.")
    return PriceTable(source=source, date=date, licence=LICENCE, models=dict(sorted(models.items())))


def from_wheel(path: Path) -> bytes:
    """The table out of a wheel of LiteLLM, which is neither installed nor imported.

    Raises:
        InvalidRequest: it is no such wheel.
    """
    try:
        with zipfile.ZipFile(path) as wheel:
            if wheel.getinfo(MEMBER).file_size > _LARGEST:
                raise InvalidRequest(f"The table in {path.name} is larger than any that was ever published.")
            return wheel.read(MEMBER)
    except (zipfile.BadZipFile, KeyError):
        raise InvalidRequest(f"{path.name} is no wheel of LiteLLM with a table of prices.") from None


async def from_index(environment: Mapping[str, str], version: str | None = None) -> tuple[bytes, str]:
    """The table of a release on the package index, and which release that is: pip downloads the wheel.

    Args:
        version: None takes the newest.

    Raises:
        UpstreamConnectError: it cannot be had, with pip's own reason.
        InvalidRequest: the version is none, or its wheel has no table.
    """
    from .pip_command import pip

    if version is not None and not re.fullmatch(r"[0-9][0-9a-zA-Z.+!-]{0,40}", version):
        raise InvalidRequest(f"{version[:50]!r} is no version; one is written as 1.106.2.", param="version")
    with tempfile.TemporaryDirectory(prefix="pointsman-prices-") as folder:
        wanted = "litellm" if version is None else f"litellm=={version}"
        await pip(["download", "--no-deps", "--only-binary", ":all:", "-d", folder, wanted], environment)
        return await asyncio.to_thread(_only_wheel, Path(folder))


def _only_wheel(folder: Path) -> tuple[bytes, str]:
    wheel = next(folder.glob("litellm-*.whl"))
    return from_wheel(wheel), wheel.name.split("-")[1]


def changes(before: PriceTable, after: PriceTable) -> list[Change]:
    """What is new, gone and different, in the order of the names."""
    found = []
    for model in sorted(before.models.keys() | after.models.keys()):
        old, new = before.models.get(model), after.models.get(model)
        if old is None or new is None:
            found.append(Change(model=model, kind="new" if old is None else "gone"))
        elif old != new:
            pairs = {name: (getattr(old, name), getattr(new, name)) for name in Row.__struct_fields__}
            differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
            found.append(Change(model=model, kind="changed", fields=differing))
    return found


def write(path: Path, prices: PriceTable) -> None:
    """Write a price file, a model a line, whole or not at all."""
    head = {"source": prices.source, "date": prices.date, "licence": prices.licence}
    lines = [f"{_json(key)}: {_json(value)}" for key, value in head.items()]
    models = ",\n".join(f"    {_json(name)}: {_json(row)}" for name, row in prices.models.items())
    text = "{\n  " + ",\n  ".join(lines) + ',\n  "models": {\n' + models + "\n  }\n}\n"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
