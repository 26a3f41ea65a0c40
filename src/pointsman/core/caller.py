"""Who asks."""

from __future__ import annotations

import msgspec


class Caller(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An admitted caller. `key_id` is None for the local user of an open loopback port, who is an admin."""

    key_id: str | None = None
    admin: bool = True

    def may_see(self, key_id: str | None) -> bool:
        """Whether a record made under `key_id` may be shown to this caller."""
        return self.admin or (self.key_id is not None and self.key_id == key_id)
