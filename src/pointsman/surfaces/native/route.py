"""`POST /api/v1/route`: which model a request would get, without calling one."""

from __future__ import annotations

import asyncio

import msgspec
from fastapi import APIRouter, Request, Response

from pointsman.core.decision import Decision
from pointsman.core.request import ChatRequest
from pointsman.core.whole import whole
from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.credentials_of import credentials_of
from pointsman.surfaces.schemas import json_body, ref
from pointsman.surfaces.services import Services
from pointsman.surfaces.wishes import read_wishes


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["Decisions"])

    @routes.post(
        "/api/v1/route",
        operation_id="route",
        summary="Decide without calling a model",
        response_model=None,
        responses={200: json_body(ref("DryRunDecision"), "The decision that the request would get now.")},
        openapi_extra={"requestBody": {"required": True, **json_body(ref("ChatCompletionRequest"))}},
    )
    async def route(request: Request) -> Response:
        """Takes a chat body, answers with the decision, and logs nothing."""
        chat = ChatRequest.parse(await request.body())
        caller, headers = caller_of(request), request.headers.raw
        credentials = credentials_of(chat, request.url.path, headers, caller, services.caller_keys)
        wishes = msgspec.structs.replace(read_wishes(chat, headers), credentials=credentials)
        # In a thread, as a prompt of many megabytes takes seconds to understand.
        decision = await asyncio.to_thread(services.decide, chat, caller, wishes)
        body = msgspec.json.encode({**whole(Decision, msgspec.to_builtins(decision)), "dry_run": True})
        return Response(body, media_type="application/json")

    return routes
