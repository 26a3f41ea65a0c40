"""Who may ask at all: API keys, and the guard that keeps web pages from driving an open loopback port.

A page in the user's browser can send requests to 127.0.0.1. Three checks stop it: the Host header must name this
machine (a DNS-rebinding page carries its own name), an Origin must be on the allow-list (browsers send it with every
cross-site POST), and a body must be declared as JSON (a form or a `no-cors` fetch cannot do that without a preflight,
which is never granted to an origin off the list).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable

from pointsman.core.caller import Caller
from pointsman.core.errors import Forbidden, InvalidRequest, Unauthenticated
from pointsman.core.knock import Knock

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Access:
    """Admits a request or says why not. Holds digests of the keys, never the keys."""

    def __init__(
        self, *, api_keys: Iterable[str], hosts: Iterable[str], origins: Iterable[str], any_host: bool
    ) -> None:
        """
        Args:
            api_keys: keys that callers must send; none means that the port is open to whoever reaches it.
            hosts: names that the Host header may carry beside loopback ones.
            origins: web origins that may call, as `https://app.example`.
            any_host: whether the Host header is not checked, for a listener beyond loopback. Where no key is asked for,
                a name must still be on the list: rebinding needs a name, an address proves itself.
        """
        self._digests = {_digest(key): f"key_{_digest(key).hex()[:12]}" for key in api_keys}
        self._hosts = LOOPBACK_NAMES | {host.lower() for host in hosts}
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._any_host = any_host and bool(self._digests)
        self._any_address = any_host

    def check(self, knock: Knock) -> Caller:
        """Admit one request.

        Raises:
            Forbidden: a foreign Host or Origin.
            InvalidRequest: a body that is not declared as JSON.
            Unauthenticated: a key is needed and none of ours was sent.
        """
        host, origin = knock.host, knock.origin
        if not self._any_host and not self._known_host(host):
            raise Forbidden(
                "The Host header does not name this machine. If a proxy stands in front, add its name to"
                " server.allowed_hosts.",
                code="host_not_allowed",
            )
        if origin is not None and not self.allows_origin(origin, host):
            raise Forbidden(
                "Web pages of this origin may not call the gateway. Add it to server.allowed_origins to allow it.",
                code="origin_not_allowed",
            )
        # A link may lead here; a picture or script of a foreign page may not even learn whether it would load.
        followed = knock.method in ("GET", "HEAD") and knock.fetch_mode == b"navigate"
        if origin is None and knock.fetch_site in (b"cross-site", b"same-site") and not followed:
            raise Forbidden("Cross-site requests are not allowed.", code="origin_not_allowed")
        if knock.method == "POST" and not _is_json(knock.content_type):
            raise InvalidRequest("Send the body with `Content-Type: application/json`.", code="content_type_not_json")
        if not self._digests:
            return Caller()
        sent = _bearer(knock.authorization) or knock.api_key
        if sent is not None:
            found = None
            digest = _digest(sent.decode("latin-1"))
            for known, key_id in self._digests.items():  # every one is compared, each in constant time
                if hmac.compare_digest(known, digest):
                    found = key_id
            if found is not None:
                return Caller(key_id=found, admin=False)
        raise Unauthenticated()

    def allows_origin(self, origin: bytes, host: bytes | None = None) -> bool:
        """Whether pages of this origin may call: those on the list, and the gateway's own."""
        text = origin.decode("latin-1").lower()
        if text in self._origins:
            return True
        scheme, _, authority = text.partition("://")
        return scheme in ("http", "https") and host is not None and authority == host.decode("latin-1").lower()

    def _known_host(self, host: bytes | None) -> bool:
        if host is None:
            return False
        name = _host_of(host.decode("latin-1").lower())
        return name in self._hosts or (self._any_address and _is_address(name))


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


def _is_json(content_type: bytes | None) -> bool:
    if content_type is None:
        return False
    essence = content_type.partition(b";")[0].strip().lower()
    return essence == b"application/json" or essence.endswith(b"+json")


def _bearer(authorization: bytes | None) -> bytes | None:
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" and token.strip() else None


def _digest(key: str) -> bytes:
    # The keys are random and long, so that a plain digest serves to compare them; it is never stored.
    return hashlib.sha256(key.encode()).digest()
