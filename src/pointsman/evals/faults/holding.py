"""What a gateway holds when all is quiet: what has grown meanwhile has leaked."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

import psutil

from pointsman.evals.gateway.common import BenchError

from .traffic import Client
from .upstream import Upstreams

PATIENCE = 20.0
"""Seconds that it may take until nothing is under way any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the gateway holds at a moment."""

    descriptors: int
    outward: int
    """Connections to upstreams, idle ones."""
    half_closed: int
    """Connections that an upstream has closed and the gateway has not."""
    tasks: int
    active: int
    ended: int
    """Requests, since the start."""


async def quiet(port: int, process: psutil.Process, upstreams: Upstreams, like: Held | None = None) -> Held:
    """What is held once nothing is under way and, where `like` is given, nothing has leaked since then; or what is held
    when patience is at its end.

    Raises:
        BenchError: the gateway tells nothing.
    """
    until = time.monotonic() + PATIENCE
    while True:
        held = await _held(port, process, upstreams)
        idle = not upstreams.stage.playing.total() and not held.active
        if idle and (like is None or not any(grown(like, held, upstreams).values())):
            return held
        if time.monotonic() > until:
            return held
        await asyncio.sleep(0.3)


def grown(before: Held, after: Held, upstreams: Upstreams) -> dict[str, int]:
    """What the gateway holds more than before, beside idle connections that are kept to be used again."""
    kept = after.outward - before.outward
    return {
        "leaked connections": upstreams.stage.playing.total(),
        "half closed": after.half_closed,
        "leaked descriptors": max(0, after.descriptors - before.descriptors - kept - 2),
        "leaked tasks": max(0, after.tasks - before.tasks - 1),
        "still active": after.active,
    }


async def _held(port: int, process: psutil.Process, upstreams: Upstreams) -> Held:
    client = Client(port, patience=PATIENCE)
    reply = await client.ask("GET", "/api/v1/health/details")
    client.close()
    if reply.status != 200:
        raise BenchError(f"The gateway tells nothing of itself: {reply.status} {bytes(reply.body)[:200]!r}")
    details = json.loads(reply.body)
    await asyncio.sleep(0.05)  # for the connection that asked to be gone
    out = [found for found in process.net_connections() if found.raddr and found.raddr.port in upstreams.ports]
    return Held(
        descriptors=process.num_fds(),
        outward=len(out),
        half_closed=sum(found.status == "CLOSE_WAIT" for found in out),
        tasks=details["process"]["tasks"],
        active=details["active_requests"],
        ended=sum(details["requests"].values()),
    )
