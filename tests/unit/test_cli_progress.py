from __future__ import annotations

import io
import os
import pty

import pytest

from pointsman.surfaces.cli import progress
from pointsman.surfaces.cli.progress import shown_progress


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
    drawn = os.read(ours, 65536).decode()
    os.close(ours)
    assert "Fetching model" in drawn
    assert "100.0/100.0 MB" in drawn
