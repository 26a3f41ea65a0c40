"""What a terminal shows of markdown that came in pieces is what it shows of the whole."""

from __future__ import annotations

import io
import json
import random

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pointsman.surfaces.cli.markdown import MarkdownStream
from pointsman.surfaces.cli.text import escaped, safe, safe_line

COLUMNS, LINES = 60, 12

TEXT = (
    "# Title\n\nSome"
    " *words* with `code` and **bold text long enough to wrap around the edge of it twice, or thrice**.\n"
    "\n1. first\n2. second\n\n   more of it\n\n- a\n- b\n\n```python\ndef f(x):\n"
    + "".join(f"    y{number} = x * {number}\n" for number in range(40))
    + "```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n| long cell | 3 |\n\n> quoted\n\nThe end.\n"
)


class _Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(pieces: list[str]) -> str:
    """Screen and scroll-back after drawing the pieces."""
    file = _Tty()
    console = Console(file=file, force_terminal=True, width=COLUMNS, height=LINES, color_system="standard")
    stream = MarkdownStream(console)
    for piece in pieces:
        stream._next = 0.0  # draw at each piece, however quickly they come
        stream.feed(piece)
    stream.finish()
    screen = pyte.HistoryScreen(COLUMNS, LINES, history=2000, ratio=0.5)
    screen.set_mode(pyte.modes.LNM)
    pyte.Stream(screen).feed(file.getvalue())
    top = ["".join(line[at].data for at in range(COLUMNS)) for line in screen.history.top]
    return "\n".join(line.rstrip() for line in [*top, *screen.display]).rstrip()


@pytest.mark.parametrize("seed", range(5))
def test_pieces_of_any_size_give_the_same_screen(seed: int) -> None:
    generator, pieces, at = random.Random(seed), [], 0
    while at < len(TEXT):
        size = generator.randint(1, 12)
        pieces.append(TEXT[at : at + size])
        at += size
    drawn = shown(pieces)
    assert drawn == shown([TEXT])
    assert drawn.startswith("Title\n\nSome words with code and bold text")
    assert drawn.endswith("The end.")
    assert drawn.count("y39 = x * 39") == 1


@given(st.lists(st.text(max_size=20), max_size=8))
def test_any_text_is_drawn_without_fail(pieces: list[str]) -> None:
    shown(pieces)


def test_a_redraw_writes_what_changed_and_no_more() -> None:
    file = _Tty()
    stream = MarkdownStream(Console(file=file, force_terminal=True, width=COLUMNS, height=LINES))
    stream.feed("```\n" + "line\n" * 8)
    before = len(file.getvalue())
    stream._next = 0.0
    stream.feed("last\n")
    written = file.getvalue()[before:]
    assert written.count("\n") == 1
    assert "last" in written
    assert "line" not in written


def test_a_status_goes_when_text_comes() -> None:
    file = _Tty()
    stream = MarkdownStream(Console(file=file, force_terminal=True, width=COLUMNS, height=LINES))
    stream.status("waiting… 1 s")
    stream.feed("Hello")
    stream.finish()
    screen = pyte.Screen(COLUMNS, LINES)
    screen.set_mode(pyte.modes.LNM)
    pyte.Stream(screen).feed(file.getvalue())
    assert [line.rstrip() for line in screen.display if line.strip()] == ["Hello"]


@given(st.text())
def test_safe_text_holds_no_control_character(text: str) -> None:
    made = safe(text)
    assert not [c for c in made if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]
    assert not set(made) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert safe(made) == made
    assert "\n" not in safe_line(text)


def test_safe_text_keeps_what_is_harmless() -> None:
    text = "naïve ✓ 👍🏽 שלום\n\tend"
    assert safe(text) == text


def test_json_keeps_what_it_says_without_controls():
    told = {"name": "a\x9b2J\u202eb\x07", "text": "line\nnext\ttab ü"}
    made = escaped(json.dumps(told, ensure_ascii=False, indent=2))
    assert json.loads(made) == told
    assert not {"\x9b", "\u202e", "\x07"} & set(made)
