"""Posts JSON to an address of the operator's, patiently and beside the requests."""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import urlsplit

from pointsman import __version__
from pointsman.core.errors import PointsmanError
from pointsman.core.locality import Destination
from pointsman.core.ports import Timeouts

from .http import Origin, Outbound, UpstreamRequest

log = logging.getLogger(__name__)

TIMEOUTS = Timeouts(connect=5.0, first_byte=10.0, between_bytes=10.0, total=15.0)
PAUSES = (1.0, 5.0, 30.0, 120.0)
"""Seconds between the attempts."""


class Webhook:
    """One address. Follows no redirect."""

    def __init__(self, url: str, outbound: Outbound, *, pauses: tuple[float, ...] = PAUSES) -> None:
        """
        Args:
            url: `http://` or `https://`; it may hold a secret and is never logged.

        Raises:
            ValueError: it is no such address.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ValueError("must be an http:// or https:// address without user and password")
        self._origin = Origin(
            scheme=parts.scheme, host=parts.hostname, port=parts.port or (443 if parts.scheme == "https" else 80)
        )
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._host = parts.netloc.encode()
        self._outbound = outbound
        self._pauses = pauses

    async def post(self, body: bytes) -> bool:
        """Post until it is taken (any 2xx) or all attempts failed; returns whether it was taken."""
        request = UpstreamRequest(
            destination=Destination(model="webhook"),
            local_only=False,
            origin=self._origin,
            method="POST",
            target=self._target,
            headers=[
                (b"host", self._host),
                (b"content-type", b"application/json"),
                (b"user-agent", f"pointsman/{__version__}".encode()),
            ],
            body=body,
            timeouts=TIMEOUTS,
        )
        told = ""
        for pause in (*self._pauses, None):
            try:
                response = await self._outbound.send(request)
                response.close()
                if 200 <= response.status < 300:
                    return True
                told = f"it answered {response.status}"
            except PointsmanError as error:
                told = error.code or type(error).__name__
            if pause is not None:
                await asyncio.sleep(pause)
        log.warning("The webhook at %s did not take the alert: %s.", self._origin.host, told)
        return False
