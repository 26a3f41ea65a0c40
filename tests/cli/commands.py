"""Runs the command as a user does: as a program, in a pipe or in a terminal."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pexpect
import pyte

from waiting import PATIENCE

COMMAND = [sys.executable, "-m", "pointsman"]


def clean_environment(home: Path, **extra: str) -> dict[str, str]:
    """An environment with nothing of the machine's own settings in it."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "POINTSMAN_DATA_DIR": str(home / "data"),
        "POINTSMAN_CACHE_DIR": str(home / "cache"),
        "LANG": "C.UTF-8",
        "PYTHONWARNINGS": "error::ResourceWarning",
        **extra,
    }


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


async def run_command(*args: str, env: Mapping[str, str], stdin: bytes = b"", seconds: float = 60.0) -> Ran:
    """Run it to its end, in the user's home, with pipes for standard streams."""
    child = await asyncio.create_subprocess_exec(
        *COMMAND, *args, env=dict(env), cwd=env["HOME"],
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(child.communicate(stdin), seconds)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode is not None
    return Ran(child.returncode, out.decode(), err.decode())


class Terminal:
    """The command in a pseudo-terminal, and the screen that a person would see."""

    def __init__(self, *args: str, env: Mapping[str, str], columns: int = 100, lines: int = 30) -> None:
        self.raw = ""
        self._screen = pyte.HistoryScreen(columns, lines, history=5000, ratio=0.5)
        self._stream = pyte.Stream(self._screen)
        command, *first = COMMAND
        self._child = pexpect.spawn(
            command, [*first, *args],
            env={"TERM": "xterm-256color", **env}, cwd=env["HOME"], dimensions=(lines, columns), encoding="utf-8",
            codec_errors="replace",  # the terminal echoes a key in the middle of a letter
            timeout=20,
        )  # fmt: skip
        self._child.delaybeforesend = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._child.close(force=True)

    @property
    def text(self) -> str:
        """Everything on the screen and scrolled off it."""
        top = ["".join(line[at].data for at in range(self._screen.columns)) for line in self._screen.history.top]
        return "\n".join(line.rstrip() for line in [*top, *self._screen.display]).rstrip("\n")

    def send(self, text: str) -> None:
        self._child.send(text)

    def line(self, text: str) -> None:
        """Type a line once the prompt is there."""
        self.send(text + "\r")

    async def until(self, pattern: str, *, seconds: float = PATIENCE) -> str:
        """Read until the screen's text matches; the text."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text, re.MULTILINE):
            assert time.monotonic() < end, f"{pattern!r} did not appear on:\n{self.text}"
            await asyncio.to_thread(self._read)
        return self.text

    async def ended(self) -> int:
        """Read until the program has ended; its exit code."""
        end = time.monotonic() + PATIENCE
        while self._read_or_end():
            assert time.monotonic() < end, f"it did not end:\n{self.text}"
            await asyncio.sleep(0.01)
        self._child.close()
        code = self._child.exitstatus
        assert code is not None
        return code

    def _read(self) -> None:
        if not self._read_or_end():
            raise AssertionError(f"the program ended:\n{self.text}")

    def _read_or_end(self) -> bool:
        try:
            data = self._child.read_nonblocking(65536, timeout=0.1)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        self._stream.feed(data)
        if "\x1b[6n" in data:  # the program asks where the cursor is, as terminals answer
            self._child.send(f"\x1b[{self._screen.cursor.y + 1};{self._screen.cursor.x + 1}R")
        return True
