"""Applications that users sign in to through this gateway (OAuth clients)."""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
import unicodedata
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from pointsman.core.errors import InvalidRequest, NotFound
from pointsman.core.ports import Clock

from .access_tokens import SCOPES
from .database import Database, Row
from .keyed_hash import KeyedHash

SELECT = "SELECT id, name, redirect_uris, scopes, secret, first_party, created_at FROM oauth_clients"


class OAuthClient(msgspec.Struct, frozen=True, kw_only=True):
    """A registered application."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...]
    """What it may ask for."""
    secret_hash: str | None
    """None: a public client (an app in a browser, on a phone or a desktop), which proves itself with PKCE alone."""
    first_party: bool
    """Whether it is the operator's own, for which users are not asked to consent."""
    created_at: float

    def allows_redirect(self, uri: str) -> bool:
        """Whether answers may go to `uri`: exactly a registered one; at a loopback address on any port (RFC 8252)."""
        return uri in self.redirect_uris or any(
            _without_port(uri) == _without_port(known) is not None for known in self.redirect_uris
        )


class Clients:
    """The table of applications. All methods raise StoreError when the database is away."""

    def __init__(self, *, database: Database, clock: Clock, hashed: KeyedHash) -> None:
        self._database = database
        self._clock = clock
        self._hashed = hashed

    async def add(
        self, name: str, *, redirect_uris: Sequence[str], scopes: Sequence[str], confidential: bool = False,
        first_party: bool = False,
    ) -> tuple[OAuthClient, str | None]:  # fmt: skip
        """Register an application; returns it with its secret, which is shown here alone.

        Raises:
            InvalidRequest: a name, redirect URI or scope cannot be used.
        """
        name = unicodedata.normalize("NFC", name).strip()
        if not 1 <= len(name) <= 100 or any(unicodedata.category(character)[0] == "C" for character in name):
            raise InvalidRequest("An application's name has 1 to 100 printable characters.", param="name")
        if not redirect_uris:
            raise InvalidRequest("Name at least one redirect URI.", param="redirect_uris")
        for uri in redirect_uris:
            check_redirect_uri(uri)
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise InvalidRequest(
                f"{', '.join(unknown) or 'None'} is no scope; there are {', '.join(SCOPES)}.", param="scopes"
            )
        secret = secrets.token_urlsafe(32) if confidential else None
        client = OAuthClient(
            id=f"client_{secrets.token_hex(8)}", name=name, redirect_uris=tuple(dict.fromkeys(redirect_uris)),
            scopes=tuple(dict.fromkeys(scopes)), secret_hash=self._hashed.new(secret) if secret else None,
            first_party=first_party, created_at=self._clock.now(),
        )  # fmt: skip
        await self._database.execute(
            "INSERT INTO oauth_clients (id, name, redirect_uris, scopes, secret, first_party, created_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            client.id, client.name, json.dumps(client.redirect_uris), json.dumps(client.scopes), client.secret_hash,
            int(first_party), client.created_at,
        )  # fmt: skip
        return client, secret

    async def get(self, client_id: str) -> OAuthClient | None:
        rows = await self._database.fetch(SELECT + " WHERE id = $1", client_id)
        return _client(rows[0]) if rows else None

    async def everyone(self) -> list[OAuthClient]:
        rows = await self._database.fetch(SELECT + " ORDER BY name, id")
        return [_client(row) for row in rows]

    async def remove(self, client_id: str) -> list[str]:
        """Remove an application; returns the ids of its sessions, which the caller must end.

        Raises:
            NotFound: there is no such application.
        """
        if not await self._database.execute("DELETE FROM oauth_clients WHERE id = $1", client_id):
            raise NotFound("There is no such application. `pointsman clients list` shows them.", param="client")
        rows = await self._database.fetch(
            "SELECT id FROM sessions WHERE client_id = $1 AND ended_at IS NULL", client_id
        )
        return [str(id) for (id,) in rows]

    def secret_fits(self, client: OAuthClient, secret: str) -> bool:
        """In constant time."""
        return client.secret_hash is not None and self._hashed.matches(secret, client.secret_hash)


def check_redirect_uri(uri: str) -> None:
    """
    Raises:
        InvalidRequest: answers must not be sent there.
    """
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidRequest(f"{uri!r} is no address.", param="redirect_uris") from None
    mend = ""
    if not uri.isascii() or not uri.isprintable() or re.search(r"[\s\"'<>\\;,*]", uri):
        mend = "holds characters that do not belong in an address"
    elif "#" in uri:
        mend = "must not have a fragment"
    elif parts.username is not None or parts.password is not None:
        mend = "must not name a user"
    elif parts.scheme == "http" and not _is_loopback(host):
        mend = "must be https; http is for loopback addresses alone"
    elif parts.scheme in ("http", "https") and not host:
        mend = "names no host"
    elif parts.scheme not in ("http", "https") and "." not in parts.scheme:
        mend = "must be https, a loopback address, or a scheme of the app's own like com.example.app:/callback"
    if mend:
        raise InvalidRequest(f"The redirect URI {uri!r} {mend}.", param="redirect_uris")


def _is_loopback(host: str | None) -> bool:
    """RFC 8252, section 7.3: the addresses, and the name that is common in practice."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _without_port(uri: str) -> str | None:
    """A loopback address without its port; None for any other."""
    try:
        parts = urlsplit(uri)
        if parts.scheme != "http" or not _is_loopback(parts.hostname) or "#" in uri or "@" in parts.netloc:
            return None
        _ = parts.port
    except ValueError:
        return None
    if not uri.isascii() or not uri.isprintable():
        return None
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"http://{host}{uri[len('http://') + len(parts.netloc) :]}"


def _client(row: Row) -> OAuthClient:
    id, name, redirect_uris, scopes, secret, first_party, created_at = row
    return OAuthClient(
        id=id, name=name, redirect_uris=tuple(json.loads(redirect_uris)), scopes=tuple(json.loads(scopes)),
        secret_hash=secret, first_party=bool(first_party), created_at=created_at,
    )  # fmt: skip
