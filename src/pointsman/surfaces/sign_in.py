"""Signing in, as the pages and the API share it: sessions begin, are refreshed and end; cookies; guards."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from pointsman.core.errors import Forbidden, InvalidRequest, Unauthenticated
from pointsman.core.ports import Clock
from pointsman.stores.access_tokens import Sessions, SignedIn
from pointsman.stores.clients import Clients
from pointsman.stores.keyed_hash import KeyedHash
from pointsman.stores.passwords import Passwords
from pointsman.stores.sessions import Begun, Families
from pointsman.stores.users import User, Users
from pointsman.transport.http import HttpRequest

PUBLIC_PATHS = (
    "/sign-in",
    "/sign-out",
    "/setup",
    "/set-password",
    "/account",
    "/account/",
    "/oauth/",
    "/.well-known/oauth-authorization-server",
    "/api/v1/auth/sign-in",
    "/api/v1/auth/refresh",
    "/api/v1/auth/sign-out",
)
"""Paths that the front door lets everybody reach, with forms too: they find out themselves who asks."""

TAB_LEEWAY = 10.0
"""Seconds for which a refresh cookie that was just replaced still admits: two tabs may send it at once."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """A session's tokens as they are handed out."""

    access_token: str
    refresh_token: str | None
    """None: the one that the browser has, or is about to get, goes on."""
    session_id: str
    session_ends_at: float
    user: User

    def __repr__(self) -> str:
        return f"Tokens({self.session_id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The tables, without sessions: what the command line needs."""

    users: Users
    clients: Clients
    families: Families
    passwords: Passwords


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """What the pages and endpoints of signing in need."""

    users: Users
    families: Families
    clients: Clients
    sessions: Sessions
    forms: KeyedHash
    """Makes tokens for forms that are shown before anybody has signed in."""
    clock: Clock
    look: Callable[[], Coroutine[Any, Any, None]]
    """Loads what has changed, so that a change of this process holds before it is answered."""
    public_url: str | None
    """The address that browsers reach the gateway under; None: whatever loopback address they used."""
    is_open: Callable[[], bool]
    """Whether whoever reaches the port is let in without a key."""
    secure: bool
    """Whether browsers come over TLS: cookies are then sent over nothing else."""

    async def sign_in(self, name: str, password: str, *, peer: str, agent: str) -> Tokens:
        """Begin a session.

        Raises:
            Unauthenticated: name or password are wrong.
            RateLimited: too many attempts failed.
        """
        known = await self.families.knows(name, peer)
        user = await self.users.check(name, password, peer, known=known)
        return await self.begin(user, peer=peer, agent=agent)

    async def begin(self, user: User, *, peer: str, agent: str) -> Tokens:
        """Begin a session for a user who has proven who they are."""
        begun = await self.families.begin(user.id, agent=agent, peer=peer)
        await self.look()
        return self.tokens(begun, user)

    async def refresh(self, refresh_token: str, *, leeway: float = 0.0) -> Tokens:
        """Use a refresh token up for new tokens.

        Raises:
            Unauthenticated: it is unknown, belongs to an application, was used before, or its session is over.
        """
        over = Unauthenticated("The session is over: sign in again.", code="session_ended")
        record = await self.families.read(refresh_token)
        if record is None or record.session.client_id is not None:
            raise over
        begun = await self.families.rotate(record, leeway=leeway)
        if begun is None:
            await self.look()
            raise over
        user = await self.users.find(begun.session.user_id)
        if user.disabled:
            raise over
        return self.tokens(begun, user)

    async def end(self, session_id: str, reason: str = "signed_out", *, user_id: str | None = None) -> bool:
        ended = await self.families.end(session_id, reason, user_id=user_id)
        await self.look()
        return ended

    def tokens(self, begun: Begun, user: User, *, scope: str | None = None) -> Tokens:
        session = begun.session
        return Tokens(
            access_token=self.sessions.issue(
                user.id, user.role, session.id, client_id=session.client_id,
                scope=session.scope if scope is None else scope, ends_at=session.expires_at,
            ),
            refresh_token=begun.refresh_token,
            session_id=session.id,
            session_ends_at=session.expires_at,
            user=user,
        )  # fmt: skip

    def person(self, access_token: str | None) -> SignedIn | None:
        """Who has signed in to the gateway itself with this cookie; an application's token is worth nothing here."""
        found = self.sessions.read(access_token) if access_token else None
        return found if found is not None and found.client_id is None else None

    def page_for(self, request: HttpRequest) -> str | None:
        """Where a browser goes that asked for this without being signed in; None as long as there are no users."""
        if not self.sessions.anybody:
            return None
        query = f"?{request.query.decode('latin-1')}" if request.query else ""
        return sign_in_path(quote(request.path, safe="/") + query)

    # -- cookies --

    def cookie_name(self, kind: str) -> str:
        """`__Host-` binds a cookie to this host, this path and TLS; browsers refuse it without TLS."""
        return f"{'__Host-' if self.secure else ''}pointsman_{kind}"

    def cookie(self, kind: str, value: str, max_age: float) -> str:
        """A `Set-Cookie` value. `max_age` in seconds; 0 deletes."""
        secure = "; Secure" if self.secure else ""
        return (
            f"{self.cookie_name(kind)}={value}; Path=/; Max-Age={max(0, int(max_age))}; HttpOnly; SameSite=Lax{secure}"
        )

    def cookies(self, tokens: Tokens) -> list[str]:
        """`Set-Cookie` values for a session's tokens."""
        made = [self.cookie("session", tokens.access_token, self.sessions.lifetime)]
        if tokens.refresh_token is not None:
            made.append(self.cookie("refresh", tokens.refresh_token, tokens.session_ends_at - self.clock.now()))
        return made

    def no_cookies(self) -> list[str]:
        return [self.cookie("session", "", 0), self.cookie("refresh", "", 0)]

    # -- guards --

    def new_visitor(self) -> str:
        """A random name for a browser that has not signed in, kept in a cookie: its forms are bound to it."""
        return secrets.token_urlsafe(18)

    def form_token(self, visitor: str) -> str:
        """What forms must send along that are shown before anybody has signed in."""
        return self.forms.new(visitor)

    def form_fits(self, visitor: str | None, sent: str) -> bool:
        return bool(visitor) and self.forms.matches(visitor or "", sent)

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """
        Raises:
            Forbidden: a form of another site was sent here.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        foreign = Forbidden("This form was not sent from the gateway's own page.", code="origin_not_allowed")
        if origin is None:
            if site not in (None, "same-origin", "none"):
                raise foreign
            return
        if self.public_url is not None and origin.lower() == origin_of(self.public_url):
            return
        scheme, _, authority = origin.lower().partition("://")
        if scheme not in ("http", "https") or authority != headers.get("host", "").lower():
            raise foreign

    def address(self, headers: Mapping[str, str]) -> str:
        """The address that clients know this gateway under, without a slash at its end: the OAuth issuer.

        Raises:
            InvalidRequest: it is not known, because the gateway was reached under a name that proves nothing.
        """
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        host = headers.get("host", "").lower()
        if _host_name(host) not in LOOPBACK_NAMES:
            raise InvalidRequest(
                "Set security.public_url to the address that browsers reach this gateway under.", code="no_public_url"
            )
        return f"{'https' if self.secure else 'http'}://{host}"

    def may_set_up(self, peer: str | None, headers: Mapping[str, str]) -> bool:
        """Whether a visitor may make the first admin without a code: whoever is at this machine while the port is open.

        Where a key is needed, another user of the machine must not become the admin who has none.
        """
        return self.is_open() and self.is_at_this_machine(peer, headers)

    def is_at_this_machine(self, peer: str | None, headers: Mapping[str, str]) -> bool:
        """Whether a request surely comes from this machine: not through a proxy that runs on it."""
        try:
            near = ipaddress.ip_address(peer or "").is_loopback
        except ValueError:
            return False
        passed_on = any(name in headers for name in ("forwarded", "x-forwarded-for", "x-forwarded-host", "via"))
        return near and not passed_on and _host_name(headers.get("host", "").lower()) in LOOPBACK_NAMES


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def sign_in_path(target: str) -> str:
    """The page to sign in at, which leads on to `target`."""
    return f"/sign-in?next={quote(target, safe='/')}"


def safe_next(target: str | None) -> str:
    """Where to go after signing in: a path of this gateway, and nothing that a browser could take for another host."""
    fallback = "/account"
    if not target or len(target) > 4000 or not target.startswith("/") or not target.isascii():
        return fallback
    if not target.isprintable() or "\\" in target or " " in target:
        return fallback
    path = target.partition("?")[0]
    # `//host` is another host, and so would `/..//host` be once the browser has resolved the dots.
    return fallback if "//" in path or "/." in path or "%2f%2f" in path.lower() or "%5c" in path.lower() else target


def same(one: str, other: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def _host_name(authority: str) -> str:
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.rpartition(":")[0] if ":" in authority else authority
