"""Weights from the official model hub, where the user has switched that on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

from pointsman.core.errors import UpstreamError, WeightsError
from pointsman.core.locality import Destination
from pointsman.core.ports import Timeouts
from pointsman.transport.http import Origin, Outbound, UpstreamRequest, UpstreamResponse, header

from .blocking import in_thread

_REDIRECTS = 5
_BUFFER = 4 * 1024 * 1024
_TIMEOUTS = Timeouts(connect=10, first_byte=60, between_bytes=60, total=24 * 3600)


async def fetch_file(
    address: str, target: Path, *, size: int, outbound: Outbound, reached: Callable[[int], None]
) -> None:
    """Bring `target` to `size` bytes from `address`, going on from what it has. The caller checks the hash.

    Raises:
        WeightsError: the hub could not be reached, or did not answer with such a file.
        OSError: the disk is full, or broken.
    """
    have = _size(target)
    if have == size:
        return
    if have > size:
        have = 0
    try:
        response = await _open(address, have, outbound)
        try:
            if response.status == 200:
                have = 0
            with _cut(target, have) as file:
                pending = bytearray()
                try:
                    async for block in response:
                        pending += block
                        have += len(block)
                        if have > size:
                            raise WeightsError(f"{address} is longer than the {size} bytes that are expected.")
                        reached(have)
                        if len(pending) >= _BUFFER:
                            full, pending = bytes(pending), bytearray()
                            await in_thread(partial(_write, file, full))
                finally:
                    file.write(pending)
        finally:
            response.close()
    except UpstreamError as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"The model hub did not give {address}: {error.message}") from error
    if have != size:
        raise WeightsError(f"The model hub gave {have} of {size} bytes of {address}; try again to go on from there.")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _cut(path: Path, size: int) -> BinaryIO:
    """A file opened at its byte `size`, what followed being cut off."""
    file = path.open("r+b" if path.exists() else "wb")
    file.truncate(size)
    file.seek(size)
    return file


def _write(file: BinaryIO, block: bytes, _: threading.Event) -> None:
    file.write(block)


async def _open(address: str, have: int, outbound: Outbound) -> UpstreamResponse:
    """The answer with the file's bytes from `have` on; follows the hub's redirects to its store."""
    headers = [(b"accept-encoding", b"identity"), (b"user-agent", b"pointsman")]
    if have:
        headers.append((b"range", b"bytes=%d-" % have))
    for _ in range(_REDIRECTS + 1):
        url = urlsplit(address)
        port = url.port or (443 if url.scheme == "https" else 80)
        request = UpstreamRequest(
            destination=Destination(model="model hub", local=False),
            local_only=False,
            origin=Origin(scheme=url.scheme, host=url.hostname or "", port=port),
            method="GET",
            target=url.path + (f"?{url.query}" if url.query else ""),
            headers=headers,
            timeouts=_TIMEOUTS,
        )
        response = await outbound.send(request)
        if response.status in (200, 206):
            return response
        location = header(response.headers, b"location")
        status = response.status
        response.close()
        if status not in (301, 302, 303, 307, 308) or location is None:
            raise WeightsError(f"The model hub answered {status} for {address}.")
        following = urljoin(address, location.decode("latin-1"))
        if url.scheme == "https" and not following.startswith("https://"):
            raise WeightsError(f"The model hub redirects {address} to an address without TLS.")
        address = following
    raise WeightsError(f"The model hub redirects {address} in circles.")
