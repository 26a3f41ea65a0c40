"""What could not be written to the database, on disk until it can: append-only files, synced, replayed in order.

Each process has files of its own, held by a lock; files that nobody holds were left by a process that ended, and the
next one that starts takes them over. A line is a JSON object, so that what is in them can be read without a program.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pointsman.core.decision import Decision
from pointsman.core.outcome import Outcome

from . import disk_room
from .locked_file import open_locked

log = logging.getLogger(__name__)

Item = tuple[Any, Any]
"""A decision and its prompt or None, or a decision's id and its outcome."""

SUFFIX = ".jsonl"
FILE_BYTES = 16 * 1024 * 1024
"""Size at which a new file is begun, so that room is given back bit by bit while they are replayed."""
MAX_BYTES = 1024**3
PEEK_BYTES = 1024 * 1024
"""Of lines that are looked at together, unless one alone is longer."""
HOLE_BYTES = 256 * 1024
"""Replayed bytes of a file from which on their room is given back before the file is done."""


class _Decided(msgspec.Struct, tag="decided", gc=False):
    decision: Decision
    prompt: bytes | None = None


class _Ended(msgspec.Struct, tag="ended", gc=False):
    id: str
    outcome: Outcome


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Decided | _Ended)


@dataclass(slots=True)
class _File:
    path: Path
    descriptor: int
    size: int
    """Bytes that are whole."""
    items: int
    """Lines that wait to be replayed."""
    read: int = 0
    """Bytes that were replayed."""
    given_back: int = 0
    """Bytes whose room the disk has again."""


class Spool:
    """Files in one folder. For one thread."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        """
        Args:
            folder: made when something is first to be kept, readable by the owner alone.
            max_bytes: what all files of this process may hold.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._files: deque[_File] = deque()
        self._writing: _File | None = None
        self._peeked = (0, 0)  # bytes and lines of the last `peek`

    @property
    def items(self) -> int:
        """How many wait."""
        return sum(file.items for file in self._files)

    def adopt(self) -> None:
        """Take over the files of processes that have ended."""
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    begins = disk_room.beginning(descriptor)
                    with open(descriptor, "rb", closefd=False) as reader:
                        reader.seek(begins)
                        lines = sum(1 for _ in reader)
                        size = reader.tell()
                except BaseException:
                    os.close(descriptor)
                    raise
            except BlockingIOError:
                continue  # its process lives
            except OSError as error:
                log.warning("The spooled log %s cannot be read: %s", path, error.strerror or error)
                continue
            if size:
                self._files.append(_File(path, descriptor, size, lines, begins, begins))
            else:  # its process was killed on a full disk
                with contextlib.suppress(OSError):
                    path.unlink()
                os.close(descriptor)
        if self.items:
            log.info("%d items of the decision log were left on disk; they are written now.", self.items)

    def append(self, items: list[Item]) -> int:
        """Keep items; they are on the disk when this returns. Returns how many could not be said in JSON.

        Raises:
            OSError: there is no room, or the bound is reached; nothing of them is kept.
        """
        lines = [line for item in items if (line := _line(item)) is not None]
        data = b"".join(lines)
        if sum(file.size for file in self._files) + len(data) > self._max_bytes:
            raise OSError(errno.EDQUOT, f"it holds as much as it may (database.spool_max_bytes = {self._max_bytes})")
        if disk_room.left(self._folder) < len(data) + disk_room.KEPT_FREE:
            raise OSError(errno.ENOSPC, "what is left on its disk is left to the database")
        file = self._writing
        if file is None or file.size >= FILE_BYTES:
            file = self._new()
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(file.descriptor, data[done:], file.size + done)
            os.fsync(file.descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file.descriptor, file.size)  # what was half written
            raise
        file.size += len(data)
        file.items += len(lines)
        return len(items) - len(lines)

    def peek(self, count: int) -> list[Item]:
        """The oldest items, at most `count` and about `PEEK_BYTES`; `advance` says that they are written. A line that
        cannot be read is left out: the last one of a process that was killed may be half of one.
        """
        while self._files:
            file = self._files[0]
            with open(file.descriptor, "rb", closefd=False) as reader:
                reader.seek(file.read)
                lines = reader.readlines(PEEK_BYTES)[:count]
            if not lines:
                file.read = file.size
            self._peeked = sum(map(len, lines)), len(lines)
            items = [item for line in lines if (item := self._item(line, file)) is not None]
            if items:
                return items
            self.advance()
        return []

    def advance(self) -> None:
        """What was peeked at is in the database."""
        file = self._files[0]
        file.read += self._peeked[0]
        file.items -= self._peeked[1]
        self._peeked = (0, 0)
        if file.read >= file.size:
            self._files.popleft()
            if file is self._writing:
                self._writing = None
            with contextlib.suppress(FileNotFoundError):
                file.path.unlink()
            os.close(file.descriptor)
        elif file.read - file.given_back >= HOLE_BYTES:
            disk_room.give_back(file.descriptor, file.read)
            file.given_back = file.read

    def close(self) -> None:
        """Leave what waits to the next process."""
        for file in self._files:
            os.close(file.descriptor)
        self._files.clear()
        self._writing = None

    def _new(self) -> _File:
        path = self._folder / f"{int(time.time() * 1000):013d}-{os.getpid()}-{os.urandom(3).hex()}{SUFFIX}"
        descriptor = open_locked(path, new=True)
        self._writing = _File(path, descriptor, 0, 0)
        self._files.append(self._writing)
        return self._writing

    def _item(self, line: bytes, file: _File) -> Item | None:
        try:
            found = _decoder.decode(line.lstrip(b"\0"))  # what was given back before it
        except (msgspec.MsgspecError, UnicodeDecodeError):
            if line.endswith(b"\n"):
                log.warning("A line of %s cannot be read and is left out.", file.path)
            return None
        return (found.decision, found.prompt) if isinstance(found, _Decided) else (found.id, found.outcome)


def _line(item: Item) -> bytes | None:
    first, second = item
    entry = _Decided(first, second) if isinstance(first, Decision) else _Ended(first, second)
    try:
        return _encoder.encode(entry) + b"\n"
    except (msgspec.MsgspecError, UnicodeEncodeError, TypeError, ValueError) as error:
        log.warning("The decision log drops an item that cannot be stored.", exc_info=error)
        return None
