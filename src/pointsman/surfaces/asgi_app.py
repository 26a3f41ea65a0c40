"""The FastAPI application: every endpoint that is not hot. Loaded at its first request, behind the front door.

The front door has admitted the caller and put it into the scope's state; the application checks that it is there.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pointsman.core.errors import InvalidRequest, MethodNotAllowed, NotFound, PointsmanError, StoreError

from .asgi_caller import caller_of
from .errors import for_caller, shape_for
from .native import (
    auth,
    budgets,
    config,
    decisions,
    figures,
    health,
    health_details,
    keys,
    metrics,
    route,
    usage,
    users,
)
from .native import models as native_models
from .oauth import routes as oauth
from .openai import feedback, models
from .responses import routes as responses
from .responses.memory import Memory
from .schemas import components, hot_paths, json_body, ref
from .services import Services
from .web import pages, sign_in

log = logging.getLogger(__name__)

DESCRIPTION = (
    "One OpenAI-compatible endpoint in front of local and cloud models. Each request goes to the cheapest model that"
    " will do the job, and private content stays on this machine."
)

OPENAI_ERROR = json_body(ref("OpenAIError"), "An error in OpenAI's shape.")
NATIVE_ERROR = json_body(ref("GatewayError"), "An error, and what can be done about it.")


def build_asgi_app(services: Services) -> FastAPI:
    app = FastAPI(
        title="Pointsman",
        version=services.version,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI would else export traces to wherever the environment says, past the privacy wall.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for router in (models.router(services), feedback.router(services, "/v1/feedback")):
        # Naming 4XX keeps FastAPI from documenting a 422 that is never sent.
        app.include_router(router, responses={"4XX": OPENAI_ERROR, "5XX": OPENAI_ERROR})
    for router in (
        feedback.router(services, "/api/v1/feedback"),
        decisions.router(services),
        route.router(services),
        health.router(services),
        health_details.router(services),
        figures.router(services),
        metrics.router(services),
        native_models.router(services),
        usage.router(services),
        keys.router(services),
    ):
        app.include_router(router, responses={"4XX": NATIVE_ERROR, "5XX": NATIVE_ERROR})
    if services.responses is not None:
        kept = responses.router(Memory(services.responses, keeps=True, clock=services.clock))
        app.include_router(kept, responses={"4XX": OPENAI_ERROR, "5XX": OPENAI_ERROR})
    if services.budgets is not None:
        app.include_router(budgets.router(services.budgets), responses={"4XX": NATIVE_ERROR, "5XX": NATIVE_ERROR})
    if services.settings is not None:
        app.include_router(config.router(services.settings), responses={"4XX": NATIVE_ERROR, "5XX": NATIVE_ERROR})
    if services.sign_in is not None:
        for router in (auth.router(services.sign_in), users.router(services.sign_in)):
            app.include_router(router, responses={"4XX": NATIVE_ERROR, "5XX": NATIVE_ERROR})
        app.include_router(oauth.router(services.sign_in))
        app.include_router(sign_in.router(services.sign_in))
    app.include_router(pages.router(lambda: app.openapi(), services.version), include_in_schema=False)

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    setattr(app, "openapi", document)  # noqa: B010 - FastAPI's own way to extend the document
    app.add_exception_handler(PointsmanError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_middleware(Guard)
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, the endpoints of the data plane included."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    document["paths"] = {**hot_paths(OPENAI_ERROR), **document["paths"]}
    document["components"]["schemas"] |= components()
    document["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key, where the gateway asks for one."},
        "keyHeader": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        "keyQuery": {"type": "apiKey", "in": "query", "name": "api_key"},
    }
    document["security"] = [{}, {"key": []}, {"keyHeader": []}, {"keyQuery": []}]
    return document


UNLESS_SAID = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Of answers that do not say otherwise: nothing keeps them, and a browser that shows one loads nothing for it. The
transport adds what every answer has."""


class Guard:
    """The outermost layer: nobody gets in without an admitted caller, and no traceback gets out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def tell(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                sent = {name for name, _ in message.get("headers", ())}
                message["headers"] = [
                    *message.get("headers", ()),
                    *(pair for pair in UNLESS_SAID if pair[0] not in sent),
                ]
            await send(message)

        try:
            caller_of(Request(scope))
            await self._app(scope, receive, tell)
        except Exception as error:
            # Neither the message nor the locals are logged: either may quote the request's body.
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error(
                "%s: %s %s failed unexpectedly\n%s", type(error).__name__, scope["method"], scope["path"][:200], frames
            )
            if started:
                raise
            await _response(scope["path"], PointsmanError())(scope, receive, tell)


def _response(path: str, error: PointsmanError, headers: dict[str, str] | None = None) -> Response:
    status, fields, body = shape_for(path)(error)
    response = Response(body, status_code=status, headers=headers)
    response.raw_headers.extend(fields)
    return response


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PointsmanError)
    if isinstance(error, StoreError):
        log.error("%s %s: %s", request.method, request.url.path[:200], error.message)
    return _response(request.url.path, for_caller(error, caller_of(request)))


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    param = ".".join(str(part) for part in first["loc"][1:]) or None
    where = f"`{param}`" if param else "request"
    return _response(request.url.path, InvalidRequest(f"Invalid {where}: {first['msg']}.", param=param))


async def _on_http(request: Request, error: Exception) -> Response:
    """What the framework itself refuses."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    served = f"{request.method} {path[:200]}"
    allowed = (error.headers or {}).get("Allow") or ", ".join(
        method.upper() for method in hot_paths(OPENAI_ERROR).get(path, {})
    )
    if allowed:
        mapped: PointsmanError = MethodNotAllowed(f"{served} is not an endpoint; {path} takes {allowed}.")
        return _response(path, mapped, {"Allow": allowed})
    if error.status_code == 404:
        return _response(path, NotFound(f"{served} is not an endpoint; GET /docs lists what there is."))
    return _response(path, InvalidRequest("The request cannot be read."))
