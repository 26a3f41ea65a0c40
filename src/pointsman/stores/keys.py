"""API keys as they are kept: names, scopes, and keyed hashes of tokens that are shown once."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, get_args

import msgspec

from pointsman.core.caller import UNBOUND, EndpointClass, Role, Scopes
from pointsman.core.errors import InvalidRequest, NotFound, StoreError
from pointsman.core.keys import (
    KEYS,
    ApiKey,
    Digests,
    KeySecret,
    Known,
    LiveSecret,
    new_key_id,
    new_token,
    prefix_of,
)
from pointsman.core.ports import Clock
from pointsman.core.request import Priority

from .database import Conflict, Database, Row, Statement
from .envelope import EnvelopeError
from .secret_key import SecretKey
from .watch import bump

log = logging.getLogger(__name__)

PURPOSE = "api-keys"
ROLES: tuple[Role, ...] = ("admin", "member", "viewer")
ENDPOINTS: tuple[str, ...] = tuple(name for name in get_args(EndpointClass) if name != "public")
TRIES = 5
MANY = 500
"""Rows from which on they are read in a thread, so that nobody waits for it."""
MOST = 100
"""Entries in one list of a scope."""
MOST_MICRO_USD = 10**15

_SELECT = (
    "SELECT id, name, role, scopes, created_at, created_by, expires_at, revoked_at, revoked_by, last_used_at, revision"
    " FROM api_keys"
)


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its token, which is shown now and never again."""

    key: ApiKey
    token: str

    def __repr__(self) -> str:
        return f"NewKey({self.key!r}, token='…')"


class KeyChange(msgspec.Struct, frozen=True, kw_only=True):
    """What `update` changes; UNSET leaves a field as it is, None lifts a bound."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    role: Role | msgspec.UnsetType = msgspec.UNSET
    expires_at: float | msgspec.UnsetType | None = msgspec.UNSET
    models: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    endpoints: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    networks: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    tier: str | msgspec.UnsetType | None = msgspec.UNSET
    daily_micro_usd: int | msgspec.UnsetType | None = msgspec.UNSET
    monthly_micro_usd: int | msgspec.UnsetType | None = msgspec.UNSET
    priority: str | msgspec.UnsetType | None = msgspec.UNSET


class KeyStore:
    """A `core.keys.KeySource`, and what makes and changes keys. Raises StoreError when the database is away.

    Every change moves the revision `keys`, so that it holds in every process within a second.
    """

    def __init__(
        self,
        database: Database,
        secret_key: SecretKey,
        clock: Clock,
        *,
        pepper: Callable[[], Awaitable[bytes]] | None = None,
        tiers: Sequence[str] = (),
        on_change: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """
        Args:
            pepper: gives the key that tokens are hashed under. It is random and outlives every rotation of the secret,
                under which it is stored; without it they are hashed under the secret itself.
            tiers: the names that a scope may give; none: they are not checked.
            on_change: awaited after each change, so that it holds in this process before it is told.
        """
        self._on_change = on_change
        self._database = database
        self._clock = clock
        self._tiers = tuple(tiers)
        self._digests = Digests(secret_key.derive(PURPOSE))
        self._pepper = pepper

    def digest(self, token: bytes) -> bytes:
        """A token's keyed hash."""
        return self._digests(token)

    async def _ready(self) -> None:
        """Have the pepper. Raises StoreError."""
        if self._pepper is not None:
            self._digests, self._pepper = Digests(await self._pepper()), None

    async def create(
        self,
        name: str,
        *,
        by: str,
        role: Role = "member",
        scopes: Scopes = UNBOUND,
        expires_at: float | None = None,
    ) -> NewKey:
        """Make a key.

        Args:
            by: who makes it, for the record.

        Raises:
            InvalidRequest: the name is taken, or something cannot be as it is given; names the field.
        """
        await self._ready()
        now = self._clock.now()
        scopes = self._checked(name, role, scopes, expires_at, now)
        for _ in range(TRIES):
            token, key_id = new_token(), new_key_id()
            make = Statement(
                "INSERT INTO api_keys (id, name, role, scopes, created_at, created_by, expires_at)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7)",
                (key_id, name, role, _encoded(scopes), now, by, expires_at),
            )
            try:
                await self._database.transaction([make, self._secret(token, key_id, by, now), bump(KEYS)])
            except Conflict:
                await self._refuse_taken(name)
                continue  # the random prefix or id stood there already
            return NewKey(key=await self._changed(key_id), token=token)
        raise Conflict("The key could not be made; try again.")

    async def all(self) -> list[ApiKey]:
        """Every key, newest first; those that were revoked too."""
        rows = await self._database.fetch(_SELECT + " ORDER BY created_at DESC, id")
        secrets = await self._database.fetch(
            "SELECT key_id, prefix, created_at, created_by, expires_at FROM api_key_secrets ORDER BY created_at DESC"
        )
        by_key: dict[str, list[KeySecret]] = {}
        for key_id, *rest in secrets:
            by_key.setdefault(key_id, []).append(_key_secret(rest))
        return [_api_key(row, by_key.get(row[0], ())) for row in rows]

    async def get(self, reference: str) -> ApiKey:
        """A key by its id or its name; of revoked keys with one name the latest.

        Raises:
            NotFound: there is none.
        """
        return (await self._find(reference))[0]

    async def revoke(self, reference: str, *, by: str) -> ApiKey:
        """End a key and delete what proves its tokens.

        Raises:
            NotFound: there is no such key.
            InvalidRequest: it was revoked before.
        """
        key, _ = await self._alive(reference)
        undo = "UPDATE api_keys SET revoked_at = $1, revoked_by = $2 WHERE id = $3 AND revoked_at IS NULL"
        await self._database.transaction(
            [
                Statement(undo, (self._clock.now(), by, key.id), expect=1),
                Statement("DELETE FROM api_key_secrets WHERE key_id = $1", (key.id,)),
                bump(KEYS),
            ]
        )
        return await self._changed(key.id)

    async def rotate(self, reference: str, *, by: str, overlap: float) -> NewKey:
        """Give a key another token; the one before it holds for `overlap` seconds more.

        Raises:
            NotFound, InvalidRequest: there is no such key, it was revoked, or the overlap is below 0.
        """
        if not 0 <= overlap <= 366 * 86_400:
            raise InvalidRequest("The overlap must be between 0 seconds and a year.", param="overlap")
        await self._ready()
        key, revision = await self._alive(reference)
        now = self._clock.now()
        for _ in range(TRIES):
            token = new_token()
            ends = (
                "UPDATE api_key_secrets SET expires_at = $1"
                " WHERE key_id = $2 AND (expires_at IS NULL OR expires_at > $1)"
            )
            try:
                await self._database.transaction(
                    [
                        _moved(key.id, revision),
                        Statement("DELETE FROM api_key_secrets WHERE key_id = $1 AND expires_at <= $2", (key.id, now)),
                        Statement(ends, (now + overlap, key.id)),
                        self._secret(token, key.id, by, now),
                        bump(KEYS),
                    ]
                )
            except Conflict:
                key, revision = await self._alive(key.id)
                continue
            return NewKey(key=await self._changed(key.id), token=token)
        raise Conflict("Others change this key at the same time; try again.")

    async def update(self, reference: str, change: KeyChange) -> ApiKey:
        """Change a key's name, role, end or scopes.

        Raises:
            NotFound, InvalidRequest: there is no such key, it was revoked, or something cannot be as it is given.
        """
        given = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not msgspec.UNSET}
        own = {field: given.pop(field) for field in ("name", "role", "expires_at") if field in given}
        for _ in range(TRIES):
            key, revision = await self._alive(reference)
            scopes = msgspec.structs.replace(key.scopes, **given)
            changed = msgspec.structs.replace(key, scopes=scopes, **own)
            end = own.get("expires_at")
            scopes = self._checked(changed.name, changed.role, scopes, end, self._clock.now())
            write = Statement(
                "UPDATE api_keys SET name = $1, role = $2, scopes = $3, expires_at = $4 WHERE id = $5",
                (changed.name, changed.role, _encoded(scopes), changed.expires_at, key.id),
            )
            try:
                await self._database.transaction([_moved(key.id, revision), write, bump(KEYS)])
            except Conflict:
                if changed.name != key.name:
                    await self._refuse_taken(changed.name)
                continue
            return await self._changed(key.id)
        raise Conflict("Others change this key at the same time; try again.")

    async def known(self) -> Known:
        rows = await self._database.fetch(
            "SELECT s.prefix, s.digest, k.id, k.role, k.scopes, s.expires_at, k.expires_at"
            " FROM api_key_secrets s JOIN api_keys k ON k.id = s.key_id WHERE k.revoked_at IS NULL"
        )
        if rows:
            try:
                await self._ready()
            except EnvelopeError as error:  # the keys are void, and everything else goes on
                log.error("No stored API key can be verified. %s", error.message)
                self._digests = Digests(os.urandom(32))
        (count,) = (await self._database.fetch("SELECT COUNT(*) FROM api_keys"))[0]
        secrets = await asyncio.to_thread(_live, rows) if len(rows) > MANY else _live(rows)
        return Known(secrets=secrets, keys=int(count))

    async def used(self, at: Mapping[str, float]) -> None:
        later = "UPDATE api_keys SET last_used_at = $1 WHERE id = $2 AND (last_used_at IS NULL OR last_used_at < $1)"
        # In one order everywhere, so that two processes do not wait for each other's rows.
        await self._database.transaction([Statement(later, (at[key_id], key_id)) for key_id in sorted(at)])

    def _secret(self, token: str, key_id: str, by: str, now: float) -> Statement:
        return Statement(
            "INSERT INTO api_key_secrets (prefix, key_id, digest, created_at, created_by) VALUES ($1, $2, $3, $4, $5)",
            (prefix_of(token.encode()), key_id, self.digest(token.encode()), now, by),
        )

    async def _changed(self, key_id: str) -> ApiKey:
        if self._on_change is not None:
            with contextlib.suppress(StoreError):  # the change is kept; every process will see it
                await self._on_change()
        return await self.get(key_id)

    async def _find(self, reference: str) -> tuple[ApiKey, int]:
        """The key, and its revision."""
        rows = (
            reference.isprintable()
            and await self._database.fetch(  # NUL is nothing that Postgres would look for
                _SELECT + " WHERE id = $1 OR name = $1"
                " ORDER BY CASE WHEN id = $1 THEN 0 WHEN revoked_at IS NULL THEN 1 ELSE 2 END, created_at DESC LIMIT 1",
                reference,
            )
        )
        if not rows:
            raise NotFound(f"There is no API key {reference[:100]!r}; `pointsman keys` lists them.")
        secrets = await self._database.fetch(
            "SELECT prefix, created_at, created_by, expires_at FROM api_key_secrets WHERE key_id = $1"
            " ORDER BY created_at DESC",
            rows[0][0],
        )
        return _api_key(rows[0], [_key_secret(row) for row in secrets]), rows[0][-1]

    async def _alive(self, reference: str) -> tuple[ApiKey, int]:
        key, revision = await self._find(reference)
        if key.revoked_at is not None:
            raise InvalidRequest(f"The key {key.name!r} ({key.id}) was revoked; make another one.")
        return key, revision

    async def _refuse_taken(self, name: str) -> None:
        if await self._database.fetch("SELECT 1 FROM api_keys WHERE name = $1 AND revoked_at IS NULL", name):
            raise InvalidRequest(
                f"There is a key {name!r} already: choose another name, revoke that one, or rotate it.", param="name"
            )

    def _checked(self, name: str, role: str, scopes: Scopes, expires_at: float | None, now: float) -> Scopes:
        """The scopes in the form that is kept. Raises InvalidRequest."""
        if not (0 < len(name) <= 100 and name.isprintable() and name == name.strip()) or name.startswith("key_"):
            raise InvalidRequest(
                "A key's name has 1 to 100 printable characters, no spaces around, and does not begin with `key_`.",
                param="name",
            )
        if role not in ROLES:
            raise InvalidRequest(f"The role is one of {', '.join(ROLES)}.", param="role")
        if expires_at is not None and not now < expires_at < 2**36:
            raise InvalidRequest("A key's end must lie in the future.", param="expires_at")
        for field in ("models", "endpoints", "networks"):
            if len(getattr(scopes, field)) > MOST:
                raise InvalidRequest(f"At most {MOST} entries are possible.", param=field)
        if not all(0 < len(model) <= 200 and model.isprintable() for model in scopes.models):
            raise InvalidRequest("A model is an id, a name or a pattern such as `ollama:*`.", param="models")
        unknown = next((endpoint for endpoint in scopes.endpoints if endpoint not in ENDPOINTS), None)
        if unknown is not None:
            raise InvalidRequest(f"{unknown[:50]!r} is none of {', '.join(ENDPOINTS)}.", param="endpoints")
        if scopes.tier is not None and self._tiers and scopes.tier not in self._tiers:
            raise InvalidRequest(f"There is no tier {scopes.tier[:50]!r}, only {', '.join(self._tiers)}.", param="tier")
        for field in ("daily_micro_usd", "monthly_micro_usd"):
            cap = getattr(scopes, field)
            if cap is not None and not 0 <= cap <= MOST_MICRO_USD:
                raise InvalidRequest("A budget is at least 0 and at most a billion dollars.", param=field)
        if scopes.priority is not None and scopes.priority not in get_args(Priority):
            raise InvalidRequest(f"The priority is one of {', '.join(get_args(Priority))}.", param="priority")
        return msgspec.structs.replace(scopes, networks=tuple(_network(network) for network in scopes.networks))


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        raise InvalidRequest(
            f"{text[:60]!r} is neither an address nor a network such as 10.0.0.0/8.", param="networks"
        ) from None


def _moved(key_id: str, revision: int) -> Statement:
    """Counts a change, and undoes it when another one came first."""
    sql = "UPDATE api_keys SET revision = revision + 1 WHERE id = $1 AND revision = $2 AND revoked_at IS NULL"
    return Statement(sql, (key_id, revision), expect=1)


def _encoded(scopes: Scopes) -> str:
    return msgspec.json.encode(scopes).decode()


_scopes = msgspec.json.Decoder(Scopes)


def _live(rows: Sequence[Row]) -> list[LiveSecret]:
    decoded: dict[str, Scopes] = {}
    found = []
    for prefix, digest, key_id, role, scopes, secret_ends, key_ends in rows:
        bounds = decoded.get(scopes)
        if bounds is None:
            bounds = decoded[scopes] = _scopes.decode(scopes)
        ends = [end for end in (secret_ends, key_ends) if end is not None]
        found.append(
            LiveSecret(
                prefix=prefix,
                digest=bytes(digest),
                key_id=key_id,
                role=role,
                scopes=bounds,
                expires_at=min(ends, default=None),
            )
        )
    return found


def _key_secret(row: Sequence[Any]) -> KeySecret:
    prefix, created_at, created_by, expires_at = row
    return KeySecret(prefix=prefix, created_at=created_at, created_by=created_by, expires_at=expires_at)


def _api_key(row: Row, secrets: Sequence[KeySecret]) -> ApiKey:
    key_id, name, role, scopes, created_at, created_by, expires_at, revoked_at, revoked_by, last_used_at, _ = row
    return ApiKey(
        id=key_id,
        name=name,
        role=role,
        scopes=_scopes.decode(scopes),
        created_at=created_at,
        created_by=created_by,
        expires_at=expires_at,
        revoked_at=revoked_at,
        revoked_by=revoked_by,
        last_used_at=last_used_at,
        secrets=tuple(secrets),
    )
