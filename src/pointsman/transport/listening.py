"""The end of listening."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence

from .limits import LAST_REQUESTS_SECONDS


async def end_listening(listener: asyncio.Server, protocol: Callable[[], asyncio.Protocol], **tls: object) -> None:
    """Refuse connections from now on, and serve those that the kernel has already taken for us: it would reset them,
    and their clients could not know whether their requests were heard.

    Args:
        tls: what the listener was made with.
    """
    loop = asyncio.get_running_loop()
    doubles = [socket.fromfd(one.fileno(), one.family, one.type) for one in listener.sockets]
    listener.close()
    for _ in range(3):  # uvloop closes in its next round
        await asyncio.sleep(0)
    taken: list[socket.socket] = []
    for double in doubles:
        with double, contextlib.suppress(OSError):
            double.setblocking(False)
            while True:
                taken.append(double.accept()[0])
    await _connected(loop, taken, protocol, tls)


async def _connected(
    loop: asyncio.AbstractEventLoop,
    taken: Sequence[socket.socket],
    protocol: Callable[[], asyncio.Protocol],
    tls: dict[str, object],
) -> None:
    for one in taken:
        one.setblocking(False)
    connecting = {
        loop.create_task(loop.connect_accepted_socket(protocol, one, **tls))  # type: ignore[arg-type]
        for one in taken
    }
    if not connecting:
        return
    done, slow = await asyncio.wait(connecting, timeout=LAST_REQUESTS_SECONDS)
    for handshake in slow:
        handshake.cancel()
    await asyncio.gather(*done, *slow, return_exceptions=True)  # one that fails is its client's affair
