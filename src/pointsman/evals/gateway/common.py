"""What every measurement of the gateway shares, without anything that must be installed for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from pointsman.core.errors import PointsmanError


class BenchError(PointsmanError):
    """The benchmark cannot run here."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(config: Path, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A gateway in a process of its own, with nothing of this one's environment; it ends with the context."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(config.parent)}
    with subprocess.Popen(
        [sys.executable, "-m", "pointsman", "--config", str(config), "serve"],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


async def gateways(
    stack: contextlib.ExitStack,
    folder: Path,
    processes: int,
    *,
    cap: int,
    state: str | None,
    settings: Mapping[str, object],
) -> list[int]:
    """Gateways that share a data folder and a monthly budget; returns their ports.

    Args:
        cap: micro-dollars a month.
        state: where several of them count together.
        settings: the others.
    """
    ports = [free_port() for _ in range(processes)]
    prefix = f"bench-{uuid.uuid4().hex[:8]}"
    for number, port in enumerate(ports):
        tree = {
            "data_dir": str(folder / "data"),
            "cache_dir": str(folder / "cache"),
            "server": {"host": "127.0.0.1", "port": port},
            "embedded": {"enabled": False},
            "log": {"level": "warning"},
            "budgets": {"monthly": cap / 1_000_000},
            **settings,
        }
        if state is not None:
            tree["state"] = {"url": state, "prefix": prefix, "timeout": 20.0}
        config = folder / f"gateway-{number}.yaml"
        config.write_text(json.dumps(tree))
        path = folder / f"gateway-{number}.log"
        log = stack.enter_context(path.open("wb"))
        await listening(port, stack.enter_context(serving(config, log)), path)
    return ports


async def listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the gateway takes connections.

    Raises:
        BenchError: it does not; with the end of its log.
    """
    until = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        if process.poll() is not None or time.monotonic() > until:
            raise BenchError(f"The gateway on port {port} did not start: {_end(log)}")
        await asyncio.sleep(0.05)


def _end(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]
