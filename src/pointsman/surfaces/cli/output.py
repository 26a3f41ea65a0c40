"""What every command prints with: tables on a console, JSON beside them, notes on standard error."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any

import click

from .text import escaped, safe, safe_line

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
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
    click.echo(folded(safe_line(message), sys.stderr), err=True)


def folded(text: str, stream: IO[str]) -> str:
    """The text as a terminal shows it best: broken between words, not in them. For anything else as it is."""
    if not stream.isatty():
        return text
    width = max(20, shutil.get_terminal_size().columns)
    lines = text.splitlines()
    return "\n".join(
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) if len(line) > width else line
        for line in lines
    )


def styled(text: object, style: str = "") -> Text:
    """A piece of text that is safe to show."""
    from rich.text import Text

    return Text(safe(str(text)), style=style)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = (), spare: Sequence[str] = ()
) -> Fitted:
    """A plain table. Cells may be strings or styled text.

    Args:
        columns: headings; without any text there is no heading.
        rows: as many cells each as there are columns.
        right: headings of columns that hold numbers.
        spare: headings of columns that a narrow terminal may do without, the first to go first.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    return Fitted(columns, cells, right=frozenset(right), spare=spare)


class Fitted:
    """A table that makes itself as narrow as it must be: between words if it can, without its spare columns if need
    be, in the middle of words only when nothing else is left.
    """

    def __init__(
        self, columns: Sequence[str], rows: list[list[Text]], *, right: frozenset[str], spare: Sequence[str]
    ) -> None:
        self._columns = columns
        self._rows = rows
        self._right = right
        self._spare = spare

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich import box
        from rich.table import Table

        shown = list(range(len(self._columns)))
        full = [self._width(at, whole=True) for at in shown]
        least = [self._width(at, whole=False) for at in shown]
        for name in self._spare:
            if sum(least[at] for at in shown) + _GAP * (len(shown) - 1) > options.max_width:
                shown.remove(self._columns.index(name))
        room = options.max_width - _GAP * (len(shown) - 1)
        while sum(full[at] for at in shown) > room:
            loose = [at for at in shown if full[at] > least[at]]
            if not loose:
                break
            full[max(loose, key=lambda at: full[at])] -= 1
        fits = sum(full[at] for at in shown) <= room
        made = Table(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold", show_header=any(self._columns)
        )
        for at in shown:
            name = self._columns[at]
            made.add_column(
                name,
                justify="right" if name in self._right else "left",
                overflow="fold",
                width=full[at] if fits else None,
            )
        for row in self._rows:
            made.add_row(*(row[at] for at in shown))
        yield made

    def _width(self, at: int, *, whole: bool) -> int:
        """Of a column: that of its longest line, or the least, that of its longest word."""
        from rich.cells import cell_len

        texts = [self._columns[at], *(row[at].plain for row in self._rows)]
        parts = (part for text in texts for part in (text.splitlines() if whole else text.split()))
        return max(map(cell_len, parts), default=0)


_GAP = 3
"""Columns of the terminal between two of a table."""


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
