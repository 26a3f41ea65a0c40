"""The child's end of the channel to the command that started it (see `launch.py`)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Self

import msgspec

if TYPE_CHECKING:
    from .welcome import RunningGateway

BETWEEN = 0.1
"""Seconds between two reports of progress."""


class Parent:
    """Tells the parent of progress and of being ready; stops this process when the parent has gone."""

    def __init__(self, fd: int) -> None:
        self._channel = socket.socket(fileno=fd)
        self._channel.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._telling: set[asyncio.Task[None]] = set()
        self._next = 0.0

    def __enter__(self) -> Self:
        self._loop.add_reader(self._channel, self._on_readable)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.remove_reader(self._channel)
        for telling in self._telling:
            telling.cancel()
        self._channel.close()

    async def ready(self, gateway: RunningGateway) -> None:
        await self._tell({"ready": gateway.url})

    def progress(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next and done < total:
            return
        self._next = now + BETWEEN
        telling = self._loop.create_task(self._tell({"progress": (name, done, total)}))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _tell(self, fields: object) -> None:
        async with self._lock:
            try:
                await self._loop.sock_sendall(self._channel, msgspec.json.encode(fields) + b"\n")
            except OSError:
                self._stop()

    def _on_readable(self) -> None:
        # The parent never writes: what can be read is the end.
        self._loop.remove_reader(self._channel)
        self._stop()

    def _stop(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
