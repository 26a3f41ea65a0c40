"""Markdown that appears while it is being written.

Blocks that are finished are printed once and stay; only the block that still grows is drawn again. A redraw rewrites
the lines that changed and no other, in one write, so that nothing flickers; lines that have scrolled off the screen
are left as they are, so that an answer of any length is shown whole.
"""

from __future__ import annotations

import re
import time
from itertools import pairwise
from typing import ClassVar

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.syntax import Syntax
from rich.text import Text

from .text import safe

CODE_THEME = "ansi_dark"
"""The terminal's own sixteen colours, so that code can be read on a light ground and a dark one."""
INTERVAL = 0.06
"""Seconds between two redraws at the least."""

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class _Code(CodeBlock):
    """Code as it would be pasted: no frame, no padding, no background."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.lexer_name and self.lexer_name != "text":
            yield Text(self.lexer_name, style="dim italic")
        code = str(self.text).rstrip()
        yield Syntax(code, self.lexer_name, theme=CODE_THEME, background_color="default").highlight(code)


class _Heading(Heading):
    """A heading at the left margin, like everything else."""

    LEVEL_ALIGN: ClassVar[dict[str, JustifyMethod]] = {}


class _Markdown(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
        "heading_open": _Heading,
    }


def render(console: Console, text: str) -> list[str]:
    """The lines of a markdown text, with the console's escape sequences, each complete in itself."""
    with console.capture() as capture:
        # Links are shown, not hidden behind their label: the text is a model's.
        console.print(_Markdown(text, hyperlinks=False), soft_wrap=False)
    lines = capture.get().split("\n")
    while lines and _is_blank(lines[-1]):
        lines.pop()
    while lines and _is_blank(lines[0]):
        lines.pop(0)
    return lines


def _is_blank(line: str) -> bool:
    return not _STYLE.sub("", line).strip()


class PlainStream:
    """The same where the cursor cannot be moved: the text as it comes."""

    def __init__(self, console: Console) -> None:
        self._file = console.file
        self._last = "\n"

    def feed(self, text: str) -> None:
        if shown := safe(text):
            self._file.write(shown)
            self._file.flush()
            self._last = shown[-1]

    def status(self, text: str) -> None:
        pass

    def refresh(self) -> None:
        pass

    def finish(self) -> None:
        self.feed("" if self._last == "\n" else "\n")


class MarkdownStream:
    """Draws an answer as it comes. Feed it text, call `refresh` now and then, and `finish` at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._parser = MarkdownIt().enable("strikethrough").enable("table")
        self._pending = ""
        """The block that still grows, and what follows it."""
        self._shown: list[str] = []
        """The lines of that block that are on the screen."""
        self._lead: list[str] = []
        """A blank line, from the second block on."""
        self._dirty = False
        self._next = 0.0

    def feed(self, text: str) -> None:
        self._pending += safe(text)
        self._dirty = True
        self.refresh()

    def status(self, text: str) -> None:
        """A dim line that stands while there is no text yet."""
        if not self._pending and not self._lead:
            with self._console.capture() as capture:
                self._console.print(Text(safe(text), style="dim"), overflow="ellipsis", no_wrap=True)
            self._show([capture.get().rstrip("\n")])

    def refresh(self) -> None:
        """Draw, when there is something new and the last drawing is some time ago."""
        if self._dirty and time.monotonic() >= self._next:
            self._draw()

    def finish(self) -> None:
        """Draw what is left; the block on the screen is the last. A status line goes."""
        if self._pending or self._lead:
            self._draw()
        else:
            self._show([])
        self._settle("")

    def _draw(self) -> None:
        started = time.monotonic()
        self._dirty = False
        for block in self._finished_blocks():
            self._show(render(self._console, block))
            self._settle(self._pending)
        if self._pending.strip():
            self._show(render(self._console, self._pending))
        now = time.monotonic()
        self._next = now + max(INTERVAL, 4 * (now - started))  # a huge table must not eat the processor

    def _finished_blocks(self) -> list[str]:
        """Take every block but the last out of the pending text."""
        tokens = self._parser.parse(self._pending)
        starts = [token.map[0] for token in tokens if token.level == 0 and token.map and token.nesting >= 0]
        if len(starts) < 2:
            return []
        lines = self._pending.split("\n")
        bounds = [0, *starts[1:]]
        self._pending = "\n".join(lines[bounds[-1] :])
        return ["\n".join(lines[start:end]) for start, end in pairwise(bounds)]

    def _settle(self, pending: str) -> None:
        """What is on the screen stays as it is; a blank line follows before the next block."""
        if self._shown:
            self._lead = [""]
        self._pending, self._shown = pending, []

    def _show(self, block: list[str]) -> None:
        """Make the screen show these lines of the current block."""
        lines = [*self._lead, *block]
        same = _common(self._shown, lines)
        keep = max(same, len(self._shown) - max(1, self._console.height - 1))
        up = len(self._shown) - keep
        move = f"\x1b[{up}A\r\x1b[J" if up > 0 else ""
        self._console.file.write(move + "".join(f"{line}\n" for line in lines[keep:]))
        self._console.file.flush()
        self._shown = lines


def _common(before: list[str], after: list[str]) -> int:
    """How many lines at the top are the same."""
    pairs = enumerate(zip(before, after, strict=False))
    return next((at for at, (old, new) in pairs if old != new), min(len(before), len(after)))
