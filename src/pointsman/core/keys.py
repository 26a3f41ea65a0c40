"""API keys: what a token looks like, what is known of a key, and the token of the owner's own command line.

A token is shown once. What is kept of it is its prefix, by which it is found, and a keyed hash, which proves it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
import struct
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from .caller import Role, Scopes
from .errors import StoreError

PREFIX_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
TOKEN = re.compile(rb"pm_[a-z2-7]{8}_[A-Za-z0-9_-]{43}")
PREFIX_LENGTH = len("pm_") + 8
LOCAL = re.compile(rb"pm_local_[A-Za-z0-9_-]{43}")
LOCAL_SECONDS = 60.0
"""How far the time in a local token may be from now."""
LOCAL_PURPOSE = "local-admin"
"""What its key is derived for."""
KEYS = "keys"
"""The purpose's name among the revisions."""


class KeysUnavailable(StoreError):
    """The database has been away for too long to trust what is known of API keys; keys of the settings still work."""

    code = "keys_unavailable"
    status = 503
    retry_after = 5.0


class KeySecret(msgspec.Struct, frozen=True, kw_only=True):
    """One token of a key, as far as it may be shown; a rotation gives a key a second one for a while."""

    prefix: str
    created_at: float
    created_by: str
    expires_at: float | None = None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its token. Times are seconds since the epoch, UTC."""

    id: str
    name: str
    role: Role
    scopes: Scopes
    created_at: float
    created_by: str
    expires_at: float | None = None
    revoked_at: float | None = None
    revoked_by: str | None = None
    last_used_at: float | None = None
    secrets: tuple[KeySecret, ...] = ()

    def state(self, now: float) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


class LiveSecret(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a process keeps in memory to admit the bearer of one token."""

    prefix: str
    digest: bytes
    key_id: str
    role: Role
    scopes: Scopes
    expires_at: float | None = None
    """The earlier of the token's end and the key's."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Every token that is worth something, and how many keys were ever made: with one, no port is open."""

    secrets: Sequence[LiveSecret]
    keys: int


class KeySource(Protocol):
    """Where a process learns of keys. Raises StoreError when the store is away."""

    async def known(self) -> Known: ...

    async def used(self, at: Mapping[str, float]) -> None:
        """Keep when keys (by id) were last used."""


class Digests:
    """Keyed hashes (HMAC-SHA256) of tokens under the installation's secret."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, token: bytes) -> bytes:
        return hmac.digest(self._key, token, "sha256")


def new_token() -> str:
    """A random token: 40 bits to find it by and 256 that are its secret."""
    prefix = "".join(secrets.choice(PREFIX_LETTERS) for _ in range(8))
    return f"pm_{prefix}_{secrets.token_urlsafe(32)}"


def new_key_id() -> str:
    return f"key_{secrets.token_hex(6)}"


def prefix_of(token: bytes) -> str | None:
    """The part that finds a token's key; None when it is no token of ours."""
    return token[:PREFIX_LENGTH].decode("ascii") if TOKEN.fullmatch(token) else None


def mint_local(key: bytes, *, port: int, now: float) -> str:
    """A token that admits whoever can read the installation's secret, to the gateway on one port, for a minute.

    It names the port, so that another program that listens where a gateway was expected learns nothing of use.
    """
    stamp = struct.pack(">d", now)
    token = base64.urlsafe_b64encode(stamp + _local_digest(key, stamp, port)).rstrip(b"=")
    return f"pm_local_{token.decode()}"


def is_local(key: bytes, token: bytes, *, port: int, now: float) -> bool:
    """Whether a token was minted with this key for this port, within the last minute."""
    if not LOCAL.fullmatch(token):
        return False
    try:
        raw = base64.urlsafe_b64decode(token[len(b"pm_local_") :] + b"=")
    except binascii.Error:
        return False
    stamp, digest = raw[:8], raw[8:]
    if not hmac.compare_digest(digest, _local_digest(key, stamp, port)):
        return False
    (minted,) = struct.unpack(">d", stamp)
    return bool(abs(now - minted) <= LOCAL_SECONDS)


def _local_digest(key: bytes, stamp: bytes, port: int) -> bytes:
    return hmac.digest(key, stamp + struct.pack(">I", port), "sha256")[:24]
