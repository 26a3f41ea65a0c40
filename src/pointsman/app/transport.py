"""The data plane that the settings choose."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from pointsman.core.errors import SettingsError
from pointsman.settings import Settings
from pointsman.surfaces.entry import Entry
from pointsman.surfaces.errors import tell
from pointsman.transport.descriptors import connections_that_fit
from pointsman.transport.http import Outbound
from pointsman.transport.limits import RunningServer, ServerLimits
from pointsman.transport.tls import ServerTls

LOOK_SECONDS = 1.0
"""Between two looks at the certificate's files."""

log = logging.getLogger(__name__)


def build_outbound(settings: Settings) -> Outbound:
    if settings.server.data_plane == "asgi":
        from pointsman.transport.aiohttp_out import AiohttpOut

        return AiohttpOut()
    from pointsman.transport.pool import Pool

    return Pool()


def build_tls(settings: Settings) -> ServerTls | None:
    """The listener's certificate, where it has one. Raises SettingsError."""
    server = settings.server
    return ServerTls(server.tls_certificate, server.tls_key) if server.tls_certificate is not None else None


async def keep_certificate(tls: ServerTls, hangup: asyncio.Event) -> None:
    """Read the certificate anew when its files change, or when `hangup` is set; never returns."""
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hangup.wait(), LOOK_SECONDS)
        if tls.changed() or hangup.is_set():
            hangup.clear()
            try:
                tls.reload()
            except SettingsError as error:
                log.error("The new certificate is not used, the one from before still is. %s", error.message)
            else:
                log.info("the certificate was read anew")


async def start_server(settings: Settings, entry: Entry, tls: ServerTls | None = None) -> RunningServer:
    server = settings.server
    context = tls.context if tls is not None else None
    connections, files = connections_that_fit(server.max_connections)
    if connections < server.max_connections:
        log.warning(
            "Of the %d connections that server.max_connections allows, %d are taken at once: the system lets this"
            " process have %d files open, and an answer takes two. Raise that limit (`ulimit -n`, or LimitNOFILE= of a"
            " service).",
            server.max_connections,
            connections,
            files,
        )
    limits = ServerLimits(
        max_body_bytes=server.max_body_bytes,
        max_body_memory=server.max_body_memory,
        max_connections=connections,
        header_timeout=server.header_timeout,
        body_timeout=server.header_timeout,
        keep_alive_timeout=server.keep_alive_timeout,
    )
    if server.data_plane == "asgi":
        from pointsman.transport.asgi_server import serve_asgi

        return await serve_asgi(
            entry, host=server.host, port=server.port, limits=limits, ssl_context=context, tells=tell
        )
    from pointsman.transport.server import serve

    return await serve(entry, host=server.host, port=server.port, limits=limits, ssl_context=context, tells=tell)
