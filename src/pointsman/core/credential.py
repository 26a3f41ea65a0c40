"""A key for an upstream: of the installation, or of one caller for one request."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Credential(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an upstream wants to see."""

    api_key: str
    organization: str | None = None

    @property
    def masked(self) -> str:
        """Enough to tell two keys apart, and no more."""
        return f"…{self.api_key[-4:]}" if len(self.api_key) >= 16 else "…"

    def __repr__(self) -> str:
        return "Credential(…)"


class TakesKeys(Protocol):
    """Says for which providers callers may bring keys of their own."""

    @property
    def passes(self) -> bool:
        """Whether the key that a client sends to an open port may be its provider's."""

    def knows(self, provider: str) -> bool:
        """Whether there is such a provider."""

    def takes(self, provider: str) -> bool: ...


class NoKeysTaken:
    """A `TakesKeys` that takes none."""

    passes = False

    def knows(self, provider: str) -> bool:
        return False

    def takes(self, provider: str) -> bool:
        return False
