"""The pages of signing in: `/sign-in`, `/sign-out`, `/setup`, `/set-password` and `/account`. No script is needed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from fastapi.responses import Response

from pointsman.core.errors import (
    Forbidden,
    InvalidRequest,
    Overloaded,
    PointsmanError,
    RateLimited,
    RequestError,
    StoreError,
    Unauthenticated,
)
from pointsman.stores.database import Conflict
from pointsman.stores.passwords import MIN_LENGTH
from pointsman.surfaces.sign_in import SignIn, safe_next

from .forms import Visit, form_page, hidden, notice, read_form, see_other
from .html import Html, html

log = logging.getLogger(__name__)

Page = Callable[[Visit, dict[str, str], str], Awaitable[Response]]

FIELD = (
    '<label for="{name}">{label}</label><input type="{type}" id="{name}" name="{name}" autocomplete="{complete}"'
    ' required maxlength="1024"{extra}>'
)


def router(sign_in: SignIn) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    async def handle(request: Request, page: Page, act: Page | None = None) -> Response:
        """Show a page; for a posted form act, and show the page with what went wrong."""
        try:
            return await answer(request, page, act)
        except (StoreError, Overloaded) as error:
            if isinstance(error, StoreError):  # what it says of the machine is for the log
                log.error("%s %s: %s", request.method, request.url.path, error.message)
            text = error.message if isinstance(error, Overloaded) else "The gateway's database does not answer."
            return form_page("Try again shortly", notice(text), status=503)

    async def answer(request: Request, page: Page, act: Page | None) -> Response:
        visit = await Visit.of(sign_in, request)
        if request.method != "POST" or act is None:
            return visit.finish(await page(visit, dict(request.query_params), ""))
        try:
            form = await read_form(request)
        except InvalidRequest as error:
            return visit.finish(_with_status(await page(visit, {}, error.message), error))
        try:
            visit.check(form)
            return visit.finish(await act(visit, form, ""))
        except RequestError as error:
            return visit.finish(_with_status(await page(visit, form, _told(error)), error))

    @routes.api_route("/sign-in", methods=["GET", "POST"])
    async def sign_in_page(request: Request) -> Response:
        return await handle(request, show_sign_in, do_sign_in)

    async def show_sign_in(visit: Visit, fields: dict[str, str], problem: str) -> Response:
        target = safe_next(fields.get("next"))
        if visit.who is not None and not problem:
            return see_other(target)
        if not sign_in.sessions.anybody and not await sign_in.users.exist():
            return see_other("/setup")
        body = html(
            '{problem}<form method="post" action="/sign-in">{hidden}{name}{password}<button>Sign in</button></form>'
            '<p class="quiet">Forgotten it? An admin can give you a code to <a href="/set-password">set a new one</a>.'
            "</p>",
            problem=notice(problem),
            hidden=hidden({"csrf": visit.csrf(), "next": target}),
            name=_field("name", "Name", complete="username", value=fields.get("name", "")),
            password=_field("password", "Password", type="password", complete="current-password"),
        )
        return form_page("Sign in", body)

    async def do_sign_in(visit: Visit, form: dict[str, str], _: str) -> Response:
        tokens = await sign_in.sign_in(
            form.get("name", ""), form.get("password", ""), peer=visit.peer, agent=visit.agent
        )
        if visit.who is not None:  # whoever used this browser before
            await sign_in.end(visit.who.session_id)
        visit.signed_in(sign_in.cookies(tokens))
        return _onward(safe_next(form.get("next")))

    @routes.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        return await handle(request, show_sign_out, do_sign_out)

    async def show_sign_out(visit: Visit, fields: dict[str, str], problem: str) -> Response:
        return form_page("Sign out", html('{p}<p><a href="/account">Your account</a></p>', p=notice(problem)))

    async def do_sign_out(visit: Visit, form: dict[str, str], _: str) -> Response:
        if visit.who is not None:
            await sign_in.end(visit.who.session_id, user_id=visit.who.user_id)
        visit.signed_in(sign_in.no_cookies())
        return see_other("/sign-in")

    @routes.api_route("/setup", methods=["GET", "POST"])
    async def setup(request: Request) -> Response:
        return await handle(request, show_setup, do_setup)

    def at_home(visit: Visit) -> bool:
        return sign_in.may_set_up(visit.peer, visit.request.headers)

    async def show_setup(visit: Visit, fields: dict[str, str], problem: str) -> Response:
        if await sign_in.users.exist():
            return see_other("/sign-in")
        code = "" if at_home(visit) else _field("code", "Set-up code, from the gateway's log", complete="one-time-code")
        body = html(
            "<p>There is no user yet. The first one administers this gateway; from then on nobody gets in without"
            ' a key or a password.</p>{problem}<form method="post" action="/setup">'
            "{hidden}{code}{name}{password}{again}"
            '<button>Create the admin</button></form><p class="quiet">At least {least} characters; several words make a'
            " good password.</p>",
            problem=notice(problem),
            hidden=hidden({"csrf": visit.csrf()}),
            code=Html(code),
            name=_field("name", "Name", complete="username", value=fields.get("name", "")),
            password=_field("password", "Password", type="password", complete="new-password"),
            again=_field("again", "The password again", type="password", complete="new-password"),
            least=MIN_LENGTH,
        )
        return form_page("Set up Pointsman", body)

    async def do_setup(visit: Visit, form: dict[str, str], _: str) -> Response:
        if await sign_in.users.exist():
            return see_other("/sign-in")
        if not at_home(visit) and not await sign_in.users.knows_setup_code(form.get("code", "").strip()):
            raise Forbidden(
                "The set-up code is wrong or too old. Where the gateway is reached from elsewhere its log shows a new"
                " one at each start; on its own machine `pointsman users add NAME` makes the first admin."
            )
        try:
            user = await sign_in.users.add(form.get("name", ""), "admin", _twice(form), first=True)
        except Conflict:
            return see_other("/sign-in")
        tokens = await sign_in.begin(user, peer=visit.peer, agent=visit.agent)
        visit.signed_in(sign_in.cookies(tokens))
        return see_other("/account")

    @routes.api_route("/set-password", methods=["GET", "POST"])
    async def set_password(request: Request) -> Response:
        return await handle(request, show_set_password, do_set_password)

    async def show_set_password(visit: Visit, fields: dict[str, str], problem: str) -> Response:
        body = html(
            '{problem}<form method="post" action="/set-password">{hidden}{code}{password}{again}'
            "<button>Set the password</button></form>",
            problem=notice(problem),
            hidden=hidden({"csrf": visit.csrf()}),
            code=_field(
                "code", "The code that an admin gave you", complete="one-time-code", value=fields.get("code", "")
            ),
            password=_field("password", "New password", type="password", complete="new-password"),
            again=_field("again", "The new password again", type="password", complete="new-password"),
        )
        return form_page("Set your password", body)

    async def do_set_password(visit: Visit, form: dict[str, str], _: str) -> Response:
        await sign_in.users.use_password_code(form.get("code", "").strip(), _twice(form))
        await sign_in.look()
        visit.signed_in(sign_in.no_cookies())
        return see_other("/sign-in")

    @routes.get("/account")
    async def account(request: Request) -> Response:
        return await handle(request, show_account)

    @routes.post("/account/password")
    async def account_password(request: Request) -> Response:
        return await handle(request, show_account, do_change_password)

    @routes.post("/account/end")
    async def account_end(request: Request) -> Response:
        return await handle(request, show_account, do_end)

    async def show_account(visit: Visit, fields: dict[str, str], problem: str) -> Response:
        who = visit.who
        if who is None:
            return see_other("/sign-in?next=/account")
        csrf = hidden({"csrf": visit.csrf()})
        clients = {client.id: client.name for client in await sign_in.clients.everyone()}
        rows = [
            html(
                '<tr><td>{what}</td><td>{seen}</td><td><form method="post" action="/account/end">{csrf}{id}'
                "<button>End{more}</button></form></td></tr>",
                what=_describe(session.agent, clients.get(session.client_id or ""), session.id == who.session_id),
                seen=_ago(sign_in.clock.now() - session.used_at),
                csrf=csrf,
                id=hidden({"session": session.id}),
                more=" this one" if session.id != who.session_id else " (signs you out)",
            )
            for session in await sign_in.families.of_user(who.user_id)
        ]
        body = html(
            "{problem}{done}<p>Signed in as <strong>{name}</strong> ({role}).</p>"
            '<form method="post" action="/sign-out">{csrf}<button>Sign out</button></form>'
            '<h2>Password</h2><form method="post" action="/account/password">{csrf}{user}{current}{password}{again}'
            "<button>Change the password</button></form>"
            '<p class="quiet">This ends every other session.</p>'
            "<h2>Sessions</h2><table><tr><th>Where</th><th>Last used</th><th></th></tr>{rows}</table>"
            '<form method="post" action="/account/end">{csrf}{all}<button>End all others</button></form>',
            problem=notice(problem),
            done=notice("Done." if fields.get("done") == "1" and not problem else "", "done"),
            name=who.name,
            role=who.role,
            csrf=csrf,
            # Password managers want to know whose password this is.
            user=html(
                '<input type="text" name="name" value="{n}" autocomplete="username" readonly hidden>', n=who.name
            ),
            current=_field("current", "Current password", type="password", complete="current-password"),
            password=_field("password", "New password", type="password", complete="new-password"),
            again=_field("again", "The new password again", type="password", complete="new-password"),
            rows=rows,
            all=hidden({"session": "others"}),
        )
        return form_page("Your account", body)

    async def do_change_password(visit: Visit, form: dict[str, str], _: str) -> Response:
        if visit.who is None:
            return see_other("/sign-in?next=/account")
        user = await sign_in.users.find(visit.who.user_id)
        new = _twice(form)
        await sign_in.users.check(user.name, form.get("current", ""), visit.peer, known=True)
        await sign_in.users.set_password(user, new, keep_session=visit.who.session_id)
        await sign_in.look()
        return see_other("/account?done=1")

    async def do_end(visit: Visit, form: dict[str, str], _: str) -> Response:
        who, session = visit.who, form.get("session", "")
        if who is None:
            return see_other("/sign-in?next=/account")
        if session == "others":
            await sign_in.families.end_all(who.user_id, "revoked", keep=who.session_id)
            await sign_in.look()
        else:
            await sign_in.end(session, "revoked", user_id=who.user_id)
        if session == who.session_id:
            visit.signed_in(sign_in.no_cookies())
            return see_other("/sign-in")
        return see_other("/account?done=1")

    return routes


def _onward(target: str) -> Response:
    if target.startswith("/oauth/"):
        body = html('<p><a href="{url}">Continue</a></p>', url=target)
        return form_page("Signed in", body, go_to=target)
    return see_other(target)


def _field(name: str, label: str, *, type: str = "text", complete: str, value: str = "") -> Html:
    extra = html(' value="{value}"', value=value[:200]) if value and type == "text" else Html("")
    return html(FIELD, name=name, label=label, type=type, complete=complete, extra=extra)


def _twice(form: dict[str, str]) -> str:
    password = form.get("password", "")
    if password != form.get("again"):
        raise InvalidRequest("The two passwords differ.", param="again")
    return password


def _told(error: PointsmanError) -> str:
    if isinstance(error, RateLimited) and error.retry_after:
        return f"Too many attempts. Try again in {_duration(error.retry_after)}."
    return error.message


def _with_status(response: Response, error: PointsmanError) -> Response:
    # 401 would have to name an HTTP authentication scheme, and this is a form: 403 says what it means.
    if response.status_code == 200:
        response.status_code = 403 if isinstance(error, Unauthenticated) else error.status
        if error.retry_after:
            response.headers["retry-after"] = str(int(error.retry_after) + 1)
    return response


BROWSERS = (("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Mac OS X", "Linux")
"""What User-Agent headers hold, the more telling first: most of them name several."""


def _browser(agent: str) -> str:
    """What a person calls it; other programs by the name that they give themselves."""
    name = next((name for mark, name in BROWSERS if mark in agent), None)
    system = next((system for system in SYSTEMS if system in agent), None)
    if name is None:
        return agent[:80] or "unknown"
    return f"{name} on {system}" if system else name


def _describe(agent: str, client: str | None, current: bool) -> str:
    what = f"{client} (application)" if client else _browser(agent)
    return f"{what}: this browser" if current else what


def _ago(seconds: float) -> str:
    return "now" if seconds < 90 else f"{_duration(seconds)} ago"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    count = max(1, round(seconds))
    return f"{count} second{'s' if count != 1 else ''}"
