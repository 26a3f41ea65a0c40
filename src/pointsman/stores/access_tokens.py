"""Access tokens: JWTs (RFC 9068) that say who asks, checked without the database.

Signed with HS256 under a key derived from the installation's secret: only gateways read these tokens, and all of them
have the secret. What has changed since a token was made (a role, a disabled user, an ended session) stands in a
snapshot that every process reloads within a second.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from pointsman.core.caller import UNBOUND, Caller, EndpointClass, Scopes
from pointsman.core.ports import Clock

from .database import Database
from .secret_key import SecretKey
from .users import UserRole

if TYPE_CHECKING:
    from joserfc.jwk import OctKey

AUDIENCE = "pointsman"
TYPE = "at+jwt"
MAX_LENGTH = 4096
REMEMBERED = 10_000
"""Tokens whose signature need not be checked again."""
SKEW = 60.0
"""Seconds by which the clocks of two replicas may differ."""
ENDED = 3600.0
"""Seconds for which sessions that ended are known beyond the life of their tokens: a gateway whose clock is slower than
it may be can end one all the same."""

SCOPES: Mapping[EndpointClass, str] = {
    "chat": "Send prompts to models",
    "embeddings": "Make embeddings",
    "models": "See which models there are",
    "feedback": "Rate answers",
    "decisions": "See your decisions, and prompts where they are kept",
    "usage": "See what you have used and what it cost",
    "admin": "Administer the gateway: keys, users, settings",
}
"""What an application can be granted, in words for the person who grants it."""

ALLOWED: Mapping[UserRole, frozenset[EndpointClass]] = {
    "admin": frozenset(SCOPES),
    "member": frozenset(SCOPES) - {"admin"},
    "viewer": frozenset(SCOPES) - {"admin", "chat", "embeddings"},
}


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """What a valid access token says."""

    user_id: str
    name: str
    role: UserRole
    session_id: str
    client_id: str | None
    scope: str
    expires_at: float
    caller: Caller


class _Person(msgspec.Struct, frozen=True):
    name: str
    role: UserRole
    disabled: bool


class Sessions:
    """Makes and checks access tokens. `reload` is for a `Watcher`, under the name `users`."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        secret_keys: Sequence[SecretKey],
        issuer: str,
        lifetime: float,
        age: Callable[[], float],
        stale_grace: float,
    ) -> None:
        """
        Args:
            secret_keys: the current secret, then the previous one during a rotation.
            issuer: what `iss` says; the same for all replicas.
            lifetime: seconds that a token is good for.
            age: seconds since the snapshot was last known to be current.
            stale_grace: up to which age it is believed.
        """
        self._database = database
        self._clock = clock
        self._signing = [secret.derive("sessions") for secret in secret_keys]
        self._csrf = [secret.derive("csrf") for secret in secret_keys]
        self._issuer = issuer
        self.lifetime = lifetime
        self._age = age
        self._stale_grace = stale_grace
        self._people: dict[str, _Person] = {}
        self._ended: frozenset[str] = frozenset()
        self._known: dict[bytes, SignedIn] = {}
        self._begun = self._read = 0
        self._keys: list[OctKey] | None = None

    @property
    def anybody(self) -> bool:
        """Whether there are users: an open port is then no longer open."""
        return bool(self._people)

    async def reload(self) -> None:
        """Read the snapshot: every user, and sessions that ended while their tokens may still live.

        Of two that overlap, the one that began later counts: an answer that was slow must not bring back what ended.
        """
        self._begun += 1
        begun = self._begun
        people = await self._database.fetch("SELECT id, name, role, disabled FROM users")
        ended = await self._database.fetch(
            "SELECT id FROM sessions WHERE ended_at > $1", self._clock.now() - self.lifetime - ENDED
        )
        if begun < self._read:
            return
        self._read = begun
        self._people = {id: _Person(name, role, bool(disabled)) for id, name, role, disabled in people}
        self._ended = frozenset(str(id) for (id,) in ended)
        self._known.clear()

    def issue(
        self, user_id: str, role: str, session_id: str, *, client_id: str | None = None, scope: str = "",
        ends_at: float | None = None,
    ) -> str:  # fmt: skip
        """A token for a session, which it does not outlive where `ends_at` says when that is over."""
        from joserfc import jwt

        now = int(self._clock.now())
        end = now + int(self.lifetime)
        claims: dict[str, Any] = {
            "iss": self._issuer, "aud": AUDIENCE, "sub": user_id, "sid": session_id, "jti": secrets.token_hex(12),
            "iat": now, "nbf": now, "exp": end if ends_at is None else min(end, int(ends_at)),
            "role": role, "scope": scope,
        }  # fmt: skip
        if client_id is not None:
            claims["client_id"] = client_id
        return jwt.encode({"alg": "HS256", "typ": TYPE}, claims, self._oct_keys()[0], algorithms=["HS256"])

    def caller(self, token: str) -> Caller | None:
        """Who sends this token; None when it is none of ours, expired, or its session has ended."""
        found = self.read(token)
        return found.caller if found is not None else None

    def read(self, token: str) -> SignedIn | None:
        """What a token says; None when it is none of ours, expired, or its session has ended."""
        if not 20 < len(token) <= MAX_LENGTH or token.count(".") != 2 or self._age() > self._stale_grace:
            return None
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = self._known.get(digest)
        if found is None:
            found = self._verify(token)
            if found is None:
                return None
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[digest] = found
        return found if found.expires_at > self._clock.now() else None

    def csrf_token(self, session_id: str) -> str:
        """What forms and scripts of this session must send along."""
        return hmac.digest(self._csrf[0], session_id.encode(), "sha256").hex()

    def csrf_ok(self, token: str, header: bytes | None) -> bool:
        """Whether a request with this token in its cookie may change something."""
        found = self.read(token)
        return found is not None and header is not None and self.csrf_fits(found.session_id, header)

    def csrf_fits(self, session_id: str, sent: bytes) -> bool:
        """Whether this is the session's CSRF token; in constant time."""
        expected = [hmac.digest(key, session_id.encode(), "sha256").hex().encode() for key in self._csrf]
        return sum(hmac.compare_digest(one, sent) for one in expected) > 0

    def _oct_keys(self) -> list[OctKey]:
        if self._keys is None:
            from joserfc.jwk import OctKey

            self._keys = [OctKey.import_key(key) for key in self._signing]
        return self._keys

    def _verify(self, token: str) -> SignedIn | None:
        from joserfc import jwt
        from joserfc.errors import BadSignatureError, JoseError

        decoded = None
        for key in self._oct_keys():
            try:
                decoded = jwt.decode(token, key, algorithms=["HS256"])
                break
            except BadSignatureError:
                continue
            except (JoseError, ValueError, TypeError, RecursionError):
                return None
        if decoded is None or decoded.header.get("typ") != TYPE:
            return None
        rules = jwt.JWTClaimsRegistry(
            now=int(self._clock.now()),
            leeway=int(SKEW),
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
            nbf={"essential": True},
            iat={"essential": True},
            jti={"essential": True},
            sub={"essential": True},
            sid={"essential": True},
        )
        try:
            rules.validate(decoded.claims)
            claims = msgspec.convert(decoded.claims, _Claims)
        except (JoseError, msgspec.ValidationError, ValueError, TypeError):
            return None
        return self._signed_in(claims)

    def _signed_in(self, claims: _Claims) -> SignedIn | None:
        person = self._people.get(claims.sub)
        if person is None or person.disabled or claims.sid in self._ended:
            return None
        return SignedIn(
            user_id=claims.sub,
            name=person.name,
            role=person.role,
            session_id=claims.sid,
            client_id=claims.client_id,
            scope=claims.scope,
            expires_at=claims.exp,
            caller=caller_for(claims.sub, person.role, claims.scope),
        )


class _Claims(msgspec.Struct):
    sub: str
    sid: str
    exp: float
    scope: str = ""
    client_id: str | None = None


def caller_for(user_id: str, role: UserRole, scope: str) -> Caller:
    """The caller that a user is, through an application of this scope ('' : with all that the role allows)."""
    granted = tuple(scope.split())
    admin = role == "admin" and (not granted or "admin" in granted)
    # An admin's application that was not granted `admin` sees what belongs to the user, and no more.
    acts_as: UserRole = "member" if role == "admin" and not admin else role
    scopes = Scopes(endpoints=granted) if granted else UNBOUND
    return Caller(key_id=user_id, user_id=user_id, admin=admin, role=acts_as, scopes=scopes)


def allowed_scope(role: UserRole, wanted: Sequence[str]) -> str:
    """What of the wanted scopes a user of this role can grant."""
    return " ".join(dict.fromkeys(name for name in wanted if cast("EndpointClass", name) in ALLOWED[role]))
