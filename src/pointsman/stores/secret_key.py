"""The installation's secret: one random key from which every other is derived.

Keyed hashes of prompts and API keys, signatures of sessions and the encryption of stored credentials all hang on it.
Replicas that share a database must share it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pointsman.core.errors import StoreError

NAME = "secret.key"
PREVIOUS = "secret.key.previous"
"""Where a rotation keeps the key from before."""
LOCK = "secret.key.lock"
SIZE = 32


class SecretKey:
    """Derives a key for each purpose, so that none tells anything of another."""

    __slots__ = ("_extracted",)

    def __init__(self, secret: bytes) -> None:
        # HKDF (RFC 5869) with SHA-256: extract here, expand below.
        self._extracted = hmac.digest(b"pointsman", secret, "sha256")

    def derive(self, purpose: str, size: int = SIZE) -> bytes:
        """`size` bytes, at most 8,160, the same for the same secret and purpose."""
        block, out, count = b"", b"", 0
        while len(out) < size:
            count += 1
            block = hmac.digest(self._extracted, block + purpose.encode() + bytes([count]), "sha256")
            out += block
        return out[:size]

    @property
    def fingerprint(self) -> str:
        """Tells whether two secrets are equal, and nothing else of them."""
        return hashlib.sha256(self.derive("fingerprint")).hexdigest()[:16]

    def __repr__(self) -> str:
        return "SecretKey(…)"


def load_secret_key(data_dir: Path, configured: str | None = None) -> SecretKey:
    """The configured secret, or the one of this data folder; made at the first call, readable by its owner alone.

    Several processes may call this at once: all get the same key, and none sees half of one.

    Raises:
        StoreError: the file can be neither read nor made, others may read it, or it is not a key.
    """
    if configured is not None:
        return SecretKey(configured.encode())
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
            f"The key file {path} holds {len(key)} bytes instead of {SIZE}. Put the right one back. Without it, delete"
            " the file: a new one is made, and API keys, sessions and stored credentials made before no longer work."
        )
    return SecretKey(key)


def load_previous_secret_key(data_dir: Path, configured: str | None = None) -> SecretKey | None:
    """The secret from before the last rotation: the configured one, or the one that lies beside the key file.

    Raises:
        StoreError: the file cannot be read, others may read it, or it is not a key.
    """
    if configured is not None:
        return SecretKey(configured.encode())
    path = data_dir / PREVIOUS
    try:
        key = _read(path)
    except OSError as error:
        raise StoreError(f"The key file {path} cannot be read: {error.strerror or error}.") from error
    if key is None:
        return None
    if len(key) != SIZE:
        raise StoreError(f"The key file {path} holds {len(key)} bytes instead of {SIZE}. Put the right one back.")
    return SecretKey(key)


@contextlib.contextmanager
def rotation_lock(data_dir: Path) -> Iterator[None]:
    """One rotation at a time: two at once could each forget the key that the other still needs.

    Raises:
        StoreError: another one is under way.
        OSError: the folder cannot be written.
    """
    import fcntl

    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError("Another rotation is under way; wait for its end.", code="rotation_under_way") from None
        yield
    finally:
        os.close(descriptor)


def renew_key_file(data_dir: Path) -> SecretKey:
    """Put a new random key in the file's place; the old one is kept beside it, and the one before that forgotten.

    At every moment the file holds the old key or the new one, whole, and no key that was in use is lost.

    Raises:
        StoreError, OSError: nothing was changed, or only the copy was made.
    """
    path, previous = data_dir / NAME, data_dir / PREVIOUS
    load_secret_key(data_dir)  # it is there, and it is a key
    copy = _written(path, path.read_bytes())
    os.replace(copy, previous)
    new = os.urandom(SIZE)
    os.replace(_written(path, new), path)
    folder = os.open(data_dir, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return SecretKey(new)


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise StoreError(f"Others may read the key file {path}, so it is not secret: chmod 600 {path}")
            return file.read(SIZE + 1)
    except FileNotFoundError:
        return None


def _create(path: Path) -> bytes:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    whole = _written(path, os.urandom(SIZE))
    try:
        with contextlib.suppress(FileExistsError):  # another process was first, and its key is the key
            os.link(whole, path)
    finally:
        whole.unlink(missing_ok=True)
    return path.read_bytes()


def _written(path: Path, key: bytes) -> Path:
    """A file beside `path` that holds the key, on the disk and readable by its owner alone."""
    whole = path.with_name(f".{NAME}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        whole.unlink(missing_ok=True)
        raise
    return whole
