from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import pty
import struct
import termios
import tty

import pyte
import pytest

from pointsman import logs
from pointsman.surfaces.cli import progress
from pointsman.surfaces.cli.progress import shown_progress


def _all_of(terminal: int) -> str:
    """What was written before the other end closed; one read gives one piece of it."""
    pieces = []
    with contextlib.suppress(OSError):  # how Linux tells the end of a terminal
        while piece := os.read(terminal, 1 << 16):
            pieces.append(piece)
    return b"".join(pieces).decode()


def test_without_a_terminal_there_are_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 11.0, 12.0, 12.5, 13.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with shown_progress(stream) as show:
        for done in (0, 10, 50, 60, 100, 100):
            show("a\x1b[2Jmodel", done, 100)
    assert stream.getvalue().splitlines() == [
        "Fetching a[2Jmodel: 0 B (0 %)",
        "Fetching a[2Jmodel: 50 B (50 %)",
        "Fetching a[2Jmodel: 100 B (100 %)",
    ]


def test_what_was_there_all_along_is_not_told() -> None:
    stream = io.StringIO()
    with shown_progress(stream) as show:
        show("model", 100, 100)
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream, shown_progress(stream) as show:
        show("model", 0, 0)  # the size is not known yet
        show("model", 40_000_000, 100_000_000)
        show("model", 100_000_000, 100_000_000)
    drawn = _all_of(ours)
    os.close(ours)
    assert "Fetching model" in drawn
    assert "100.0/100.0 MB" in drawn


def test_log_lines_print_above_the_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("pointsman")
    before = (logger.handlers, logger.propagate, logger.level)
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    try:
        with os.fdopen(theirs, "w") as stream:
            monkeypatch.setattr("sys.stderr", stream)
            monkeypatch.setenv("TERM", "xterm")
            monkeypatch.delenv("NO_COLOR", raising=False)
            logs.configure("info", "text")
            with shown_progress(stream) as show:
                show("small", 40, 100)
                show("large", 40, 100)
                logging.getLogger("pointsman.engine").info("first is ready after 1.5 s")
                show("small", 100, 100)
                logging.getLogger("pointsman.engine").info("second is ready after 3.5 s")
                show("large", 100, 100)
        drawn = _all_of(ours)
    finally:
        os.close(ours)
        logger.handlers, logger.propagate = before[:2]
        logger.setLevel(before[2])
    screen = pyte.Screen(100, 24)
    pyte.Stream(screen).feed(drawn.replace("\n", "\r\n"))
    lines = [line.rstrip() for line in screen.display if line.strip()]
    assert [line.partition("engine: ")[2] for line in lines[:2]] == [
        "first is ready after 1.5 s",
        "second is ready after 3.5 s",
    ]
    assert [" ".join(line.split()[:2]) for line in lines[2:]] == ["Fetching small", "Fetching large"]
