"""`/v1/responses/{id}`: what was kept of an answer."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response

from pointsman.core.errors import InvalidRequest
from pointsman.dialects.responses.object import listed_page
from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.schemas import json_body, ref

from .memory import Memory


def router(memory: Memory) -> APIRouter:
    routes = APIRouter(tags=["Responses"])

    @routes.get(
        "/v1/responses/{id}",
        operation_id="get_response",
        summary="Get a kept response",
        response_model=None,
        responses={200: json_body(ref("Response"), "The response.")},
    )
    async def get_response(request: Request, id: str, stream: bool = False) -> Response:
        """A key sees its own, an admin all. What was private or not to be stored was never kept."""
        if stream:
            raise InvalidRequest("Invalid `stream`: what was kept is not streamed again.", param="stream")
        kept = await memory.get(id, caller_of(request))
        return _json(kept.response)

    @routes.delete(
        "/v1/responses/{id}",
        operation_id="delete_response",
        summary="Forget a kept response",
        response_model=None,
        responses={200: json_body(ref("DeletedResponse"), "It is gone, and cannot be continued.")},
    )
    async def delete_response(request: Request, id: str) -> Response:
        await memory.remove(id, caller_of(request))
        return _json({"id": id, "object": "response", "deleted": True})

    @routes.get(
        "/v1/responses/{id}/input_items",
        operation_id="list_response_input_items",
        summary="List what a kept response was made from",
        response_model=None,
        responses={200: json_body(ref("ResponseItems"), "The items of this request, without those of earlier turns.")},
    )
    async def list_input_items(
        request: Request,
        id: str,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
    ) -> Response:
        kept = await memory.get(id, caller_of(request))
        return _json(listed_page(kept.input, after=after, limit=limit, newest_first=order == "desc"))

    return routes


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
