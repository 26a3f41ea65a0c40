"""A key for an upstream: of the installation, or of one caller for one request."""

from __future__ import annotations

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
