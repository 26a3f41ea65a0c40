"""Keys of upstreams, kept encrypted in the database."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from pointsman.core.credential import Credential
from pointsman.core.errors import InvalidRequest

from .sealed import SealedValues

KIND = "credential"
REVISION = "credentials"
"""What `stores.watch` calls them."""
MAX_KEY = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One provider's credential as it lies in the database; None where it cannot be opened."""

    provider: str
    credential: Credential | None
    version: int
    changed_at: float
    problem: str | None = None


class Credentials:
    """Credentials by provider name. All methods raise StoreError when the database is away."""

    def __init__(self, values: SealedValues) -> None:
        self._values = values

    async def all(self) -> list[Stored]:
        return [
            Stored(
                provider=row.name,
                credential=None if row.value is None else msgspec.json.decode(row.value, type=Credential),
                version=row.version,
                changed_at=row.changed_at,
                problem=row.problem,
            )
            for row in await self._values.all(KIND)
        ]

    async def set(self, provider: str, credential: Credential) -> None:
        """Keep a credential; gateways use it within a second.

        Raises:
            InvalidRequest: the key is empty, too long, or not one line of printable ASCII.
        """
        for what, text in (("key", credential.api_key), ("organization", credential.organization or "-")):
            if not text.strip() or not (text.isascii() and text.isprintable()) or len(text) > MAX_KEY:
                raise InvalidRequest(
                    f"The {what} must be one line of printable ASCII, at most {MAX_KEY} characters; see whether it was"
                    " copied whole, and nothing else."
                )
        await self._values.put(KIND, provider, msgspec.json.encode(credential), tell=REVISION)

    async def remove(self, provider: str) -> bool:
        """Forget a credential; False when there is none."""
        return await self._values.remove(KIND, provider, tell=REVISION)
