"""Hashes of tokens and codes, under a key of this installation: whoever reads the database can use none of them."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from .secret_key import SecretKey


class KeyedHash:
    """HMAC-SHA-256 for one purpose. During a rotation of the secret, what the previous one hashed is still known."""

    __slots__ = ("_keys",)

    def __init__(self, secrets: Sequence[SecretKey], purpose: str) -> None:
        """
        Args:
            secrets: the current secret, then the previous one if there is one.
        """
        self._keys = tuple(secret.derive(purpose) for secret in secrets)

    def new(self, text: str) -> str:
        """Under the current secret."""
        return _digest(self._keys[0], text)

    def all(self, text: str) -> tuple[str, ...]:
        """Under every secret that is accepted, the current one first."""
        return tuple(_digest(key, text) for key in self._keys)

    def matches(self, text: str, digest: str) -> bool:
        """In constant time."""
        return sum(hmac.compare_digest(known, digest) for known in self.all(text)) > 0

    def __repr__(self) -> str:
        return "KeyedHash(…)"


def _digest(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256").hex()
