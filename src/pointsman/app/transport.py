"""The data plane that the settings choose."""

from __future__ import annotations

from pointsman.settings import Settings
from pointsman.surfaces.entry import Entry
from pointsman.transport.http import Outbound
from pointsman.transport.limits import RunningServer, ServerLimits


def build_outbound(settings: Settings) -> Outbound:
    if settings.server.data_plane == "asgi":
        from pointsman.transport.aiohttp_out import AiohttpOut

        return AiohttpOut()
    from pointsman.transport.pool import Pool

    return Pool()


async def start_server(settings: Settings, entry: Entry) -> RunningServer:
    server = settings.server
    limits = ServerLimits(
        max_body_bytes=server.max_body_bytes,
        max_connections=server.max_connections,
        header_timeout=server.header_timeout,
        body_timeout=server.header_timeout,
        keep_alive_timeout=server.keep_alive_timeout,
    )
    if server.data_plane == "asgi":
        from pointsman.transport.asgi_server import serve_asgi

        return await serve_asgi(entry, host=server.host, port=server.port, limits=limits)
    from pointsman.transport.server import serve

    return await serve(entry, host=server.host, port=server.port, limits=limits)
