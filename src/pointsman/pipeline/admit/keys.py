"""Every API key in memory, by its prefix: a request costs one look-up and one hash, however many keys there are."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from pointsman.core.caller import Caller
from pointsman.core.errors import Forbidden, StoreError, Unauthenticated
from pointsman.core.keys import KeySource, KeysUnavailable, LiveSecret, prefix_of
from pointsman.core.ports import Clock

log = logging.getLogger(__name__)

FLUSH_SECONDS = 10.0
"""How often the times of last use are written."""
NOBODY = bytes(32)
"""What a token is compared with whose prefix is unknown, so that it takes as long."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Digest = Callable[[bytes], bytes]


class _Entry(NamedTuple):
    secret: LiveSecret
    caller: Caller
    networks: tuple[Network, ...]


class KeyDirectory:
    """Admits the bearers of stored keys. Asks no database while it does."""

    def __init__(
        self,
        source: KeySource,
        *,
        digest: Digest,
        clock: Clock,
        age: Callable[[], float],
        stale_grace: float,
        guarded: bool = False,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            age: seconds since what is known was last known to be current.
            stale_grace: the age in seconds from which on no stored key is admitted.
            guarded: whether there were keys or users at an earlier start: however empty the store is now, no port is
                open.
            aliases: other names of models, which a key's scopes may give too.
        """
        self._source = source
        self._digest = digest
        self._clock = clock
        self._age = age
        self._grace = stale_grace
        self._guarded = guarded
        self._aliases = aliases or {}
        self._entries: dict[str, _Entry] = {}
        self._used: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._any: bool | None = None  # None: nothing was read yet

    @property
    def any(self) -> bool:
        """Whether a key was ever made, or nobody knows yet: then no port is open, even when it was revoked since."""
        return self._guarded or self._any is not False

    @property
    def known(self) -> bool:
        """Whether a key was ever made, as far as the store was read."""
        return bool(self._any)

    @property
    def guarded(self) -> bool:
        """Whether there were keys or users at an earlier start."""
        return self._guarded

    @property
    def loaded(self) -> bool:
        """Whether the keys could be read."""
        return self._any is not None

    def presume_none(self) -> None:
        """Take it that there is no key, until they can be read."""
        self._any = bool(self._any)

    def __len__(self) -> int:
        """How many tokens are known."""
        return len(self._entries)

    async def reload(self) -> None:
        """Read every key anew. Raises StoreError."""
        known = await self._source.known()
        before = self._entries
        entries = {}
        for secret in known.secrets:
            entry = before.get(secret.prefix)
            same = entry is not None and entry.secret == secret
            entries[secret.prefix] = entry if same and entry is not None else _entry(secret, self._aliases)
        self._entries = entries
        self._any = bool(self._any) or known.keys > 0  # a store that was lost opens no port

    def admit(self, token: bytes, peer: str | None) -> Caller | None:
        """Who bears this token; None when it is no token of ours, or of no live key.

        Raises:
            KeysUnavailable: what is known is too old.
            Unauthenticated: the token is right, and its time is over.
            Forbidden: its key may not come from this address.
        """
        prefix = prefix_of(token)
        if prefix is None:
            return None
        if self._any is None or self._age() > self._grace:
            raise KeysUnavailable()
        entry = self._entries.get(prefix)
        digest = self._digest(token)
        expected = entry.secret.digest if entry is not None else NOBODY
        if not hmac.compare_digest(digest, expected) or entry is None:
            return None
        now = self._clock.now()
        if entry.secret.expires_at is not None and entry.secret.expires_at <= now:
            raise Unauthenticated(
                "This API key has expired, or was replaced by a rotation: use the new one, or ask for one.",
                code="expired_api_key",
            )
        if entry.networks and not _within(peer, entry.networks):
            raise Forbidden(f"This API key may not be used from {peer or 'here'}.", code="network_not_allowed")
        self._used[entry.secret.key_id] = now
        return entry.caller

    def start(self) -> None:
        """Write the times of last use now and then, until `close`."""
        self._task = asyncio.create_task(self._run(), name="key-directory")

    async def flush(self) -> None:
        """Write the times of last use. What cannot be written now is tried again at the next time."""
        used, self._used = self._used, {}
        try:
            if used:
                await self._source.used(used)
        except StoreError as error:
            log.debug("The last use of keys could not be written: %s", error.message)
            self._used = {**used, **self._used}

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.flush()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()


def _entry(secret: LiveSecret, aliases: Mapping[str, str]) -> _Entry:
    scopes = secret.scopes
    if scopes.models:
        scopes = msgspec.structs.replace(scopes, models=_spelt_out(scopes.models, aliases))
    caller = Caller(key_id=secret.key_id, admin=secret.role == "admin", role=secret.role, scopes=scopes)
    return _Entry(secret, caller, tuple(ipaddress.ip_network(network) for network in secret.scopes.networks))


def _spelt_out(models: Iterable[str], aliases: Mapping[str, str]) -> tuple[str, ...]:
    """The models, each alias as what it stands for."""
    return tuple(dict.fromkeys(aliases.get(model, model) for model in models))


def _within(peer: str | None, networks: Iterable[Network]) -> bool:
    address = address_of(peer)
    return address is not None and any(address in network for network in networks)


def address_of(peer: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, one of IPv4 that is written as one of IPv6 (`::ffff:10.0.0.1`) as what it is."""
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
