"""Opens a SQLite file for one thread: private to its owner, in WAL mode, at the newest schema.

Knows what each failure means and how to mend it, and moves a corrupt file aside.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .migrate import prepare

log = logging.getLogger(__name__)

BUSY_TIMEOUT_MS = 5000

CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

MENDS: dict[int, str] = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_READONLY: "the file or its folder is read-only; make it writable, or set another data_dir",
    sqlite3.SQLITE_PERM: "the file may not be opened; make it readable and writable, or set another data_dir",
    sqlite3.SQLITE_AUTH: "the file may not be opened; make it readable and writable, or set another data_dir",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; check that the folder exists and is writable",
    sqlite3.SQLITE_BUSY: "another process holds the file; close whatever has it open",
    sqlite3.SQLITE_LOCKED: "another process holds the file; close whatever has it open",
    sqlite3.SQLITE_IOERR: "the disk reports an error; check it, and that it is not full",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is not a database",
}
"""What to do, by SQLite's primary result code."""


def result_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 when the error did not come from the library."""
    code: int = getattr(error, "sqlite_errorcode", None) or 0
    return code & 0xFF


def explain(error: Exception, path: Path) -> str:
    """What went wrong with the file, and the mend, in one line."""
    if isinstance(error, sqlite3.Error):
        mend = MENDS.get(result_code(error))
        return f"{path}: {error}" + (f" ({mend})" if mend else "")
    if isinstance(error, OSError):
        mends = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some space"}
        mend = mends.get(error.errno or 0, "make the folder writable, or set another data_dir")
        return f"{path}: {error.strerror or error} ({mend})"
    return f"{path}: {error}"


# Whatever is no number, text or buffer of bytes the driver tries to adapt. Of None, which every row has, it finds out
# that it cannot be by an error that it makes and forgets; this is a fifth of that.
sqlite3.register_adapter(type(None), lambda nothing: nothing)


class SqliteFile:
    """A database file and this thread's connection to it. Not for several threads."""

    def __init__(self, path: Path, *, max_bytes: int | None = None, patience_ms: int | None = None) -> None:
        """
        Args:
            patience_ms: how long a statement waits while another process holds the file; None: `BUSY_TIMEOUT_MS`, as
                opening it does.
        """
        self.path = path
        self._patience_ms = patience_ms
        self._max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None

    def connect(self) -> sqlite3.Connection:
        """The open connection; opens the file when there is none, or when the file has been moved or deleted.

        Raises:
            StoreError: the schema is older or newer than this version knows.
            sqlite3.Error, OSError: it cannot be opened.
        """
        if self._connection is not None and self._inode != _inode(self.path):
            log.warning("The database %s was moved or deleted while in use; opening it anew.", self.path)
            self.close()
        if self._connection is None:
            self._open()
        assert self._connection is not None
        return self._connection

    def _open(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_private(self.path)
        self._inode = _inode(self.path)
        # SQLite gives its -wal and -shm files the mode of the file itself.
        connection = sqlite3.connect(self.path, isolation_level=None, cached_statements=32)
        try:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            use_wal(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            if self._max_bytes is not None:
                page_size = connection.execute("PRAGMA page_size").fetchone()[0]
                connection.execute(f"PRAGMA max_page_count = {max(1, self._max_bytes // page_size)}")
            prepare(connection, f"The database {self.path}")
            if self._patience_ms is not None:
                connection.execute(f"PRAGMA busy_timeout = {min(self._patience_ms, BUSY_TIMEOUT_MS)}")
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def move_aside(self) -> Path | None:
        """Rename a corrupt file, with its WAL, so that `connect` makes a new one; the old one is never deleted.

        Returns where it lies now, or None when it was not there any more: another process has already done this.
        """
        ours = self._inode
        mine = ours is None or ours == _inode(self.path)  # asked while our handle still keeps the inode from reuse
        self.close()
        if not mine:
            return None
        aside = _free_name(
            self.path.with_name(f"{self.path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        )
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return None
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{self.path}{suffix}", f"{aside}{suffix}")
        return aside

    def close(self) -> None:
        connection, self._connection, self._inode = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


_making = threading.Lock()


def make_private(path: Path) -> None:
    """Make the file when it is not there, and see that its owner alone may use it.

    A file that is there is not opened for that: closing it would drop every lock that this process holds on it (so
    POSIX wants it), and another process that ends would then take itself for the last one and delete the WAL.
    """
    with _making:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            if os.stat(path).st_mode & 0o077:
                with contextlib.suppress(PermissionError):  # a file of another owner that we may write to
                    os.chmod(path, 0o600)
    if not os.access(path.parent, os.W_OK):  # SQLite would only say that it cannot open the file
        read_only = os.statvfs(path.parent).f_flag & os.ST_RDONLY
        raise OSError(number := errno.EROFS if read_only else errno.EACCES, os.strerror(number))


def use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode. Of several processes that do it at the same moment SQLite turns some away at once, whatever
    the busy timeout says; these try again.
    """
    until = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if result_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def named(values: Sequence[Any]) -> dict[str, Any]:
    """SQLite takes `$1` for a parameter named `1`."""
    return {str(place): value for place, value in enumerate(values, 1)}


def _free_name(path: Path) -> Path:
    candidate, count = path, 1
    while candidate.exists():
        count += 1
        candidate = path.with_name(f"{path.name}.{count}")
    return candidate


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
