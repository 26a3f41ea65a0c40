"""`/api/v1/auth`: sign in, refresh, sign out, and who one is; for applications in one page and for scripts.

The first three are open to everybody, so that they check for themselves that a body is JSON: a form of another site
cannot send that.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from pointsman.core.errors import Forbidden, InvalidRequest, Unauthenticated
from pointsman.stores.users import User
from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.sign_in import TAB_LEEWAY, SignIn, Tokens

Text = Annotated[str, Field(max_length=4096)]


class SignInRequest(BaseModel):
    """Name and password."""

    name: Text
    password: Text
    cookies: bool = Field(False, description="Set cookies, for a page of this gateway, instead of sending tokens.")


class RefreshRequest(BaseModel):
    """A refresh token; without one, that of the cookie."""

    refresh_token: Text | None = None


class SignOutRequest(BaseModel):
    """A refresh token of the session to end; without one, that of the access token or the cookie."""

    refresh_token: Text | None = None


class TokenAnswer(BaseModel):
    """What a session is used with."""

    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a kind of token, and none
    access_token: str | None = Field(description="Send it as `Authorization: Bearer …`; null where cookies were set.")
    expires_in: int = Field(description="Seconds until the access token must be refreshed.")
    refresh_token: str | None = Field(description="Good for one use; null where cookies were set.")
    csrf_token: str = Field(description="Send it as `x-csrf-token` with requests that the cookies go with.")
    user: UserOut


class UserOut(BaseModel):
    """Somebody who may sign in."""

    id: str
    name: str
    role: Literal["admin", "member", "viewer"]
    disabled: bool
    has_password: bool = Field(description="False until a first password was set with a one-time code.")
    created_at: float = Field(description="Seconds since the epoch, UTC.")
    seen_at: float | None = Field(description="The last sign-in.")


class Me(BaseModel):
    """Who asks."""

    id: str | None = Field(description="The user, or null for the bearer of an API key and the local user.")
    name: str | None
    role: str
    admin: bool
    scopes: list[str] = Field(description="Classes of endpoints that one is confined to; empty: all.")
    csrf_token: str | None = Field(description="Of the session, where there is one.")


class SignedOut(BaseModel):
    """Whether a session was ended."""

    ended: bool


def user_out(user: User) -> UserOut:
    return UserOut(
        id=user.id, name=user.name, role=user.role, disabled=user.disabled, has_password=user.has_password,
        created_at=user.created_at, seen_at=user.seen_at,
    )  # fmt: skip


def router(sign_in: SignIn) -> APIRouter:
    routes = APIRouter(tags=["Sign-in"])

    @routes.post(
        "/api/v1/auth/sign-in",
        operation_id="sign_in",
        summary="Sign in with name and password",
        response_model=TokenAnswer,
    )
    async def begin(request: Request, body: SignInRequest) -> Response:
        """Too many failures of an account or address make the next attempt wait (429, `Retry-After`)."""
        _check(request)
        tokens = await sign_in.sign_in(
            body.name, body.password, peer=_peer(request), agent=request.headers.get("user-agent", "")
        )
        return _answer(tokens, cookies=body.cookies)

    @routes.post(
        "/api/v1/auth/refresh", operation_id="refresh_session", summary="Get new tokens", response_model=TokenAnswer
    )
    async def refresh(request: Request, body: RefreshRequest) -> Response:
        """A refresh token is good for one use. One that comes a second time ends its session."""
        _check(request)
        if body.refresh_token is not None:
            return _answer(await sign_in.refresh(body.refresh_token), cookies=False)
        cookie = request.cookies.get(sign_in.cookie_name("refresh"))
        if not cookie:
            raise Unauthenticated("There is no session to refresh: sign in.", code="session_ended")
        return _answer(await sign_in.refresh(cookie, leeway=TAB_LEEWAY), cookies=True)

    @routes.post("/api/v1/auth/sign-out", operation_id="sign_out", summary="End a session", response_model=SignedOut)
    async def end(request: Request, body: SignOutRequest) -> Response:
        """By a refresh token, else by the access token in `Authorization`, else by the cookies."""
        _check(request)
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        cookie = request.cookies.get(sign_in.cookie_name("session"))
        session_id = None
        if body.refresh_token is not None:
            record = await sign_in.families.read(body.refresh_token)
            session_id = record.session.id if record is not None else None
        elif scheme.lower() == "bearer":
            found = sign_in.sessions.read(bearer.strip())
            session_id = found.session_id if found is not None else None
        elif cookie and (person := sign_in.person(cookie)) is not None:
            if not sign_in.sessions.csrf_ok(cookie, request.headers.get("x-csrf-token", "").encode("latin-1")):
                raise Forbidden("Send the session's `x-csrf-token`.", code="csrf_token_invalid")
            session_id = person.session_id
        ended = session_id is not None and await sign_in.end(session_id)
        response = JSONResponse({"ended": ended}, headers={"cache-control": "no-store"})
        if cookie:
            for value in sign_in.no_cookies():
                response.headers.append("set-cookie", value)
        return response

    @routes.get("/api/v1/auth/me", operation_id="who_am_i", summary="Tell who one is")
    async def me(request: Request, response: Response) -> Me:
        caller = caller_of(request)
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        token = bearer.strip() if scheme.lower() == "bearer" else request.cookies.get(sign_in.cookie_name("session"))
        found = sign_in.sessions.read(token) if token and caller.user_id is not None else None
        response.headers["cache-control"] = "no-store"
        return Me(
            id=caller.user_id,
            name=found.name if found is not None else None,
            role=caller.role,
            admin=caller.admin,
            scopes=list(caller.scopes.endpoints),
            csrf_token=sign_in.sessions.csrf_token(found.session_id) if found is not None else None,
        )

    def _check(request: Request) -> None:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise InvalidRequest("Send the body with `Content-Type: application/json`.", code="content_type_not_json")

    def _answer(tokens: Tokens, *, cookies: bool) -> Response:
        answer = TokenAnswer(
            access_token=None if cookies else tokens.access_token,
            expires_in=int(sign_in.sessions.lifetime),
            refresh_token=None if cookies else tokens.refresh_token,
            csrf_token=sign_in.sessions.csrf_token(tokens.session_id),
            user=user_out(tokens.user),
        )
        response = JSONResponse(answer.model_dump(), headers={"cache-control": "no-store"})
        for value in sign_in.cookies(tokens) if cookies else ():
            response.headers.append("set-cookie", value)
        return response

    return routes


def _peer(request: Request) -> str:
    return request.client.host if request.client is not None else ""
