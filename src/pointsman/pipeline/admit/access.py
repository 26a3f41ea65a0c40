"""Who may ask at all: keys, sessions, and the guard that keeps web pages from driving an open loopback port.

A page in the user's browser can send requests to 127.0.0.1. Three checks stop it: the Host header must name this
machine (a DNS-rebinding page carries its own name), an Origin must be on the allow-list (browsers send it with every
cross-site POST), and a body must be declared as JSON (a form or a `no-cors` fetch cannot do that without a preflight,
which is never granted to an origin off the list).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Iterable
from typing import Protocol
from urllib.parse import unquote_to_bytes

from pointsman.core.caller import Caller
from pointsman.core.errors import Forbidden, InvalidRequest, Unauthenticated
from pointsman.core.knock import Knock, Screened

from .keys import KeyDirectory, address_of

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
MOST_SEEN_HOSTS = 64
LONGEST = 8192
"""Bytes of the longest credential that is looked at."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
ASKING = frozenset({"chat", "embeddings"})
"""Classes of endpoints at which a POST asks a model."""
ANONYMOUS = Caller(admin=False, role="anonymous")
LOCAL_USER = Caller()


class Sessions(Protocol):
    """Who has signed in."""

    def caller(self, token: str) -> Caller | None:
        """Who bears this token, as a Bearer or in the cookie; None when it is worth nothing (any more)."""

    def csrf_ok(self, token: str, header: bytes | None) -> bool:
        """Whether the `x-csrf-token` of a request belongs to its session."""


class Access:
    """Admits a request or says why not. Holds digests of the settings' keys, never the keys."""

    def __init__(
        self,
        *,
        api_keys: Iterable[str],
        hosts: Iterable[str],
        origins: Iterable[str],
        any_host: bool,
        admin_keys: Iterable[str] = (),
        directory: KeyDirectory | None = None,
        sessions: Sessions | None = None,
        occupied: Callable[[], bool] = lambda: False,
        is_local_admin: Callable[[bytes], bool] = lambda token: False,
        public: Iterable[str] = (),
        may_be_open: bool = True,
        cookie: str = "pointsman_session",
    ) -> None:
        """
        Args:
            api_keys: keys of the settings; their bearers are no admins.
            hosts: names that the Host header may carry beside loopback ones.
            origins: web origins that may call, as `https://app.example`.
            any_host: whether the Host header is not checked, for a listener beyond loopback. Where no key is asked for,
                a name must still be on the list: rebinding needs a name, an address proves itself.
            admin_keys: keys of the settings whose bearers are admins.
            directory: the stored keys.
            occupied: whether there are users, so that the port is not open even without a key.
            is_local_admin: whether a token is one that the command line on this machine makes for itself.
            public: paths for everybody, from whom forms are taken; one that ends in `/` stands for all below it.
            may_be_open: whether everybody is let in as long as there is neither a key nor a user.
            cookie: the name of the cookie that holds a session's token.
        """
        self._digests = {_digest(key): _configured(key, admin=False) for key in api_keys}
        self._digests |= {_digest(key): _configured(key, admin=True) for key in admin_keys}
        self._directory = directory
        self._sessions = sessions
        self._occupied = occupied
        self._is_local_admin = is_local_admin
        self._public = frozenset(public)
        self._public_below = tuple(path for path in self._public if path.endswith("/") and path != "/")
        self._hosts = LOOPBACK_NAMES | {host.lower() for host in hosts}
        self._seen_hosts: set[bytes] = set()
        """Host headers that were found to name one of them."""
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._any_host = any_host
        self._may_be_open = may_be_open
        self._cookie = cookie.encode()

    @property
    def asks_for_key(self) -> bool:
        """Whether somebody without a credential is refused."""
        return bool(
            self._digests
            or not self._may_be_open
            or (self._directory is not None and self._directory.any)
            or self._occupied()
        )

    def check(self, knock: Knock) -> Caller:
        """Admit one request.

        Raises:
            Forbidden: a foreign Host or Origin, or something that the key's scopes do not allow.
            InvalidRequest: a body that is not declared as JSON.
            Unauthenticated: a key is needed and none of ours was sent.
            KeysUnavailable: the database has been away for too long to trust what is known of keys.
        """
        if not self._known_host(knock.host):
            raise Forbidden(
                "The Host header does not name this machine. If a proxy stands in front, add its name to"
                " server.allowed_hosts.",
                code="host_not_allowed",
            )
        screened = knock.screened
        if screened is None:
            screened = knock.screened = self._screen(knock)
        if screened.public:
            return ANONYMOUS
        if not self.asks_for_key:
            return LOCAL_USER
        caller = self._caller(knock, screened)
        if caller is not LOCAL_USER:
            _hold_to_scopes(caller, knock)
        return caller

    def _screen(self, knock: Knock) -> Screened:
        """
        Raises:
            Forbidden: a foreign Origin.
            InvalidRequest: a body that is not declared as JSON.
        """
        origin = knock.origin
        if origin is not None and not self.allows_origin(origin, knock.host):
            raise Forbidden(
                "Web pages of this origin may not call the gateway. Add it to server.allowed_origins to allow it.",
                code="origin_not_allowed",
            )
        if origin is None and knock.fetch_site in (b"cross-site", b"same-site") and not _followed(knock):
            raise Forbidden("Cross-site requests are not allowed.", code="origin_not_allowed")
        if self._is_public(knock.path):
            return Screened(public=True)
        if knock.method == "POST" and not _is_json(knock.content_type) and not _as_ollama_is_asked(knock):
            raise InvalidRequest("Send the body with `Content-Type: application/json`.", code="content_type_not_json")
        return Screened(public=False)

    def allows_origin(self, origin: bytes, host: bytes | None = None) -> bool:
        """Whether pages of this origin may call: those on the list, and the gateway's own."""
        text = origin.decode("latin-1").lower()
        if text in self._origins:
            return True
        scheme, _, authority = text.partition("://")
        return scheme in ("http", "https") and host is not None and authority == host.decode("latin-1").lower()

    def _caller(self, knock: Knock, screened: Screened) -> Caller:
        if not screened.searched:
            screened.token = _credential(knock)
            screened.searched = True
        if screened.token is not None:
            caller = self._bearer(screened.token, screened, knock.peer)
            if caller is None:  # which of the three it is, only the owner of the keys is told
                raise Unauthenticated("The API key or token that was sent is unknown, revoked or expired.")
            return caller
        if self._sessions is not None and knock.cookie is not None:
            session = _cookie(knock.cookie, self._cookie)
            caller = self._sessions.caller(session) if session is not None else None
            if session is not None and caller is not None:
                if knock.method not in SAFE and not self._sessions.csrf_ok(session, knock.csrf):
                    raise Forbidden(
                        "Requests that change something with a session's cookie need its `x-csrf-token`.",
                        code="csrf_token_invalid",
                    )
                return caller
        raise Unauthenticated()

    def _bearer(self, token: bytes, screened: Screened, peer: str | None) -> Caller | None:
        if len(token) > LONGEST:
            return None
        if self._digests:
            digest = screened.digest
            if digest is None:
                digest = screened.digest = _digest_of(token)
            found = None
            for known, caller in self._digests.items():  # every one is compared, each in constant time
                if hmac.compare_digest(known, digest):
                    found = caller
            if found is not None:
                return found
        if self._directory is not None:
            admitted = self._directory.admit(token, peer)
            if admitted is not None:
                return admitted
        if self._is_local_admin(token):
            address = address_of(peer)
            return LOCAL_USER if address is not None and address.is_loopback else None
        if self._sessions is not None and token.isascii():
            return self._sessions.caller(token.decode())
        return None

    def _is_public(self, path: str) -> bool:
        return path in self._public or (bool(self._public_below) and path.startswith(self._public_below))

    def _known_host(self, host: bytes | None) -> bool:
        if self._any_host and self.asks_for_key:
            return True
        if host is None:
            return False
        if host in self._seen_hosts:
            return True
        name = _host_of(host.decode("latin-1").lower())
        known = name in self._hosts
        if known and len(self._seen_hosts) < MOST_SEEN_HOSTS:
            self._seen_hosts.add(host)
        return known or (self._any_host and _is_address(name))


def _followed(knock: Knock) -> bool:
    """Whether a person follows a link: a picture or script of a foreign page may not even learn whether it would
    load."""
    return knock.method in ("GET", "HEAD") and knock.fetch_mode == b"navigate"


def _hold_to_scopes(caller: Caller, knock: Knock) -> None:
    """
    Raises:
        Forbidden: this caller may not use this endpoint.
    """
    endpoint, allowed = knock.endpoint, caller.scopes.endpoints
    if allowed and endpoint not in allowed and endpoint != "public":
        raise Forbidden(
            f"This API key is not for endpoints of class {endpoint}, only for {', '.join(allowed)}.",
            code="endpoint_not_allowed",
        )
    if endpoint == "admin":
        caller.require_admin()
    elif endpoint in ASKING and caller.role == "viewer" and knock.method not in SAFE:
        raise Forbidden("A viewer asks no models; use a key of a member.", code="viewer_only")


def _credential(knock: Knock) -> bytes | None:
    """The key or token that was sent, whichever way; None when there is none.

    Raises:
        Unauthenticated: several that differ.
    """
    sent = _bearer_of(knock.authorization)
    if knock.api_key is not None:
        sent = _same(sent, knock.api_key)
    if knock.query and b"api_key=" in knock.query:
        for field in knock.query.split(b"&"):
            if field.startswith(b"api_key="):
                sent = _same(sent, unquote_to_bytes(field[len(b"api_key=") :]))
    return sent


def _same(one: bytes | None, other: bytes) -> bytes:
    if one is not None and not hmac.compare_digest(one, other):
        raise Unauthenticated("Several API keys were sent, and they differ: send one.", code="several_api_keys")
    return other


def _cookie(header: bytes, wanted: bytes) -> str | None:
    """The session's token; None when there is none, or several that differ."""
    found = None
    for pair in header.split(b";"):
        name, _, value = pair.strip().partition(b"=")
        if name == wanted:
            if found is not None and found != value:
                return None
            found = value
    return found.decode() if found and found.isascii() and len(found) <= LONGEST else None


def _host_of(authority: str) -> str:
    """The host of `host[:port]`, brackets kept."""
    if authority.startswith("["):
        name, _, rest = authority.partition("]")
        return name + "]" if not rest or rest.startswith(":") else authority
    return authority.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _as_ollama_is_asked(knock: Knock) -> bool:
    """Whether this is `curl -d` as Ollama's documentation has it, without a content type of its own.

    A page of somebody else's can send such a body too, but no browser sends it without saying from where.
    """
    from_a_page = knock.origin or knock.fetch_site or knock.fetch_mode or knock.cookie
    return knock.path.startswith("/api/") and not knock.path.startswith("/api/v1/") and not from_a_page


def _is_json(content_type: bytes | None) -> bool:
    if content_type is None or content_type == b"application/json":
        return content_type is not None
    essence = content_type.partition(b";")[0].strip().lower()
    return essence == b"application/json" or essence.endswith(b"+json")


def _bearer_of(authorization: bytes | None) -> bytes | None:
    if authorization is None:
        return None
    if authorization.startswith(b"Bearer "):
        return authorization[7:].strip() or None
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" and token.strip() else None


def _configured(key: str, *, admin: bool) -> Caller:
    return Caller(key_id=f"key_{_digest(key).hex()[:12]}", admin=admin, role="admin" if admin else "member")


def _digest(key: str) -> bytes:
    return _digest_of(key.encode())


def _digest_of(key: bytes) -> bytes:
    # The keys are random and long, so that a plain digest serves to compare them; it is never stored.
    return hashlib.sha256(key).digest()
