"""`/api/v1/config`: the settings that hold, and those that may be changed while the gateway runs. For admins."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel, Field

from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.services import ChangesSettings

TREE = Body(
    description="Sections and settings as in the settings file; each takes the place of what stood there. Null empties"
    " a setting that may be empty.",
    examples=[{"routing": {"priority": "speed", "complexity_threshold": 0.7}}],
)


class RuntimeChange(BaseModel):
    value: Any
    changed_at: float = Field(description="Seconds since the epoch, UTC.")
    changed_by: str | None = Field(description="A key's or user's id; null: the local user of an open port.")


class GatewaySettings(BaseModel):
    settings: dict[str, Any] = Field(description="Every setting that holds, by its dotted name; secrets are masked.")
    changed: dict[str, RuntimeChange] = Field(description="What was changed at run time.")
    changeable: dict[str, list[str] | None] = Field(description="What may be, and the words it may be if only some.")


class SettingsUpdate(BaseModel):
    updated_fields: list[str] = Field(description="Dotted names. All of the request was done, or none of it.")


def router(settings: ChangesSettings) -> APIRouter:
    routes = APIRouter(tags=["Settings"])

    @routes.get("/api/v1/config", operation_id="get_config", summary="Show the settings")
    async def get_config(request: Request) -> GatewaySettings:
        caller_of(request).require_admin()
        changed = {name: RuntimeChange(**change) for name, change in settings.changed().items()}
        return GatewaySettings(settings=settings.shown(), changed=changed, changeable=settings.changeable())

    @routes.post("/api/v1/config", operation_id="change_config", summary="Change settings while the gateway runs")
    async def change_config(request: Request, tree: Annotated[dict[str, Any], TREE]) -> SettingsUpdate:
        """Holds at once, within a second at other gateways of the same database, and over restarts, until it is
        undone."""
        caller = caller_of(request)
        caller.require_admin()
        return SettingsUpdate(updated_fields=await settings.change(tree, by=caller.user_id or caller.key_id))

    @routes.delete("/api/v1/config", operation_id="undo_config", summary="Let the settings file hold again")
    async def undo_config(
        request: Request,
        field: Annotated[
            list[str] | None, Query(description="Dotted names; none: everything that was changed.")
        ] = None,
    ) -> SettingsUpdate:
        caller_of(request).require_admin()
        return SettingsUpdate(updated_fields=await settings.undo(field or ()))

    return routes
