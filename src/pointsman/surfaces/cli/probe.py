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

        ours = Invocation(config=invocation.config, ca_file=invocation.ca_file)
        async with connect(ours.gateway_url(settings), invocation.key(settings), ours.trusted(settings)) as client:
            return await client.alive()

    return run(ask())
