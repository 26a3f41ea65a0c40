"""`GET /api/v1/usage`: what the caller may ask, has asked, and has left."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from pointsman.core.caller import Caller
from pointsman.core.usage import iso_utc
from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.services import Services


class LimitStanding(BaseModel):
    """How one limit stands."""

    name: str = Field(description="`minute`, `hour` or `day`; `chat-burst` and the like are buckets.")
    limit: int
    used: int
    remaining: int
    reset_at: str = Field(description="UTC; when the window starts anew, or the bucket is full.")


class UsageReport(BaseModel):
    """Limits of a caller. Asking counts against the bucket of class `usage` alone."""

    key_id: str | None
    user_id: str | None
    tier: str
    priority: str = Field(description="Who goes first when a provider is short: `high`, `normal` or `low`.")
    limits: list[LimitStanding] = Field(description="Empty when nothing is limited.")


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["Usage"])

    @routes.get("/api/v1/usage", operation_id="get_usage", summary="Tell what is used and what is left")
    async def usage(
        request: Request,
        key_id: Annotated[str | None, Query(description="A key's id or name; for admins.", max_length=200)] = None,
    ) -> UsageReport:
        caller = caller_of(request)
        if key_id is not None and key_id != caller.key_id:
            caller.require_admin()
            key = await services.keys.get(key_id)
            caller = Caller(key_id=key.id, admin=False, role=key.role, scopes=key.scopes)
        peer = request.client.host if request.client is not None else None
        report = await services.limits(caller, peer)
        return UsageReport(
            key_id=caller.key_id,
            user_id=caller.user_id,
            tier=report.tier,
            priority=report.priority,
            limits=[
                LimitStanding(
                    name=use.name,
                    limit=use.limit,
                    used=use.used,
                    remaining=use.remaining,
                    reset_at=iso_utc(use.reset_at),
                )
                for use in report.limits
            ],
        )

    return routes
