"""`/oauth/authorize`, `/oauth/token`, `/oauth/revoke` and the server's metadata (RFC 8414)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from pointsman.stores.access_tokens import SCOPES
from pointsman.surfaces.sign_in import SignIn

if TYPE_CHECKING:
    from .handlers import OAuth

AUTHENTICATION = ["none", "client_secret_basic", "client_secret_post"]
"""How applications may prove who they are; public ones do not."""


def router(sign_in: SignIn) -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    loaded: list[OAuth] = []

    def load() -> OAuth:
        from .handlers import OAuth

        loaded.append(OAuth(sign_in))
        return loaded[0]

    async def oauth() -> OAuth:
        return loaded[0] if loaded else await asyncio.to_thread(load)

    @routes.get("/.well-known/oauth-authorization-server")
    async def metadata(request: Request) -> Response:
        issuer = sign_in.address(request.headers)
        return JSONResponse(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/oauth/authorize",
                "token_endpoint": f"{issuer}/oauth/token",
                "revocation_endpoint": f"{issuer}/oauth/revoke",
                "scopes_supported": list(SCOPES),
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "token_endpoint_auth_methods_supported": AUTHENTICATION,
                "revocation_endpoint_auth_methods_supported": AUTHENTICATION,
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    @routes.get("/oauth/authorize")
    async def authorize(request: Request) -> Response:
        return await (await oauth()).authorize(request)

    @routes.post("/oauth/authorize")
    async def decide(request: Request) -> Response:
        return await (await oauth()).decide(request)

    @routes.post("/oauth/token")
    async def token(request: Request) -> Response:
        return await (await oauth()).token(request)

    @routes.post("/oauth/revoke")
    async def revoke(request: Request) -> Response:
        return await (await oauth()).revoke(request)

    return routes
