"""pip as a command: our own, in a process that dies with this one, with the user's index, proxy and certificates."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from pointsman.core.errors import UpstreamConnectError

LIFELINE = "pointsman.providers.llamacpp.lifeline"


async def pip(
    arguments: Sequence[str], environment: Mapping[str, str], follow: Callable[[bytes], None] = lambda line: None
) -> None:
    """Run pip to its end. Cancelling kills it.

    Args:
        follow: told each line of its output.

    Raises:
        UpstreamConnectError: it failed, with its own reason.
    """
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    await command(
        [sys.executable, "-P", "-m", LIFELINE, str(os.getpid()), "pip", *arguments, *quiet], environment, follow
    )


async def command(
    words: Sequence[str], environment: Mapping[str, str], follow: Callable[[bytes], None] = lambda line: None
) -> None:
    """Run a command to its end; as `pip`."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        start_new_session=True, env=environment, limit=1 << 20,
    )  # fmt: skip
    assert process.stdout is not None
    lines: deque[bytes] = deque(maxlen=40)
    try:
        async for line in process.stdout:
            lines.append(line.strip())
            follow(line)
        status = await process.wait()
    finally:
        await end(process)
    if status != 0:
        told = [line.decode("utf-8", "replace") for line in lines if line]
        errors = [line.removeprefix("ERROR: ") for line in told if line.startswith("ERROR: ")]
        reason = (errors or told or [f"{words[0]} ended with status {status}"])[-1]
        raise UpstreamConnectError(f"pip failed: {reason.rstrip('.')}.", code="pip_failed")


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill a command and what it started, where it has not ended by itself, and close its standard input."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.shield(process.wait())
    if process.stdin is not None:
        process.stdin.close()
        with contextlib.suppress(ConnectionError):
            await process.stdin.wait_closed()
