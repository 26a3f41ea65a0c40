"""`/api/v1/users`: an admin's way to say who may sign in."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from pointsman.core.errors import InvalidRequest
from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.sign_in import SignIn

from .auth import UserOut, user_out

RoleName = Literal["admin", "member", "viewer"]


class UserList(BaseModel):
    """Everybody who may sign in, by name."""

    object: Literal["list"] = "list"
    data: list[UserOut]


class NewUser(BaseModel):
    """Somebody to add. The password is theirs to set, with the code of the answer."""

    name: Annotated[str, Field(max_length=200)]
    role: RoleName = "member"


class UserChange(BaseModel):
    """What is to change; at least one of both."""

    role: RoleName | None = None
    disabled: bool | None = None


class PasswordCode(BaseModel):
    """A code with which the user can set a password once, within two days."""

    user: UserOut
    code: str = Field(description="To be entered at `/set-password`; it is shown here alone.")
    url: str = Field(description="The page to enter it at, the code filled in.")


def router(sign_in: SignIn) -> APIRouter:
    routes = APIRouter(tags=["Users"])

    @routes.get("/api/v1/users", operation_id="list_users", summary="List everybody who may sign in")
    async def list_users(request: Request) -> UserList:
        caller_of(request).require_admin()
        return UserList(data=[user_out(user) for user in await sign_in.users.everyone()])

    @routes.post("/api/v1/users", operation_id="add_user", summary="Add a user", status_code=201)
    async def add_user(request: Request, body: NewUser, response: Response) -> PasswordCode:
        """The answer holds a code with which the user sets a password."""
        caller_of(request).require_admin()
        user = await sign_in.users.add(body.name, body.role)
        await sign_in.look()
        return await _code(request, user.id, response)

    @routes.post("/api/v1/users/{id}", operation_id="change_user", summary="Change a user's role, disable or enable")
    async def change_user(request: Request, id: str, body: UserChange) -> UserOut:
        """By id or name. Disabling ends all sessions within a second, on every replica. The last admin stays."""
        caller_of(request).require_admin()
        if body.role is None and body.disabled is None:
            raise InvalidRequest("Say what is to change: `role`, `disabled` or both.", param="role")
        user = await sign_in.users.find(id)
        if body.role is not None and body.role != user.role:
            await sign_in.users.set_role(user, body.role)
        if body.disabled is not None and body.disabled != user.disabled:
            await sign_in.users.set_disabled(user, body.disabled)
        await sign_in.look()
        return user_out(await sign_in.users.find(id))

    @routes.post(
        "/api/v1/users/{id}/password-code", operation_id="reset_password", summary="Let a user set a new password"
    )
    async def reset_password(request: Request, id: str, response: Response) -> PasswordCode:
        """By id or name. The old password works until a new one is set; earlier codes no longer do."""
        caller_of(request).require_admin()
        return await _code(request, id, response)

    @routes.post("/api/v1/users/{id}/unlock", operation_id="unlock_user", summary="Forget a user's failed sign-ins")
    async def unlock(request: Request, id: str) -> UserOut:
        """By id or name."""
        caller_of(request).require_admin()
        user = await sign_in.users.find(id)
        await sign_in.users.unlock(user)
        return user_out(user)

    async def _code(request: Request, id: str, response: Response) -> PasswordCode:
        user = await sign_in.users.find(id)
        code = await sign_in.users.password_code(user)
        response.headers["cache-control"] = "no-store"
        try:
            address = sign_in.address(request.headers)
        except InvalidRequest:
            address = ""
        return PasswordCode(user=user_out(user), code=code, url=f"{address}/set-password?code={code}")

    return routes
