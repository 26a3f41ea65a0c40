"""A gateway for the length of one command: started as a child process when none answers, stopped at the end.

Child and parent share a socket pair. The child writes JSON lines on it (`progress`, then `ready`); when the parent
dies, however it dies, the child reads the end of it and stops. The child runs in a session of its own, so that Ctrl-C
at the terminal reaches the command alone.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

import msgspec

from pointsman.core.errors import PointsmanError

from .client import GatewayClient, connect
from .invocation import Invocation
from .output import note
from .progress import StartupProgress, shown_progress

STOP_SECONDS = 15.0


class Told(msgspec.Struct, omit_defaults=True):
    """One line from the child."""

    ready: str | None = None
    """The gateway's address."""
    progress: tuple[str, int, int] | None = None


@asynccontextmanager
async def gateway(invocation: Invocation, *, start: bool = True) -> AsyncIterator[GatewayClient]:
    """A client of the gateway that runs, or else of one that runs for as long as the block does.

    Raises:
        UpstreamConnectError: none answers, and none is to be started (`--url` or `--no-start` was given).
        PointsmanError: one was started and did not become ready.
    """
    settings = invocation.settings()
    key = invocation.key(settings)
    trusted = invocation.trusted(settings)
    async with connect(invocation.gateway_url(settings), key, trusted) as client:
        if not start or invocation.url is not None or await client.alive():
            yield client
            return
    note("No gateway answers; starting one for this command (`pointsman serve` keeps one running).")
    async with started(invocation) as url, connect(url, key) as client:
        yield client


@asynccontextmanager
async def started(invocation: Invocation) -> AsyncIterator[str]:
    """The address of a gateway that runs for as long as the block does."""
    ours, theirs = socket.socketpair()
    config = ["--config", str(invocation.config)] if invocation.config is not None else []
    where = ["--host", "127.0.0.1", "--port", "0", "--ready-fd", str(theirs.fileno())]
    with ours, tempfile.TemporaryFile() as log:
        with theirs:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "pointsman", *config, "serve", *where,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=(theirs.fileno(),), start_new_session=True,
            )  # fmt: skip
        try:
            with shown_progress() as progress:
                url = await _ready(ours, progress)
            if url is None:
                await child.wait()
                raise PointsmanError(
                    f"The gateway did not start. {_last_line(log)} `pointsman doctor` says more.",
                    code="gateway_not_started",
                )
            yield url
        except PointsmanError as error:
            if error.code == "internal_error":  # nobody else sees this gateway's log
                note(f"The gateway's log ends: {_last_line(log)}")
            raise
        finally:
            await _stop(child)


async def _ready(channel: socket.socket, progress: StartupProgress) -> str | None:
    """The child's address, or None when it ended before it had one."""
    reader, writer = await asyncio.open_connection(sock=channel.dup())
    try:
        while line := await reader.readline():
            told = msgspec.json.decode(line, type=Told)
            if told.progress is not None:
                progress(*told.progress)
            if told.ready is not None:
                return told.ready
        return None
    finally:
        writer.close()


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
    child.terminate()
    try:
        await asyncio.wait_for(child.wait(), STOP_SECONDS)
    except TimeoutError:
        child.kill()
        await child.wait()


def _last_line(log: IO[bytes]) -> str:
    """What the child said last, which is its error."""
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else "It said nothing."
