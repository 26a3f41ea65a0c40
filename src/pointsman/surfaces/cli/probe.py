"""Whether the gateway of the settings is running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .invocation import Invocation, run

if TYPE_CHECKING:
    from pointsman.settings import Settings


def answers_as_gateway(invocation: Invocation, settings: Settings) -> bool:
    """Whether what listens at the address of the settings is a gateway."""

    async def ask() -> bool:
        from .client import connect

        address = Invocation(config=invocation.config).gateway_url(settings)
        async with connect(address, invocation.key(settings)) as client:
            return await client.alive()

    return run(ask())
