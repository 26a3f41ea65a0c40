"""Where the ledger's rows go while the database is away: lines of JSON in a file of our own, synced to the disk.

Each process has its file and holds a lock on it while it lives. At the start the files of processes that died are
taken over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Generic, TypeVar

import msgspec

T = TypeVar("T")


class LedgerSpool(Generic[T]):
    """Not for several threads at once. All raise OSError when the disk fails."""

    def __init__(self, folder: Path, decoder: msgspec.json.Decoder[T], name: str) -> None:
        self._path = folder / f"ledger-{name}.spool"
        self._folder = folder
        self._decoder = decoder
        self._encoder = msgspec.json.Encoder()
        self._file: IO[bytes] | None = None

    def append(self, items: list[T]) -> None:
        """Write the items; when this returns they survive a power failure."""
        file = self._open()
        file.write(b"".join(self._encoder.encode(item) + b"\n" for item in items))
        file.flush()
        os.fsync(file.fileno())

    def read(self) -> list[T]:
        """What was appended, in order; a line that a crash cut off is left out."""
        return list(self._read(self._path))

    def clear(self) -> None:
        if self._file is not None:
            self._file.truncate(0)
            os.fsync(self._file.fileno())

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
                items.extend(self._read(path))
            yield items
            for path, _ in taken:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave nothing behind when everything has been written."""
        file, self._file = self._file, None
        if file is not None:
            if self._path.stat().st_size == 0:
                self._path.unlink(missing_ok=True)
            file.close()

    def _open(self) -> IO[bytes]:
        if self._file is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            file = os.fdopen(descriptor, "ab")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = file
        return self._file

    def _read(self, path: Path) -> Iterator[T]:
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        for line in lines:
            with contextlib.suppress(msgspec.MsgspecError):
                yield self._decoder.decode(line)
