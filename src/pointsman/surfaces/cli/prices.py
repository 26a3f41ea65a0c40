"""What `pointsman models refresh-prices` does and shows."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pointsman.providers.price_refresh import Change, changes, from_index, from_wheel, table_of, write
from pointsman.providers.prices import NAME, table, use

from .output import console, note, styled
from .output import table as shown

if TYPE_CHECKING:
    from pointsman.settings import Settings

MOST_ROWS = 40


class Refreshed(msgspec.Struct, frozen=True, kw_only=True):
    """What was done."""

    source: str
    date: str
    licence: str
    models: int
    path: str | None
    """Where it was written; None where nothing was, for nothing differs or nothing should be."""
    changes: list[Change]


async def refresh(settings: Settings, source: Path | None, version: str | None, *, dry_run: bool) -> Refreshed:
    """Take the table over.

    Raises:
        InvalidRequest: it is no table of LiteLLM.
        UpstreamConnectError: the package index does not give it.
        OSError: a file cannot be read or written.
    """
    from pointsman.settings import child_environment

    if source is None:
        raw, release = await from_index(child_environment({}), version)
        named = f"litellm {release}"
    else:
        raw = _content(source)
        named = source.name
    use(settings.data_dir)
    before = table()
    after = table_of(raw, source=named, date=datetime.datetime.now(datetime.UTC).date().isoformat())
    found = changes(before, after)
    path = settings.data_dir / NAME
    if not dry_run and (found or before.source != named):
        write(path, after)
    return Refreshed(
        source=named,
        date=after.date,
        licence=after.licence,
        models=len(after.models),
        path=str(path) if not dry_run else None,
        changes=found,
    )


def _content(source: Path) -> bytes:
    return from_wheel(source) if source.suffix == ".whl" else source.read_bytes()


def show(done: Refreshed) -> None:
    by_kind = sorted(done.changes, key=lambda change: ("changed", "new", "gone").index(change.kind))
    rows = [cells for change in by_kind for cells in _rows(change)]
    if rows:
        console().print(shown(("Model", "What", "Before", "After"), rows[:MOST_ROWS], right=("Before", "After")))
    if len(rows) > MOST_ROWS:
        note(f"… and {len(rows) - MOST_ROWS} more; --json lists them all.")
    count = len(done.changes)
    told = f"{done.source}: {done.models} models, {count} of them {'differs' if count == 1 else 'differ'}."
    note(f"{told} Kept in {done.path}; a gateway that runs reads it when it is started anew." if done.path else told)


def _rows(change: Change) -> list[tuple[object, ...]]:
    if change.kind != "changed":
        return [(styled(change.model, "bold"), change.kind, "", "")]
    return [
        (styled(change.model, "bold"), _words(name), _value(name, before), _value(name, after))
        for name, (before, after) in change.fields.items()
    ]


def _words(name: str) -> str:
    return name.removeprefix("price_").replace("_", " ") + (" $/M" if name.startswith("price_") else "")


def _value(name: str, value: Any) -> str:
    if value is None or value == ():
        return "-"
    if name == "steps":
        return ", ".join(
            f">{step.above:,}: {_dollars(step.price_input)}/{_dollars(step.price_output)}" for step in value
        )
    if name.startswith("price_"):
        return _dollars(value)
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _dollars(micro: int) -> str:
    return f"{micro / 1_000_000:.4g}"
