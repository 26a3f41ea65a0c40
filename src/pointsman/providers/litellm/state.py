"""Where the LiteLLM that runs beside the gateway is found: a small file that its keeper writes, and a lock it holds."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy that answers."""

    base_url: str
    """On loopback, with `/v1`."""
    key: str
    pid: int
    """The proxy's own."""
    started: float
    """Seconds since the epoch."""
    offers: tuple[str, ...] = ()


class Keeper(msgspec.Struct, frozen=True, kw_only=True):
    """A process that keeps a proxy running."""

    pid: int
    by: str
    """What it is, for people."""


def folder_of(data_dir: Path) -> Path:
    return data_dir / "litellm"


@contextmanager
def keeping(data_dir: Path, by: str) -> Iterator[bool]:
    """Hold the place of the one that keeps a proxy; False where another process holds it. The kernel frees a dead
    holder's.

    Args:
        by: who that is, for people.
    """
    folder = folder_of(data_dir)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _took(descriptor):
            yield False
            return
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, msgspec.json.encode(Keeper(pid=os.getpid(), by=by)))
            yield True
        finally:
            forget(data_dir)
    finally:
        os.close(descriptor)


def _took(descriptor: int) -> bool:
    for _ in range(5):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:  # perhaps only by somebody who looks whether it is held
            time.sleep(0.02)
    return False


def keeper(data_dir: Path) -> Keeper | None:
    """Who keeps a proxy, or is about to start one; None: nobody."""
    try:
        descriptor = os.open(folder_of(data_dir) / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(msgspec.MsgspecError):
            return msgspec.json.decode(os.read(descriptor, 4096), type=Keeper)
        return Keeper(pid=0, by="a process that is about to say who it is")
    finally:
        os.close(descriptor)
    return None


def running(data_dir: Path) -> Running | None:
    """The proxy that was told of last, while its keeper lives."""
    try:
        state = msgspec.json.decode((folder_of(data_dir) / "state.json").read_bytes(), type=Running)
    except (OSError, msgspec.MsgspecError):
        return None
    return state if keeper(data_dir) is not None else None


def tell(data_dir: Path, state: Running) -> None:
    write_private(folder_of(data_dir) / "state.json", msgspec.json.encode(state))


def forget(data_dir: Path) -> None:
    with suppress(OSError):
        (folder_of(data_dir) / "state.json").unlink()


def write_private(path: Path, content: bytes) -> None:
    """Write a file for its owner alone, whole or not at all."""
    part = path.with_name(path.name + ".part")
    with suppress(FileNotFoundError):
        part.unlink()
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    part.replace(path)
