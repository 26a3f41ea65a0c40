"""What the endpoints of the OAuth server do. Loads Authlib, so it is itself loaded at the first such request."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from authlib.oauth2.base import OAuth2Error
from fastapi import Request
from fastapi.responses import JSONResponse, Response

from pointsman.core.errors import InvalidRequest, PointsmanError
from pointsman.stores.access_tokens import SCOPES, allowed_scope
from pointsman.surfaces.sign_in import SignIn, sign_in_path
from pointsman.surfaces.web.forms import Visit, form_page, hidden, notice, read_form, see_other
from pointsman.surfaces.web.html import Html, html

from .server import Answer, Client, Incoming, Server, check_characters, csp_source, fields_of


class OAuth:
    """The endpoints; each takes a request and gives a response."""

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in

    async def authorize(self, request: Request) -> Response:
        visit = await Visit.of(self._sign_in, request)
        return visit.finish(await self._authorize(visit, request.url.query))

    async def _authorize(self, visit: Visit, query: str) -> Response:
        fields = fields_of(query)
        if fields is None:
            return _broken("The address cannot be read, or names a parameter twice.")
        server, incoming = await self._server(visit.request, fields, "GET")
        found = await asyncio.to_thread(_consent, server, incoming)
        if isinstance(found, str):
            return _broken(found)
        if isinstance(found, Answer):
            return _respond(found)
        if visit.who is None:
            return see_other(sign_in_path(f"/oauth/authorize?{query}"))
        client, scope, grant = found
        granted = allowed_scope(visit.who.role, scope.split())
        if client.registered.first_party or not granted:  # with nothing to grant, the answer is an error
            user = await self._sign_in.users.find(visit.who.user_id)
            return _respond(
                await asyncio.to_thread(server.create_authorization_response, grant.request, user, grant=grant)
            )
        target = fields["redirect_uri"]
        body = html(
            "<p><strong>{client}</strong> wants to act for you, <strong>{name}</strong>, here:</p><ul>{scopes}</ul>"
            '<p class="quiet">It will be sent to {target}. You can end this at any time on'
            ' <a href="/account">your account\'s page</a>.</p>'
            '<form method="post" action="/oauth/authorize">{hidden}'
            '<button name="decision" value="allow">Allow</button> <button name="decision" value="deny">Refuse</button>'
            "</form>",
            client=client.registered.name,
            name=visit.who.name,
            scopes=[html("<li>{text}</li>", text=SCOPES[name]) for name in SCOPES if name in granted.split()],
            target=_shown(target),
            hidden=hidden({"csrf": visit.csrf(), "query": query}),
        )
        return form_page("Allow an application", body, form_targets=[csp_source(target)])

    async def decide(self, request: Request) -> Response:
        visit = await Visit.of(self._sign_in, request)
        try:
            form = await read_form(request)
            if visit.who is None:
                return visit.finish(see_other(sign_in_path(f"/oauth/authorize?{form.get('query', '')}")))
            visit.check(form)
        except PointsmanError as error:
            return visit.finish(_broken(error.message, error.status))
        return visit.finish(await self._decide(visit, form))

    async def _decide(self, visit: Visit, form: dict[str, str]) -> Response:
        assert visit.who is not None
        fields = fields_of(form.get("query", ""))
        if fields is None:
            return _broken("The form cannot be read.")
        server, incoming = await self._server(visit.request, fields, "POST")
        found = await asyncio.to_thread(_consent, server, incoming)
        if isinstance(found, str):
            return _broken(found)
        if isinstance(found, Answer):
            return _respond(found)
        *_, grant = found
        user = await self._sign_in.users.find(visit.who.user_id) if form.get("decision") == "allow" else None
        return _respond(await asyncio.to_thread(server.create_authorization_response, grant.request, user, grant=grant))

    async def token(self, request: Request) -> Response:
        return await self._endpoint(request, lambda server, incoming: server.create_token_response(incoming))

    async def revoke(self, request: Request) -> Response:
        return await self._endpoint(
            request, lambda server, incoming: server.create_endpoint_response("revocation", incoming)
        )

    async def _endpoint(self, request: Request, work: Any) -> Response:
        try:
            fields = await read_form(request)
        except InvalidRequest as error:
            return _error("invalid_request", error.message)
        problem = check_characters(fields)
        if problem is not None:
            return _error("invalid_request", problem)
        try:
            server, incoming = await self._server(request, fields, "POST")
        except InvalidRequest as error:
            return _error("invalid_request", error.message)
        try:
            return _respond(await asyncio.to_thread(work, server, incoming))
        except OAuth2Error as error:
            return _respond(Answer(*error()))

    async def _server(self, request: Request, fields: dict[str, str], method: str) -> tuple[Server, Incoming]:
        issuer = self._sign_in.address(request.headers)
        incoming = Incoming(
            method=method,
            uri=f"{issuer}{request.url.path}",
            fields=fields,
            headers=request.headers,
            peer=request.client.host if request.client is not None else "",
        )
        try:
            return Server(self._sign_in, issuer, asyncio.get_running_loop()), incoming
        except OAuth2Error as error:
            raise InvalidRequest(str(error.description)) from None


def _consent(server: Server, incoming: Incoming) -> tuple[Client, str, Any] | Answer | str:
    """What is asked for, or the error's way back to the application, or an error that must stay here."""
    problem = check_characters(incoming.fields)
    if problem is not None:
        return problem
    try:
        grant = server.get_consent_grant(incoming)
    except OAuth2Error as error:
        answer = server.handle_consent_error(incoming, error)
        told = str(error.description or error.error)
        return answer if answer is not None else f"The application asked in a way that cannot be answered: {told}"
    return grant.request.client, grant.request.scope, grant


def _broken(text: str, status: int = 400) -> Response:
    body = html("{problem}<p>Nothing was granted. Go back to the application and try again.</p>", problem=notice(text))
    return form_page("This request cannot be answered", body, status=status)


def _respond(answer: Answer) -> Response:
    if answer.location is not None:
        headers = {"location": answer.location, "cache-control": "no-store", "referrer-policy": "no-referrer"}
        return Response(status_code=303, headers=headers)  # never 307: the form's fields must not travel on
    headers = {**answer.headers, "cache-control": "no-store"}
    headers.pop("Content-Type", None)
    return JSONResponse(answer.body, status_code=answer.status, headers=headers)


def _error(code: str, description: str) -> Response:
    body = {"error": code, "error_description": description}
    return JSONResponse(body, status_code=400, headers={"cache-control": "no-store"})


def _shown(uri: str) -> Html:
    parts = urlsplit(uri)
    return html("<code>{place}</code>", place=parts.netloc or f"{parts.scheme}:")
