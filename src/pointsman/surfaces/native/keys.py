"""`/api/v1/keys`: make, list, change, rotate and revoke API keys. For admins; a token stands in one answer alone."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from pointsman.core.caller import Caller, Scopes
from pointsman.core.errors import InvalidRequest
from pointsman.core.keys import ApiKey
from pointsman.core.request import Priority
from pointsman.stores.keys import KeyChange, NewKey
from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.services import Services

log = logging.getLogger(__name__)

DAY = 86_400.0
MicroUsd = Annotated[int, Field(ge=0, le=10**15)]
Names = Annotated[list[str], Field(max_length=100)]


class KeyToken(BaseModel):
    """A token of a key, as far as it is shown."""

    prefix: str
    created_at: float
    created_by: str
    expires_at: float | None = Field(description="When a rotation ends it; null as long as it is the key's latest.")


class Key(BaseModel):
    """An API key without its token. Times are seconds since the epoch, UTC."""

    id: str
    name: str
    role: Literal["admin", "member", "viewer"]
    state: Literal["active", "expired", "revoked"]
    models: list[str] = Field(description="Ids, names or patterns of models that it may use; empty: all.")
    endpoints: list[str] = Field(description="Classes of endpoints; empty: all.")
    networks: list[str] = Field(description="Where it may come from; empty: everywhere.")
    tier: str | None = Field(description="Null: the tier of the settings.")
    daily_micro_usd: int | None
    monthly_micro_usd: int | None
    priority: Priority | None = Field(description="Of its requests that name none.")
    created_at: float
    created_by: str
    expires_at: float | None
    revoked_at: float | None
    revoked_by: str | None
    last_used_at: float | None = Field(description="Written every ten seconds.")
    tokens: list[KeyToken] = Field(description="Two while a rotation's overlap lasts.")


class KeyWithToken(Key):
    """A key and its token, which is shown now and never again."""

    token: str


class KeyList(BaseModel):
    """Every key, newest first."""

    object: Literal["list"] = "list"
    data: list[Key]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class NewKeyRequest(_Body):
    """What a key is called and confined to."""

    name: str
    role: Literal["admin", "member", "viewer"] = "member"
    models: Names = []
    endpoints: Names = []
    networks: Names = []
    tier: str | None = None
    daily_micro_usd: MicroUsd | None = None
    monthly_micro_usd: MicroUsd | None = None
    priority: Priority | None = None
    expires_at: float | None = Field(default=None, description="Seconds since the epoch, UTC.")


class KeyChangeRequest(_Body):
    """Fields to change; null or an empty list lifts a bound, and what is left out stays."""

    name: str = ""
    role: Literal["admin", "member", "viewer"] = "member"
    models: Names = []
    endpoints: Names = []
    networks: Names = []
    tier: str | None = None
    daily_micro_usd: MicroUsd | None = None
    monthly_micro_usd: MicroUsd | None = None
    priority: Priority | None = None
    expires_at: float | None = None


class RotationRequest(_Body):
    overlap_seconds: float = Field(default=DAY, ge=0, description="How long the token before it still works.")


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["Keys"])

    def shown(key: ApiKey) -> Key:
        return Key.model_validate(_fields(key, services.clock.now()))

    def with_token(made: NewKey) -> KeyWithToken:
        return KeyWithToken.model_validate({**_fields(made.key, services.clock.now()), "token": made.token})

    @routes.get("/api/v1/keys", operation_id="list_keys", summary="List the API keys")
    async def list_keys(request: Request) -> KeyList:
        caller_of(request).require_admin()
        return KeyList(data=[shown(key) for key in await services.keys.all()])

    @routes.post("/api/v1/keys", operation_id="create_key", summary="Make an API key", status_code=201)
    async def create_key(request: Request, body: NewKeyRequest) -> KeyWithToken:
        """The answer holds the token; it is shown nowhere else."""
        by = _who(request)
        scopes = Scopes(
            models=tuple(body.models),
            endpoints=tuple(body.endpoints),
            networks=tuple(body.networks),
            tier=body.tier,
            daily_micro_usd=body.daily_micro_usd,
            monthly_micro_usd=body.monthly_micro_usd,
            priority=body.priority,
        )
        made = await services.keys.create(body.name, by=by, role=body.role, scopes=scopes, expires_at=body.expires_at)
        log.info("key %s was made by %s", made.key.id, by)
        return with_token(made)

    @routes.get("/api/v1/keys/{id}", operation_id="get_key", summary="Tell of one API key")
    async def get_key(request: Request, id: str) -> Key:
        """By its id or its name."""
        caller_of(request).require_admin()
        return shown(await services.keys.get(id))

    @routes.patch("/api/v1/keys/{id}", operation_id="update_key", summary="Change an API key")
    async def update_key(request: Request, id: str, body: KeyChangeRequest) -> Key:
        """Holds in every replica within a second."""
        by = _who(request)
        given = body.model_dump(exclude_unset=True)
        if not given:
            raise InvalidRequest("Nothing is to be changed: name a field.")
        for field in ("models", "endpoints", "networks"):
            if field in given:
                given[field] = tuple(given[field])
        changed = await services.keys.update(id, KeyChange(**given))
        log.info("key %s was changed by %s: %s", changed.id, by, ", ".join(sorted(given)))
        return shown(changed)

    @routes.post("/api/v1/keys/{id}/rotate", operation_id="rotate_key", summary="Give an API key a new token")
    async def rotate_key(request: Request, id: str, body: RotationRequest) -> KeyWithToken:
        """The token before it works for `overlap_seconds` more."""
        by = _who(request)
        made = await services.keys.rotate(id, by=by, overlap=body.overlap_seconds)
        log.info("key %s was rotated by %s", made.key.id, by)
        return with_token(made)

    @routes.delete("/api/v1/keys/{id}", operation_id="revoke_key", summary="Revoke an API key")
    async def revoke_key(request: Request, id: str) -> Key:
        """Holds in every replica within a second. The record of the key stays."""
        by = _who(request)
        revoked = await services.keys.revoke(id, by=by)
        log.info("key %s was revoked by %s", revoked.id, by)
        return shown(revoked)

    return routes


def _who(request: Request) -> str:
    """The admin who asks, for the record."""
    caller: Caller = caller_of(request)
    caller.require_admin()
    return caller.user_id or caller.key_id or "local user"


def _fields(key: ApiKey, now: float) -> dict[str, object]:
    fields = msgspec.structs.asdict(key)
    fields.update(msgspec.structs.asdict(fields.pop("scopes")))
    for name in ("models", "endpoints", "networks"):
        fields[name] = list(fields[name])
    tokens = [msgspec.structs.asdict(secret) for secret in fields.pop("secrets")]
    return {**fields, "state": key.state(now), "tokens": tokens}
