"""One child process that serves one model: started, heard and ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pointsman.core.errors import EngineError
from pointsman.transport.http import Origin

from .context import default_threads
from .engine_log import EngineLog

CHILD = "pointsman.providers.llamacpp.child"
_TERMINATE_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """What one engine serves, and with how much of the machine."""

    name: str
    path: Path
    """The GGUF file."""
    context_per_slot: int
    """Tokens of prompt and answer together that one request may have; see `context_for`."""
    slots: int = 2
    """Answers at the same time."""
    threads: int = field(default_factory=default_threads)
    cache_ram_mib: int = 256
    """Memory for the prompts of earlier requests."""

    def __post_init__(self) -> None:
        for field_name in ("context_per_slot", "slots", "threads"):
            if getattr(self, field_name) < 1:
                raise ValueError(f"EngineSpec.{field_name} must be at least 1")
        if self.cache_ram_mib < 0:
            raise ValueError("EngineSpec.cache_ram_mib must be at least 0; below it the engine's cache has no bound")


@dataclass(slots=True)
class EngineProcess:
    """A child. `launch` makes one; `loaded` waits for its model."""

    spec: EngineSpec
    api_key: str
    _process: asyncio.subprocess.Process
    _report: asyncio.Task[bytes]
    _log: EngineLog
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=200))
    _pump: asyncio.Task[None] | None = None
    engine: str = ""
    """What serves the model, with its version, once it is loaded."""

    @classmethod
    async def launch(cls, spec: EngineSpec, *, environment: Mapping[str, str], log: EngineLog) -> EngineProcess:
        """Start a child. Raises OSError when the system cannot."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                # A session of its own: a terminal's Ctrl-C and hang-up reach the gateway alone.
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-m", CHILD, str(os.getpid()), str(theirs.fileno()),
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
                    pass_fds=(theirs.fileno(),), start_new_session=True,
                    env={**environment, "OMP_WAIT_POLICY": "passive"},
                )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        api_key = secrets.token_urlsafe(32)
        child = cls(spec, api_key, process, asyncio.create_task(_read_line(ours)), log)
        child._pump = asyncio.create_task(child._keep_log())
        parameters = {
            "name": spec.name,
            "path": str(spec.path),
            "context": spec.context_per_slot * spec.slots,
            "slots": spec.slots,
            "threads": spec.threads,
            "cache_ram_mib": spec.cache_ram_mib,
            "api_key": api_key,
        }
        assert process.stdin is not None
        # Small enough for the pipe, so that nothing is awaited between the launch and the return.
        process.stdin.write(json.dumps(parameters).encode() + b"\n")
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    async def loaded(self) -> Origin | None:
        """Where the model is served, once it is loaded; None when the child died without a word.

        Raises:
            EngineError: the engine or the model cannot be used; another start would not help.
        """
        line = await asyncio.shield(self._report)
        if not line:
            return None
        report = json.loads(line)
        if "address" in report:
            self.engine = report["engine"]
            address = urlsplit(report["address"])
            return Origin(scheme="http", host=address.hostname or "127.0.0.1", port=address.port or 0)
        await self.ended()
        message = report["message"]
        if report["code"] == "engine_load_failed":
            message = f"The engine cannot load {self.spec.path}: {self.complaint() or message}"
        raise EngineError(message, code=report["code"])

    async def ended(self) -> int:
        """Wait for the end; the exit status, negative for a signal."""
        status = await self._process.wait()
        if self._pump is not None:
            await asyncio.shield(self._pump)
        return status

    async def end(self) -> None:
        """End the child and wait until it is gone. Answers that are under way break off."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _TERMINATE_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        finally:
            await self._clean_up()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _clean_up(self) -> None:
        await self.ended()
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(ConnectionError):
            await self._process.stdin.wait_closed()
        await self._report

    def complaint(self) -> str | None:
        """The line of this child's log that says best what went wrong."""
        errors = [line.partition(" E ")[2] for line in self._lines if " E " in line]
        for line in errors:
            _, found, reason = line.partition("error loading model: ")
            if found:
                return reason
        return errors[-1].split(": ", 1)[-1].strip() if errors else None

    async def _keep_log(self) -> None:
        assert self._process.stdout is not None
        rest = b""
        while block := await self._process.stdout.read(65536):
            self._log.write(block)
            *lines, rest = (rest + block).split(b"\n")
            self._lines.extend(line.decode("utf-8", "replace") for line in lines)
            rest = rest[-4096:]


async def _read_line(connection: socket.socket) -> bytes:
    """One line, or what comes before the other end is closed."""
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def describe_exit(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    hints = {"SIGKILL": " (perhaps by the system, short of memory)", "SIGILL": " (its processor lacks an instruction)"}
    return f"was ended by {name}{hints.get(name, '')}"
