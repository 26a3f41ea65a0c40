"""Keeps LiteLLM's proxy running: on loopback, under a key of the moment, for as long as the keeper lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from pointsman.core.errors import PointsmanError, SettingsError, UpstreamConnectError, UpstreamError
from pointsman.masking import masked
from pointsman.providers import llamacpp
from pointsman.providers.endpoint import Endpoint
from pointsman.providers.llamacpp.engine_log import EngineLog
from pointsman.providers.llamacpp.process import describe_exit
from pointsman.transport.http import Outbound

from . import state
from .config import Lookup, offered
from .environment import OnPackages, ensure, installed

READY_SECONDS = 180.0
"""For a start: some 5 s, on a busy machine and with nothing compiled yet many more."""
TERMINATE_SECONDS = 5.0
LONGEST_PAUSE = 60.0
RUNS_ALREADY = "litellm_runs_already"
_LIFELINE = Path(llamacpp.__file__).with_name("lifeline.py")  # LiteLLM's own interpreter runs it: it cannot import us
_LINE = 500
"""Characters of a line that are kept: a complaint may quote a prompt."""

log = logging.getLogger(__name__)


class Supervisor:
    """One proxy, started again when it ends.

    Args:
        environment: of pip and the proxy, without credentials.
        lookup: reads the variables that the configuration needs; these alone reach the proxy.
        by: who keeps it, for people.
        config: a LiteLLM configuration of the owner in place of the shipped one.
        changed: awaited whenever the proxy is there, or is there no more.
    """

    def __init__(
        self,
        *,
        cache_dir: Path,
        data_dir: Path,
        environment: Mapping[str, str],
        lookup: Lookup,
        outbound: Outbound,
        by: str,
        config: Path | None = None,
        on_packages: OnPackages = lambda done, total: None,
        changed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._cache_dir = cache_dir
        self._data_dir = data_dir
        self._environment = environment
        self._lookup = lookup
        self._outbound = outbound
        self._by = by
        self._config = config
        self._on_packages = on_packages
        self._changed = changed
        self._log = EngineLog(log_path(data_dir))

    async def run(self) -> None:
        """Install what is missing, start the proxy, and start it again when it ends; until cancelled.

        Raises:
            SettingsError: there is nothing to offer.
            UpstreamConnectError: another process keeps a proxy, or the environment cannot be made.
        """
        with state.keeping(self._data_dir, self._by) as ours:
            if not ours:
                raise UpstreamConnectError(
                    "Another process keeps a LiteLLM running here; `pointsman litellm status` names it.",
                    code=RUNS_ALREADY,
                )
            offer = offered(self._lookup, self._config)
            if installed(self._cache_dir) is None:
                log.info("LiteLLM is being installed in an environment of its own; it takes about a minute, once")
            python = await ensure(self._cache_dir, self._environment, on_packages=self._on_packages)
            path = state.folder_of(self._data_dir) / "config.yaml"
            state.write_private(path, offer.text.encode())
            pause = 1.0
            while True:
                begun = time.monotonic()
                try:
                    status = await self._once(python, path, offer.variables, offer.names)
                    why = f"it {describe_exit(status)}; `pointsman litellm logs` has its last words"
                except (PointsmanError, OSError) as error:
                    why = str(error)
                if time.monotonic() - begun > LONGEST_PAUSE:
                    pause = 1.0
                log.warning("LiteLLM is gone: %s. It is started again in %g s", why, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def keep(self) -> None:
        """`run` for a gateway that lives without it: what is wrong is told, and tried again, save settings."""
        while True:
            try:
                await self.run()
            except SettingsError as error:
                log.error("LiteLLM is not started: %s", error.message)
                return
            except PointsmanError as error:
                level = logging.INFO if error.code == RUNS_ALREADY else logging.ERROR
                log.log(level, "LiteLLM is not started: %s", error.message)
            await asyncio.sleep(LONGEST_PAUSE)

    async def _once(self, python: Path, config: Path, variables: Mapping[str, str], names: tuple[str, ...]) -> int:
        """Start the proxy, tell of it, and wait for its end; returns the exit status."""
        key, port = f"sk-{secrets.token_urlsafe(32)}", _free_port()
        # A session of its own: a terminal's Ctrl-C reaches its keeper alone. The open pipe is its lifeline.
        process = await asyncio.create_subprocess_exec(
            str(python), "-P", str(_LIFELINE), str(os.getpid()), "litellm.proxy.proxy_cli",
            "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            start_new_session=True, cwd=config.parent, limit=1 << 20,
            env={**self._environment, **variables, **SETTLED, "LITELLM_MASTER_KEY": key},
        )  # fmt: skip
        pump = asyncio.create_task(self._keep_log(process))
        ended = asyncio.create_task(process.wait())
        try:
            await self._answering(port, ended)
            if not ended.done():
                state.tell(
                    self._data_dir,
                    state.Running(
                        base_url=f"http://127.0.0.1:{port}/v1",
                        key=key,
                        pid=process.pid,
                        started=time.time(),
                        offers=names,
                    ),
                )
                log.info("LiteLLM answers on 127.0.0.1:%d and offers %s", port, ", ".join(names))
                await self._tell()
            return await asyncio.shield(ended)
        finally:
            state.forget(self._data_dir)
            await _end(process, ended)
            await pump
            await self._tell()

    async def _answering(self, port: int, ended: asyncio.Task[int]) -> None:
        """Wait until the proxy answers, or has ended.

        Raises:
            UpstreamConnectError: it does neither.
        """
        endpoint = Endpoint("litellm", base_url=f"http://127.0.0.1:{port}", outbound=self._outbound, headers={})
        until = time.monotonic() + READY_SECONDS
        while not ended.done():
            with contextlib.suppress(UpstreamError):
                await endpoint.ask("/health/liveliness", local=True)
                return
            if time.monotonic() > until:
                raise UpstreamConnectError(f"it did not answer within {READY_SECONDS:g} s of its start")
            await asyncio.wait({ended}, timeout=0.25)

    async def _tell(self) -> None:
        if self._changed is not None:
            await self._changed()

    async def _keep_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # longer than the limit: dropped
                continue
            if not line:
                return
            text = masked(line.decode("utf-8", "replace").rstrip()[:_LINE])
            self._log.write(text.encode() + b"\n")


SETTLED = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches its table of prices from the network when it starts
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",  # else it reads a .env of the folder it stands in
    "DISABLE_ADMIN_UI": "True",
    "NO_DOCS": "True",
    "NO_REDOC": "True",
    "NO_OPENAPI": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "HF_HUB_OFFLINE": "1",  # tokenizers that it has not got: it counts with those that it has
    "PYTHONUNBUFFERED": "1",
}
"""Nothing that it fetches, shows or writes of its own accord."""


def log_path(data_dir: Path) -> Path:
    return state.folder_of(data_dir) / "litellm.log"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _end(process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    """End the proxy and wait until it is gone."""
    assert process.stdin is not None
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(asyncio.shield(ended), TERMINATE_SECONDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(ended)
    process.stdin.close()
    with contextlib.suppress(ConnectionError):
        await process.stdin.wait_closed()
