"""A gateway as a process: it runs until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable

from pointsman import logs
from pointsman.settings import Settings, Source

from .gateway import Gateway
from .providers import OnProgress

log = logging.getLogger(__name__)

FORCED = 130
"""The exit code of a process that was told three times; a shell's word for one that was interrupted."""

OnReady = Callable[[Gateway], Awaitable[None]]


async def run(
    settings: Settings,
    *,
    source: Source | None = None,
    on_ready: OnReady | None = None,
    on_progress: OnProgress | None = None,
) -> None:
    """Run the gateway until SIGINT or SIGTERM; a second one ends it without waiting for running answers, a third one
    without waiting for anything. SIGHUP has the certificate and the settings of providers read anew; where it comes
    because the terminal was closed, the gateway stops.

    Args:
        source: where the settings came from; providers follow it. None: they stay as they are.
        on_ready: awaited once the gateway listens and its embedded models are loaded, or known not to load.

    Raises:
        SettingsError, StoreError: it cannot run as it is set up.
        OSError: it cannot listen.
    """
    logs.configure(settings.log.level, settings.log.format)
    stop, hurry = asyncio.Event(), asyncio.Event()

    def told() -> None:
        if hurry.is_set():
            os._exit(FORCED)
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told)
    terminals = [number for number in range(3) if os.isatty(number)]
    gateway = Gateway(settings, source=source, on_progress=on_progress)

    def hung_up() -> None:
        if any(map(_is_gone, terminals)):
            told()
        else:
            gateway.hang_up()  # while it starts, too: what changed then may have been read before

    loop.add_signal_handler(signal.SIGHUP, hung_up)
    async with gateway:
        ready = asyncio.create_task(_tell(gateway, on_ready))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            ready.result()
            await stopped
        ready.cancel()
        log.info("stopping; running answers get %g s", settings.server.shutdown_grace)
        await gateway.drain(hurry)


def _is_gone(terminal: int) -> bool:
    """Whether a terminal was closed: it is nobody's controlling terminal any more."""
    try:
        os.tcgetpgrp(terminal)
    except OSError:
        return True
    return False


async def _tell(gateway: Gateway, on_ready: OnReady | None) -> None:
    await gateway.settled()
    if on_ready is not None:
        await on_ready(gateway)
