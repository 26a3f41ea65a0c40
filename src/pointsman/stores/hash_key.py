"""The installation's random key for keyed hashes: equal prompts can be recognised, none can be read back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pointsman.core.errors import StoreError

NAME = "hash.key"
SIZE = 32


def load_hash_key(data_dir: Path) -> bytes:
    """The key of this data folder, 32 bytes; made at the first call, readable by its owner alone.

    Several processes may call this at once: all get the same key, and none sees half of one.

    Raises:
        StoreError: it can be neither read nor made, or it is not a key.
    """
    path = data_dir / NAME
    try:
        key = _read(path) or _create(path)
    except OSError as error:
        raise StoreError(
            f"The key file {path} cannot be used: {error.strerror or error}. Make it readable and its folder writable,"
            " or set another data_dir."
        ) from error
    if len(key) != SIZE:
        raise StoreError(
            f"The key file {path} holds {len(key)} bytes instead of {SIZE}. Delete it: a new one is made, and prompts"
            " logged before are no longer recognised as equal to new ones."
        )
    return key


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _create(path: Path) -> bytes:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    whole = path.with_name(f".{NAME}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(SIZE))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first, and its key is the key
            os.link(whole, path)
    finally:
        whole.unlink(missing_ok=True)
    return path.read_bytes()
