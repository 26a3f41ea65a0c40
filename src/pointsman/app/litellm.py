"""LiteLLM's proxy beside the gateway, where the settings ask for it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from functools import partial

from pointsman.providers.discovery import CatalogKeeper
from pointsman.settings import Settings, child_environment, environment_value
from pointsman.transport.http import Outbound


def keep_litellm(settings: Settings, outbound: Outbound, keeper: CatalogKeeper, stack: AsyncExitStack) -> None:
    """Install it where it is not, start it, and keep it running until the stack is closed; all in the background."""
    from pointsman.providers.litellm.supervisor import Supervisor

    supervisor = Supervisor(
        cache_dir=settings.cache_dir,
        data_dir=settings.data_dir,
        environment=child_environment({}),
        lookup=environment_value,
        outbound=outbound,
        by="the gateway",
        config=settings.litellm.config,
        changed=partial(keeper.refresh, "litellm"),
    )
    task = asyncio.create_task(supervisor.keep(), name="LiteLLM")

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)
