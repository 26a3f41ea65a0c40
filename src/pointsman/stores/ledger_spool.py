"""Where the ledger's rows go while the database is away: lines of JSON in a file of our own, synced to the disk.

Each process has its file and holds a lock on it while it lives. At the start the files of processes that died are
taken over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Generic, TypeVar

import msgspec

from .locked_file import open_locked

T = TypeVar("T")


class LedgerSpool(Generic[T]):
    """Not for several threads at once. All raise OSError when the disk fails."""

    def __init__(self, folder: Path, decoder: msgspec.json.Decoder[T], name: str) -> None:
        self._path = folder / f"ledger-{name}.spool"
        self._folder = folder
        self._decoder = decoder
        self._encoder = msgspec.json.Encoder()
        self._descriptor: int | None = None
        self._size = 0
        self._read = 0
        """Bytes that are written elsewhere by now."""
        self._peeked = 0

    def append(self, items: list[T]) -> None:
        """Write the items; when this returns they survive a power failure. When it raises, none of them is kept."""
        descriptor = self._open()
        data = b"".join(self._encoder.encode(item) + b"\n" for item in items)
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(descriptor, data[done:], self._size + done)
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, self._size)  # what was half written
            raise
        self._size += len(data)

    def peek(self, count: int) -> list[T]:
        """The oldest items, at most `count`; `advance` says that they are written elsewhere."""
        if self._descriptor is None:
            return []
        with open(self._descriptor, "rb", closefd=False) as reader:
            reader.seek(self._read)
            lines = list(islice(reader, count))
        self._peeked = sum(map(len, lines))
        return [item for line in lines for item in self._items(line)]

    def advance(self) -> None:
        """What was peeked at is written elsewhere."""
        self._read, self._peeked = self._read + self._peeked, 0
        if self._descriptor is not None and self._read >= self._size:
            os.ftruncate(self._descriptor, 0)
            os.fsync(self._descriptor)
            self._size = self._read = 0

    @contextlib.contextmanager
    def left_behind(self) -> Iterator[list[T]]:
        """What dead processes left; their files go when the block ends without an error."""
        taken: list[tuple[Path, IO[bytes]]] = []
        items: list[T] = []
        with contextlib.ExitStack() as stack:
            for path in sorted(self._folder.glob("ledger-*.spool")):
                if path == self._path:
                    continue
                file = stack.enter_context(path.open("rb"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:  # it lives
                    continue
                taken.append((path, file))
                items.extend(item for line in file for item in self._items(line))
            yield items
            for path, _ in taken:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave nothing behind when everything has been written."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            if self._size == 0:
                self._path.unlink(missing_ok=True)
            os.close(descriptor)

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = open_locked(self._path)
        return self._descriptor

    def _items(self, line: bytes) -> Iterator[T]:
        with contextlib.suppress(msgspec.MsgspecError):  # a crash cut it off
            yield self._decoder.decode(line)
