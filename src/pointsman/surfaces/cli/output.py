"""What every command prints with: tables on a console, JSON beside them, notes on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any

import click

from .text import escaped, safe, safe_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def console(file: IO[str] | None = None) -> Console:
    """A console on standard output (or another stream) that reads no markup and respects NO_COLOR and pipes."""
    from rich.console import Console

    stream = file or sys.stdout
    wide = None if stream.isatty() else 200  # a pipe has no width: do not fold what a script will read
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=wide)


def print_json(value: Any) -> None:
    """A value as indented JSON on standard output."""
    import msgspec

    click.echo(escaped(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()))


def note(message: str) -> None:
    """A line for the person at the terminal, on standard error."""
    click.echo(safe_line(message), err=True)


def styled(text: object, style: str = "") -> Text:
    """A piece of text that is safe to show."""
    from rich.text import Text

    return Text(safe(str(text)), style=style)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = ()) -> Table:
    """A plain table. Columns named in `right` hold numbers. Cells may be strings or styled text."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    numbers = frozenset(right)
    for name in columns:
        made.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made


def _cell(value: object) -> Text:
    from rich.text import Text

    return value if isinstance(value, Text) else styled("" if value is None else value)


def usd(micro_usd: int | None) -> str:
    """Micro-dollars as people read them: `free`, `$0.000123`, `$1.25`, or `?` when unknown."""
    if micro_usd is None:
        return "?"
    if micro_usd == 0:
        return "free"
    return dollars(Decimal(micro_usd).scaleb(-6))


def dollars(amount: Decimal) -> str:
    """Dollars with as many decimals as the amount needs."""
    return f"${amount:.2f}" if amount >= 1 else f"${amount:.6f}".rstrip("0").rstrip(".")


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit takes every size")
