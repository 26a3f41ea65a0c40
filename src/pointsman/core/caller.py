"""Who asks, and what they may do."""

from __future__ import annotations

import fnmatch
from typing import Literal

import msgspec

from .errors import Forbidden
from .request import Priority

Role = Literal["admin", "member", "viewer", "anonymous"]
"""admin: everything. member: asks models, sees its own. viewer: sees its own, asks nothing. anonymous: public pages."""

EndpointClass = Literal["chat", "embeddings", "models", "feedback", "decisions", "usage", "admin", "public"]
"""What a path is for: keys are scoped by it, and each has buckets of its own."""


DEFAULT_TAG = ":latest"
"""Ollama's models have a tag, and a name without one means this tag."""


class Scopes(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a key is confined to, and what its requests are like; nothing named means no bound."""

    models: tuple[str, ...] = ()
    """Ids, names or patterns (`ollama:*`) of models that it may use."""
    endpoints: tuple[str, ...] = ()
    """Endpoint classes."""
    networks: tuple[str, ...] = ()
    """Addresses or networks (`10.0.0.0/8`) that it may come from."""
    tier: str | None = None
    """The tier of its limits; None: the settings' default."""
    daily_micro_usd: int | None = None
    monthly_micro_usd: int | None = None
    priority: Priority | None = None
    """Of its requests that name none; None: the settings'."""


UNBOUND = Scopes()


INTENT_KEY = "intent"
"""Stands for the caller, in the log and in the accounts, where the gateway itself asks a model what a message wants;
keys of people are named otherwise."""


class Caller(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An admitted caller. `key_id` is None for the local user of an open loopback port, who is an admin."""

    key_id: str | None = None
    user_id: str | None = None
    admin: bool = True
    role: Role = "admin"
    scopes: Scopes = UNBOUND

    def may_see(self, key_id: str | None) -> bool:
        """Whether a record made under `key_id` may be shown to this caller."""
        return self.admin or (self.key_id is not None and self.key_id == key_id)

    def may_use(self, model_id: str, name: str) -> bool:
        """Whether the scopes allow a model, by its id or its provider's name for it; `:latest` may be left out."""
        models = self.scopes.models
        if not models:
            return True
        names = [model_id, name]
        if name.endswith(DEFAULT_TAG):
            names += [model_id.removesuffix(DEFAULT_TAG), name.removesuffix(DEFAULT_TAG)]
        return any(fnmatch.fnmatchcase(known, pattern) for pattern in models for known in names)

    def require_admin(self) -> None:
        """
        Raises:
            Forbidden: the caller is no admin.
        """
        if not self.admin:
            raise Forbidden("This needs an admin: a key made with `pointsman keys create --admin`, or the local user.")
