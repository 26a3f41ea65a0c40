"""Authlib's authorization server over our stores.

Its classes are synchronous, so a request is worked on in a thread, and what needs the database is run on the event
loop. A server is made for each request: it is a few objects, and knows what it answers.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    ClientMixin,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Payload,
    OAuth2Request,
    TokenMixin,
    grants,
)
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9207 import IssuerParameter

from pointsman.core.errors import NotFound
from pointsman.stores.access_tokens import SCOPES, allowed_scope
from pointsman.stores.clients import OAuthClient
from pointsman.stores.sessions import Begun, CodeRecord, RefreshRecord, Session
from pointsman.stores.users import User
from pointsman.surfaces.sign_in import SignIn

from .routes import AUTHENTICATION

T = TypeVar("T")

# Authlib writes whole token answers into its debug log.
logging.getLogger("authlib").setLevel(logging.WARNING)

STORE_SECONDS = 20.0


class Incoming:
    """A request as the server takes it."""

    def __init__(
        self, *, method: str, uri: str, fields: Mapping[str, str], headers: Mapping[str, str], peer: str
    ) -> None:
        """
        Args:
            fields: of the query or the form; each stands there once.
        """
        self.method = method
        self.uri = uri
        self.fields = dict(fields)
        self.headers = headers
        self.peer = peer


class Answer:
    """A response as the server makes it."""

    def __init__(self, status: int, body: Any, headers: list[tuple[str, str]]) -> None:
        self.status = status
        self.body = body
        self.headers = dict(headers)

    @property
    def location(self) -> str | None:
        return self.headers.get("Location")

    @location.setter
    def location(self, value: str) -> None:
        self.headers["Location"] = value


def check_characters(fields: Mapping[str, str]) -> str | None:
    """Why the fields cannot be parameters of OAuth (RFC 6749, appendix A), or None."""
    for name, value in fields.items():
        allowed = r"[ -~]*" if name in ("state", "client_secret") else r"[ !#-\[\]-~]*"
        if re.fullmatch(allowed, name) is None or re.fullmatch(allowed, value) is None or len(value) > 4096:
            return "A parameter holds characters that do not belong there, or is too long."
    return None


class Server(AuthorizationServer):
    """Answers one request. Its methods block: call them in a thread."""

    def __init__(self, sign_in: SignIn, issuer: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(scopes_supported=list(SCOPES))
        self.sign_in = sign_in
        self.issuer = issuer
        self.peer = ""
        self.agent = ""
        self._loop = loop
        self._request: _Request | None = None
        self.register_grant(CodeGrant, [Pkce()])
        self.register_grant(RefreshGrant)
        self.register_endpoint(Revocation)
        self.register_extension(_Issuer(issuer))
        self.register_token_generator("default", self._tokens)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of something that runs on the event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STORE_SECONDS)

    # -- what Authlib asks of a framework --

    def query_client(self, client_id: str) -> Client | None:
        found = self.wait(self.sign_in.clients.get(client_id))
        return Client(found, self.sign_in) if found is not None else None

    def save_token(self, token: Any, request: Any) -> None:
        """It was saved when it was made: using a code or refresh token up and making the next is one transaction."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: Any) -> OAuth2Request:
        if isinstance(request, OAuth2Request):
            return request
        assert isinstance(request, Incoming)
        self.peer, self.agent = request.peer, request.headers.get("user-agent", "")
        self._request = _Request(request)
        return self._request

    def handle_response(self, status: int, body: Any, headers: Any) -> Answer:
        return Answer(status, body, headers)

    def handle_consent_error(self, request: Incoming, error: OAuth2Error) -> Answer | None:
        """Where an error goes that was found before anybody was asked; None when it must stay here."""
        if not error.redirect_uri:
            return None
        answer = self.handle_response(*error())
        _Issuer(self.issuer).add_issuer_parameter(self, answer)
        return answer

    def _tokens(
        self, grant_type: str, client: Client, user: User, scope: str, expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:  # fmt: skip
        """Use up what was sent, and make what follows from it."""
        request = self._request
        assert request is not None
        begun: Begun | None
        if grant_type == CodeGrant.GRANT_TYPE:
            work = self.sign_in.families.exchange(request.authorization_code.record, refreshable=include_refresh_token)
        else:
            work = self.sign_in.families.rotate(request.refresh_token.record)
        begun = self.wait(work)
        if begun is None:
            self.wait(self.sign_in.look())
            raise InvalidGrantError("It was used before; whatever came of it is ended.")
        tokens = self.sign_in.tokens(begun, user, scope=scope)
        answer = {
            "token_type": "Bearer",
            "access_token": tokens.access_token,
            "expires_in": int(self.sign_in.sessions.lifetime),
            "scope": scope,
        }
        return {**answer, "refresh_token": tokens.refresh_token} if tokens.refresh_token is not None else answer


class _Payload(OAuth2Payload):
    def __init__(self, fields: dict[str, str]) -> None:
        self._fields = fields

    @property
    def data(self) -> dict[str, str]:
        return self._fields

    @property
    def datalist(self) -> Any:
        return {name: [value] for name, value in self._fields.items()}


class _Request(OAuth2Request):
    def __init__(self, incoming: Incoming) -> None:
        super().__init__(incoming.method, incoming.uri, headers=incoming.headers)
        self.payload = _Payload(incoming.fields)
        self._fields = incoming.fields

    @property
    def args(self) -> dict[str, str]:
        return self._fields

    @property
    def form(self) -> dict[str, str]:
        return self._fields


class Client(ClientMixin):
    def __init__(self, client: OAuthClient, sign_in: SignIn) -> None:
        self.registered = client
        self._sign_in = sign_in

    def get_client_id(self) -> str:
        return self.registered.id

    def get_default_redirect_uri(self) -> str | None:
        return None  # OAuth 2.1 wants it said, always

    def get_allowed_scope(self, scope: str | None) -> str | None:
        return " ".join(name for name in (scope or "").split() if name in self.registered.scopes) or None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return self.registered.allows_redirect(redirect_uri)

    def check_client_secret(self, client_secret: str) -> bool:
        return self._sign_in.clients.secret_fits(self.registered, client_secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return (method == "none") == (self.registered.secret_hash is None)

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in (CodeGrant.GRANT_TYPE, RefreshGrant.GRANT_TYPE)


class _Code:
    """An authorization code, as Authlib looks at one."""

    code_challenge_method = "S256"

    def __init__(self, record: CodeRecord) -> None:
        self.record = record
        self.code_challenge = record.code_challenge

    def get_redirect_uri(self) -> str:
        return self.record.redirect_uri

    def get_scope(self) -> str:
        return self.record.scope


class _Token(TokenMixin):
    """A refresh or access token, as Authlib looks at one."""

    def __init__(self, session: Session, record: RefreshRecord | None = None) -> None:
        self.session = session
        self.record = record

    def check_client(self, client: Client) -> bool:
        return self.session.client_id == client.get_client_id()

    def get_scope(self) -> str:
        return self.session.scope


class CodeGrant(grants.AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = AUTHENTICATION
    server: Server

    def create_authorization_response(self, redirect_uri: str, grant_user: User | None) -> Any:
        if grant_user is not None and not allowed_scope(grant_user.role, self.request.scope.split()):
            raise InvalidScopeError("The user's role allows nothing of what was asked for.", redirect_uri=redirect_uri)
        return super().create_authorization_response(redirect_uri, grant_user)

    def save_authorization_code(self, code: str, request: OAuth2Request) -> None:
        user: User = request.user
        self.server.wait(
            self.server.sign_in.families.save_code(
                client_id=request.client.get_client_id(),
                user_id=user.id,
                redirect_uri=request.payload.redirect_uri,
                scope=allowed_scope(user.role, request.scope.split()),
                code_challenge=request.payload.data.get("code_challenge"),
                agent=self.server.agent,
                peer=self.server.peer,
                code=code,
            )
        )

    def query_authorization_code(self, code: str, client: Client) -> _Code | None:
        record = self.server.wait(self.server.sign_in.families.read_code(code, client.get_client_id()))
        if record is None:
            self.server.wait(self.server.sign_in.look())  # it may have ended a session
        return _Code(record) if record is not None else None

    def delete_authorization_code(self, authorization_code: _Code) -> None:
        """It stays, marked as used, so that a second use is noticed."""

    def authenticate_user(self, authorization_code: _Code) -> User | None:
        return _active(self.server, authorization_code.record.user_id)


class RefreshGrant(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = AUTHENTICATION
    INCLUDE_NEW_REFRESH_TOKEN = True
    server: Server

    def authenticate_refresh_token(self, refresh_token: str) -> _Token | None:
        record = self.server.wait(self.server.sign_in.families.read(refresh_token))
        if record is None or not self.server.sign_in.families.alive(record.session):
            return None
        return _Token(record.session, record)

    def authenticate_user(self, refresh_token: _Token) -> User | None:
        return _active(self.server, refresh_token.session.user_id)

    def revoke_old_credential(self, refresh_token: _Token) -> None:
        """It was used up when its successor was made."""


class Pkce(CodeChallenge):
    """Proof of possession for every client, and by S256 alone."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]  # noqa: RUF012 - Authlib's own declaration

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        data = grant.request.payload.data
        if not data.get("code_challenge"):
            raise InvalidRequestError("Missing 'code_challenge'")
        if data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("Unsupported 'code_challenge_method': it must be S256")
        super().validate_code_challenge(grant, redirect_uri)


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = AUTHENTICATION
    server: Server

    def query_token(self, token_string: str, token_type_hint: str | None) -> _Token | None:
        sign_in = self.server.sign_in
        record = self.server.wait(sign_in.families.read(token_string))
        if record is not None:
            return _Token(record.session)
        read = sign_in.sessions.read(token_string)
        session = self.server.wait(sign_in.families.find(read.session_id)) if read is not None else None
        return _Token(session) if session is not None else None

    def revoke_token(self, token: _Token, request: OAuth2Request) -> None:
        self.server.wait(self.server.sign_in.end(token.session.id, "revoked"))


class _Issuer(IssuerParameter):
    def __init__(self, issuer: str) -> None:
        self._issuer = issuer

    def get_issuer(self) -> str:
        return self._issuer


def _active(server: Server, user_id: str) -> User | None:
    try:
        user = server.wait(server.sign_in.users.find(user_id))
    except NotFound:
        return None
    return None if user.disabled else user


def csp_source(redirect_uri: str) -> str:
    """The CSP source that lets a form's answer lead to this address."""
    parts = urlsplit(redirect_uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") else f"{parts.scheme}:"


def fields_of(query: str) -> dict[str, str] | None:
    """A query's parameters; None when one stands there twice (RFC 6749, section 3.1)."""
    try:
        parsed = parse_qs(query, keep_blank_values=True, max_num_fields=50, errors="strict")
    except ValueError:
        return None
    return {name: values[0] for name, values in parsed.items()} if all(len(v) == 1 for v in parsed.values()) else None
