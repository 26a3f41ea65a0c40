"""What uvicorn's protocol leaves undone, done in a class made of it.

Its inner names are promised by nobody: where a later uvicorn lacks one of them this is left off, and one warning says
so. Answers are right without it, but for what `IN_NEED` tells.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

log = logging.getLogger(__name__)

PLACE = "uvicorn.protocols.http.httptools_impl"
OF_A_PROTOCOL = ("connection_made", "on_headers_complete", "connection_lost")
OF_A_CYCLE = ("response_complete", "disconnected", "message_event", "chunked_encoding", "expected_content_length")
IN_NEED = (
    "clients that leave amid pipelined requests are noticed late, and clients of HTTP/1.0 get chunked streams;"
    " install another uvicorn, or use the native data plane"
)


class _Unbounded(int):
    """The length of a body that the connection's end ends: uvicorn counts down from it, and asks whether it was met."""

    def __lt__(self, sent: int) -> bool:
        return False

    def __sub__(self, sent: int) -> _Unbounded:
        return self

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


_UNBOUNDED = _Unbounded()


def http_protocol() -> type[HttpToolsProtocol] | Literal["auto"]:
    """uvicorn's protocol with what it leaves undone, or uvicorn's own choice where it has other names now."""
    try:
        base: type[HttpToolsProtocol] = importlib.import_module(PLACE).HttpToolsProtocol
    except (ImportError, AttributeError):
        _warn("HttpToolsProtocol")
        return "auto"
    if lacking := [name for name in OF_A_PROTOCOL if not hasattr(base, name)]:
        _warn(*lacking)
        return "auto"
    return _made_of(base)


def _made_of(base: type[HttpToolsProtocol]) -> type[HttpToolsProtocol]:
    class LeavingToldToAll(base):  # type: ignore[misc, valid-type]  # which class it is shows when it is there
        """Where requests are pipelined, uvicorn tells the last alone that the client has left: the one that is being
        answered would go on, and write to a transport that is closed. And it sends chunks to a client of HTTP/1.0,
        which knows none: there the end of the connection, which follows every answer, ends the body."""

        fits: bool | None = None
        """Whether its cycles have the names; None: none was seen yet."""

        def connection_made(self, transport: asyncio.Transport) -> None:
            self.unanswered: deque[RequestResponseCycle] = deque()
            super().connection_made(transport)

        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            cycle = getattr(self, "cycle", None)
            if not self._fits(cycle):
                return
            while self.unanswered and self.unanswered[0].response_complete:
                self.unanswered.popleft()
            if cycle is not None and (not self.unanswered or self.unanswered[-1] is not cycle):
                self.unanswered.append(cycle)
                if self.parser.get_http_version() == "1.0":
                    cycle.chunked_encoding, cycle.expected_content_length = False, _UNBOUNDED

        def connection_lost(self, exc: Exception | None) -> None:
            for cycle in self.unanswered:
                if not cycle.response_complete:
                    cycle.disconnected = True
                    cycle.message_event.set()
            super().connection_lost(exc)

        def _fits(self, cycle: Any) -> bool:
            kind = type(self)
            if kind.fits is None:
                lacking = [name for name in OF_A_CYCLE if not hasattr(cycle, name)]
                if cycle is None and not hasattr(self, "cycle"):
                    lacking = ["cycle"]
                elif cycle is None:  # an upgrade, which makes none
                    return False
                if not hasattr(getattr(self, "parser", None), "get_http_version"):
                    lacking.append("parser")
                if lacking:
                    _warn(*lacking)
                kind.fits = not lacking
            return kind.fits

    return LeavingToldToAll


def _warn(*names: str) -> None:
    log.warning("uvicorn has no %s any more: %s", ", ".join(names), IN_NEED)
