"""Files that one process alone writes, and whose names outlast a power cut."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def open_locked(path: Path, *, new: bool = False) -> int:
    """A descriptor to read and write, of a file that its owner alone may read; the folder is made when missing.

    Args:
        new: the file must not be there yet.

    Raises:
        OSError: it cannot be made; BlockingIOError: another process holds it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_EXCL if new else 0), 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # the name must last too
        finally:
            os.close(folder)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
