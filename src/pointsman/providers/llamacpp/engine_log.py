"""The engine's own words, in a file that cannot grow without bound."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from pathlib import Path


class EngineLog:
    """A file and one older one. A full disk costs lines of the log, never the engine."""

    def __init__(self, path: Path, *, limit: int = 1024 * 1024) -> None:
        self.path = path
        self._older = path.with_name(path.name + ".1")
        self._limit = limit
        """Bytes of the file beyond which it becomes the older one."""

    def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # The engine's complaints may quote a prompt: for the owner alone, whatever the folder's mode.
            with open(self.path, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(data)
                size = file.tell()
            if size > self._limit:
                self.path.replace(self._older)

    def tail(self, count: int) -> list[str]:
        """The last `count` lines, oldest first."""
        lines: deque[str] = deque(maxlen=count)
        for path in (self._older, self.path):
            with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
                lines.extend(line.rstrip("\n") for line in file)
        return list(lines)
