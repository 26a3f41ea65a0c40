"""Signing secrets of API keys, kept encrypted in the database and held in memory by key id."""

from __future__ import annotations

import secrets

from .sealed import SealedValues

KIND = "signing"
REVISION = "credentials"
"""They change as seldom as credentials do, and are reloaded together with them."""
PREFIX = "pmsig_"


class SigningSecrets:
    """The secrets as of the last `reload`. A per-request look is a dictionary's."""

    def __init__(self, values: SealedValues) -> None:
        self._values = values
        self._secrets: dict[str, tuple[int, bytes]] = {}
        """Version and secret by key id."""

    def get(self, key_id: str) -> bytes | None:
        """A key's secret; None where it has none.

        Empty where it has one that cannot be decrypted: such a key must sign, and nothing can verify it.
        """
        found = self._secrets.get(key_id)
        return found[1] if found is not None else None

    async def reload(self) -> None:
        """Read them anew. Raises StoreError when the database is away; what was known stays.

        So does a secret that can no longer be decrypted and is still the same: after a rotation that this process has
        not been told of.
        """
        before, found = self._secrets, {}
        for row in await self._values.all(KIND):
            version, known = before.get(row.name, (row.version, b""))
            kept = known if version == row.version else b""
            found[row.name] = (row.version, kept if row.value is None else row.value)
        self._secrets = found

    async def create(self, key_id: str) -> str:
        """A new secret for a key, replacing its old one. The only time that it can be seen."""
        secret = PREFIX + secrets.token_urlsafe(32)
        await self._values.put(KIND, key_id, secret.encode(), tell=REVISION)
        return secret

    async def remove(self, key_id: str) -> bool:
        """Let a key come unsigned again; False when it has no secret."""
        return await self._values.remove(KIND, key_id, tell=REVISION)

    async def names(self) -> list[str]:
        """Ids of the keys that have one."""
        return [row.name for row in await self._values.all(KIND)]
