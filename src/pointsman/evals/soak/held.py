"""What a gateway holds at a moment: seen from outside, but for its tasks, which it tells."""

from __future__ import annotations

import asyncio
import http.client
import json
from dataclasses import dataclass
from typing import Any

import psutil

from pointsman.evals.gateway.common import BenchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Of the gateway and every process below it, but where it says otherwise."""

    seconds: float
    """Since the load began."""
    requests: int
    """Ended by then."""
    memory: int
    """Bytes of the gateway's own process, resident."""
    memory_of_all: int
    """The same of all processes."""
    processes: int
    descriptors: int
    """Without the connections."""
    callers: int
    """Connections that came in."""
    upstreams: int
    """Connections that went out; those that are idle are kept for half a minute."""
    threads: int
    tasks: int
    """Of the gateway's loop."""
    active: int
    """Answers under way."""


async def held(process: psutil.Process, port: int, *, seconds: float, requests: int) -> Held:
    """
    Raises:
        BenchError: the gateway does not tell, or is gone.
    """
    told = await asyncio.to_thread(_details, port)
    try:
        tree = [process, *process.children(recursive=True)]
        connections = [found for one in tree for found in one.net_connections() if found.status != "LISTEN"]
        came_in = sum(bool(found.laddr) and found.laddr.port == port for found in connections)
        memories = [one.memory_info().rss for one in tree]
        return Held(
            seconds=round(seconds, 1),
            requests=requests,
            memory=memories[0],
            memory_of_all=sum(memories),
            processes=len(tree),
            descriptors=sum(one.num_fds() for one in tree) - len(connections),
            callers=came_in,
            upstreams=len(connections) - came_in,
            threads=sum(one.num_threads() for one in tree),
            tasks=told["process"]["tasks"],
            active=told["active_requests"],
        )
    except psutil.NoSuchProcess:
        raise BenchError("The gateway, or a process of it, ended in the middle of the measurement.") from None


def _details(port: int) -> Any:
    """`/api/v1/health/details`, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/api/v1/health/details", headers={"Connection": "close"})
        reply = connection.getresponse()
        body = reply.read()
        if reply.status != 200:
            raise BenchError(f"The gateway does not tell what it holds: {reply.status}.")
        return json.loads(body)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BenchError(f"The gateway does not tell what it holds: {error}") from None
    finally:
        connection.close()
