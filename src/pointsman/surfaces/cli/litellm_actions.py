"""What the commands of `pointsman litellm` do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pointsman.core.errors import UpstreamConnectError
from pointsman.providers.litellm import environment, state
from pointsman.providers.litellm.config import offered
from pointsman.providers.litellm.supervisor import READY_SECONDS, RUNS_ALREADY, Supervisor, log_path
from pointsman.providers.llamacpp.engine_log import EngineLog

from .installing import shown_packages
from .output import note

if TYPE_CHECKING:
    from pointsman.settings import Settings

STOP_SECONDS = 20.0
BY = "pointsman litellm up"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the proxy stands."""

    version: str
    installed: bool
    environment: Path
    base_url: str | None = None
    pid: int | None = None
    offers: tuple[str, ...] = ()
    kept_by: str | None = None
    keeper: int | None = None
    log: Path


def standing(settings: Settings) -> Standing:
    found, keeper = state.running(settings.data_dir), state.keeper(settings.data_dir)
    return Standing(
        version=environment.version(),
        installed=environment.installed(settings.cache_dir) is not None,
        environment=environment.folder_of(settings.cache_dir),
        base_url=found.base_url if found else None,
        pid=found.pid if found else None,
        offers=found.offers if found else (),
        kept_by=keeper.by if keeper else None,
        keeper=keeper.pid if keeper else None,
        log=log_path(settings.data_dir),
    )


def last_lines(settings: Settings, count: int) -> list[str]:
    return EngineLog(log_path(settings.data_dir)).tail(count)


async def keep(settings: Settings) -> None:
    """Keep the proxy running until SIGINT or SIGTERM.

    Raises:
        PointsmanError: as `Supervisor.run`.
    """
    from pointsman import logs
    from pointsman.settings import child_environment, environment_value
    from pointsman.transport.pool import Pool

    logs.configure(settings.log.level, settings.log.format)
    pool = Pool()
    supervisor = Supervisor(
        cache_dir=settings.cache_dir,
        data_dir=settings.data_dir,
        environment=child_environment({}),
        lookup=environment_value,
        outbound=pool,
        by=BY,
        config=settings.litellm.config,
    )
    task = asyncio.create_task(supervisor.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        await pool.close()


async def start(settings: Settings, config: Path | None) -> state.Running:
    """Install what is missing, start a keeper behind this command, and wait until its proxy answers.

    Raises:
        SettingsError: there is nothing to offer.
        UpstreamConnectError: one runs already, it cannot be installed, or it does not start.
    """
    from pointsman.settings import child_environment, environment_value

    keeper = state.keeper(settings.data_dir)
    if keeper is not None:
        raise UpstreamConnectError(
            f"A LiteLLM is kept running here by {keeper.by} (process {keeper.pid}); `pointsman litellm status` says"
            " more.",
            code=RUNS_ALREADY,
        )
    offered(environment_value, settings.litellm.config)
    with shown_packages(f"LiteLLM {environment.version()}") as show:
        await environment.ensure(
            settings.cache_dir,
            child_environment({}),
            on_packages=show,
            waiting=lambda: note("Another process is installing it; waiting."),
        )
    process, own_log = _launched(settings, config)
    until = time.monotonic() + READY_SECONDS
    while (found := state.running(settings.data_dir)) is None:
        if process.poll() is not None:
            raise UpstreamConnectError(f"LiteLLM's keeper ended: {_end_of(own_log)}", code="litellm_not_started")
        if time.monotonic() > until:
            process.terminate()
            raise UpstreamConnectError(
                "LiteLLM does not answer; `pointsman litellm logs` has its last words.", code="litellm_not_started"
            )
        await asyncio.sleep(0.1)
    return found


def _launched(settings: Settings, config: Path | None) -> tuple[subprocess.Popen[bytes], Path]:
    """A keeper in a session of its own, so that it outlives this command and its terminal; and where its words go."""
    words = [sys.executable, "-P", "-m", "pointsman"]
    words += ["--config", str(config.resolve())] if config is not None else []
    words += ["litellm", "up", "--foreground"]
    words += ["--config", str(settings.litellm.config.resolve())] if settings.litellm.config is not None else []
    own_log = state.folder_of(settings.data_dir) / "keeper.log"
    own_log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(own_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    return process, own_log


def _end_of(own_log: Path) -> str:
    told = own_log.read_text(errors="replace").strip().splitlines()
    return told[-1].removeprefix("error: ") if told else "without a word"


async def stop(settings: Settings) -> bool:
    """Stop what `start` started; False when nothing runs.

    Raises:
        UpstreamConnectError: something else keeps it, or it does not stop.
    """
    keeper = state.keeper(settings.data_dir)
    if keeper is None:
        return False
    if keeper.by != BY:
        raise UpstreamConnectError(
            f"This LiteLLM is kept by {keeper.by} (process {keeper.pid}) and ends with it.", code="litellm_kept"
        )
    with contextlib.suppress(ProcessLookupError):
        os.kill(keeper.pid, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    while state.keeper(settings.data_dir) is not None:
        if time.monotonic() > until:
            raise UpstreamConnectError(f"Process {keeper.pid} does not stop.", code="litellm_kept")
        await asyncio.sleep(0.05)
    return True
