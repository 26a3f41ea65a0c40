"""What a server holds its clients to, and what a running server can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

LAST_REQUESTS_SECONDS = 0.5
"""How long requests are still taken over connections that are open when no more of those are: a request that is on its
way then would be met by a reset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Sizes in bytes, times in seconds. Times are checked about once a second, so they may run a second over."""

    max_body_bytes: int = 32 * 1024 * 1024
    max_body_memory: int = 512 * 1024 * 1024
    """Of all bodies above 64 KiB that are held at the same time; a request beyond it gets a 503."""
    max_header_bytes: int = 64 * 1024
    """The request line and every header together."""
    max_headers: int = 100
    max_target_bytes: int = 8 * 1024
    max_connections: int = 4096
    header_timeout: float = 20.0
    """From a connection's start, or a request's first byte, to the end of its head."""
    body_timeout: float = 30.0
    """Between two reads of a body."""
    min_body_rate: int = 1024
    """Bytes a second that a body must come at, beside what `body_timeout` allows once."""
    write_timeout: float = 60.0
    """A client that takes nothing of a waiting answer for so long is dropped."""
    keep_alive_timeout: float = 75.0
    max_requests_per_connection: int = 10_000
    write_buffer_bytes: int = 64 * 1024
    """Above this `Responder.drain` waits."""


class RunningServer(Protocol):
    """A server that is listening."""

    @property
    def port(self) -> int: ...

    def leave(self) -> None:
        """Close every connection behind its next answer from now on; new ones are still taken."""

    async def close(self, grace: float, *, ending: Callable[[], None] = lambda: None) -> None:
        """Stop accepting, soon take no requests over open connections either, give running answers `grace` seconds,
        then cancel them. What has not begun to answer by then is told 503.

        Args:
            ending: called when the time is over, before anything is cancelled.
        """
