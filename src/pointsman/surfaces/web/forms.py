"""Pages with forms: read what was sent, and answer with a page that may post to this gateway and do nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from pointsman.core.errors import Forbidden, InvalidRequest, PointsmanError, Unauthenticated
from pointsman.stores.access_tokens import SignedIn
from pointsman.surfaces.sign_in import TAB_LEEWAY, SignIn

from .html import Html, html
from .pages import STYLE

FORM_STYLE = (
    STYLE
    + """
main { max-width: 34rem; margin: 0 auto; }
label { display: block; margin: 1rem 0 .25rem; }
input[type=text], input[type=password] { font: inherit; width: 100%; box-sizing: border-box; padding: .4rem .5rem;
  border: 1px solid #888c; border-radius: .25rem; background: Field; color: FieldText; }
button { font: inherit; margin-top: 1rem; padding: .4rem 1rem; border: 1px solid #888c; border-radius: .25rem;
  background: ButtonFace; color: ButtonText; cursor: pointer; }
td button { margin-top: 0; white-space: nowrap; }
:focus-visible { outline: 2px solid Highlight; outline-offset: 2px; }
.error { border-left: .25rem solid #c33; padding: .25rem .75rem; }
.done { border-left: .25rem solid #393; padding: .25rem .75rem; }
.quiet { opacity: .75; font-size: .9em; }
"""
)

_STYLE_HASH = base64.b64encode(hashlib.sha256(FORM_STYLE.encode()).digest()).decode()

MAX_FORM = 64 * 1024


def headers_for(form_targets: Sequence[str] = ()) -> dict[str, str]:
    """Headers of a page with forms. `form_targets`: where else a form's answer may lead, as CSP sources."""
    targets = " ".join(["'self'", *form_targets])
    return {
        "content-security-policy": f"default-src 'none'; base-uri 'none'; form-action {targets};"
        f" frame-ancestors 'none'; style-src 'sha256-{_STYLE_HASH}'",
        "cache-control": "no-store",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }


def form_page(
    title: str, body: Html, *, status: int = 200, form_targets: Sequence[str] = (), go_to: str | None = None
) -> HTMLResponse:
    """
    Args:
        go_to: a path of ours that the browser opens by itself. (A redirect out of a form would be held to the form's
            page: where it leads further must not be.)
    """
    onward = html('<meta http-equiv="refresh" content="0; url={url}">\n', url=go_to) if go_to is not None else ""
    content = html(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # The server's own policy, no-referrer, would make browsers send `Origin: null` with a form.
        '<meta name="referrer" content="same-origin">\n{onward}'
        "<title>{title} · Pointsman</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        "{body}\n</main>\n</body>\n</html>\n",
        onward=Html(onward), title=title, style=Html(FORM_STYLE), body=body,
    )  # fmt: skip
    return HTMLResponse(content, status_code=status, headers=headers_for(form_targets))


def see_other(path: str) -> Response:
    return RedirectResponse(path, status_code=303, headers={"cache-control": "no-store"})


def notice(text: str, kind: str = "error") -> Html:
    return html('<p class="{kind}" role="alert">{text}</p>', kind=kind, text=text) if text else Html("")


def hidden(fields: Mapping[str, str]) -> Html:
    return Html(
        "".join(html('<input type="hidden" name="{n}" value="{v}">', n=name, v=value) for name, value in fields.items())
    )


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a posted form.

    Raises:
        InvalidRequest: it is no form, too large, or names a field twice.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidRequest(
            "Send the form as `Content-Type: application/x-www-form-urlencoded`.", code="content_type_not_form"
        )
    body = await request.body()
    if len(body) > MAX_FORM:
        raise InvalidRequest("The form is too large.")
    return parse_fields(body)


def parse_fields(body: bytes) -> dict[str, str]:
    """
    Raises:
        InvalidRequest: it is not what a form or query holds, or names a field twice.
    """
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=50, errors="strict")
    except ValueError:
        raise InvalidRequest("The form cannot be read.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidRequest("A field was sent twice.")
    return fields


class Visit:
    """One request to a page: who has signed in, and the cookies that the answer must carry."""

    def __init__(self, sign_in: SignIn, request: Request) -> None:
        self._sign_in = sign_in
        self.request = request
        self.who: SignedIn | None = None
        self._cookies: list[str] = []
        self._visitor = request.cookies.get(sign_in.cookie_name("visitor"))

    @classmethod
    async def of(cls, sign_in: SignIn, request: Request) -> Visit:
        """Whoever the cookies say; an access token that has run out is replaced by the way."""
        visit = cls(sign_in, request)
        visit.who = sign_in.person(request.cookies.get(sign_in.cookie_name("session")))
        refresh = request.cookies.get(sign_in.cookie_name("refresh"))
        if visit.who is None and refresh:
            try:
                tokens = await sign_in.refresh(refresh, leeway=TAB_LEEWAY)
            except PointsmanError as error:
                if not isinstance(error, Unauthenticated):
                    raise
                visit._cookies += sign_in.no_cookies()
            else:
                visit._cookies += sign_in.cookies(tokens)
                visit.who = sign_in.person(tokens.access_token)
        return visit

    @property
    def peer(self) -> str:
        return self.request.client.host if self.request.client is not None else ""

    @property
    def agent(self) -> str:
        return self.request.headers.get("user-agent", "")

    def csrf(self) -> str:
        """What a form on this page must send along."""
        if self.who is not None:
            return self._sign_in.sessions.csrf_token(self.who.session_id)
        if not self._visitor:
            self._visitor = self._sign_in.new_visitor()
            self._cookies.append(self._sign_in.cookie("visitor", self._visitor, 3600))
        return self._sign_in.form_token(self._visitor)

    def check(self, form: Mapping[str, str]) -> None:
        """
        Raises:
            Forbidden: the form is not one that this browser was shown here.
        """
        self._sign_in.check_origin(self.request.headers)
        sent = form.get("csrf", "")
        fits = (
            self._sign_in.sessions.csrf_fits(self.who.session_id, sent.encode("utf-8", "surrogatepass"))
            if self.who is not None
            else self._sign_in.form_fits(self._visitor, sent)
        )
        if not fits:
            raise Forbidden(
                "The page was open for too long, or cookies are blocked. Load it again and repeat.", code="csrf"
            )

    def signed_in(self, cookies: list[str]) -> None:
        """The answer carries these cookies; the browser's name from before the sign-in is forgotten."""
        self._cookies += [*cookies, self._sign_in.cookie("visitor", "", 0)]

    def finish(self, response: Response) -> Response:
        for cookie in self._cookies:
            response.headers.append("set-cookie", cookie)
        return response
