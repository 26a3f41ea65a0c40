"""Room on a disk that runs short: how much is left, and giving back the beginning of a file that was read."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

KEPT_FREE = 4 * 1024 * 1024
"""Bytes that files which only wait for the database leave free, so that it can take them: a batch of them goes through
its WAL into its file before their own room is given back."""

_PUNCH_HOLE, _KEEP_SIZE = 0x02, 0x01


def left(folder: Path) -> int:
    """Bytes that may still be written on the disk of a folder, be it there or not, by whoever is no superuser.

    Raises:
        OSError: it is not known.
    """
    status = os.statvfs(next((there for there in (folder, *folder.parents) if there.exists()), folder))
    return status.f_bavail * status.f_frsize


def give_back(descriptor: int, size: int) -> None:
    """Give the room of a file's first `size` bytes back to its disk, where it can be; they read as zeros then."""
    if not sys.platform.startswith("linux") or sys.maxsize < 2**32:
        return
    import ctypes

    with contextlib.suppress(AttributeError, OSError):
        fallocate = ctypes.CDLL(None).fallocate
        fallocate(descriptor, _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size))


def beginning(descriptor: int) -> int:
    """Where the first byte may be that was not given back, rounded down to a block."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except (AttributeError, OSError):  # this system does not know, or nothing is left
        return 0
