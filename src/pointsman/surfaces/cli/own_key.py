"""The key of the owner's own command line: whoever can read the installation's secret needs no other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pointsman.settings import Settings

KeyFor = Callable[[str, int], str | None]
"""Host and port of a gateway → the key to send there, made anew for each request; None where none may go."""


def own_key(settings: Settings) -> KeyFor:
    """Keys for gateways of this installation on this machine. Reads the secret when the first one is made, and makes
    none when there is not any."""
    secrets: list[bytes | None] = []

    def make(host: str, port: int) -> str | None:
        from pointsman.core.keys import mint_local
        from pointsman.settings import is_loopback

        if not is_loopback(host):
            return None
        if not secrets:
            secrets.append(_secret(settings))
        return mint_local(secrets[0], port=port, now=time.time()) if secrets[0] is not None else None

    return make


def _secret(settings: Settings) -> bytes | None:
    from pointsman.core.errors import StoreError
    from pointsman.core.keys import LOCAL_PURPOSE
    from pointsman.stores.secret_key import NAME, load_secret_key

    configured = settings.security.secret_key
    try:
        if configured is None and not (settings.data_dir / NAME).exists():
            return None
        loaded = load_secret_key(settings.data_dir, configured.reveal() if configured is not None else None)
    except (StoreError, OSError):
        return None  # it is another user's
    return loaded.derive(LOCAL_PURPOSE)
