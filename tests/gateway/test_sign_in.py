"""Signing in at a real gateway: pages, cookies, the API, and two gateways over one database."""

from __future__ import annotations

import json
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from pointsman.core.errors import SettingsError
from pointsman.settings import Settings
from pointsman.settings.checks import check
from pointsman.testing.upstream import ScriptedUpstream
from waiting import until

from .browser import PASSWORD, Browser, Page, ask_raw, set_up
from .running import Gateway, running

NAMES = {
    "member": "bob",
    "viewer": "vic",
    "hostile": "<script>alert('x')</script>\"&'",
}


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def gateway(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("sign-in")
    with running(folder, {**settings, "log": {"level": "debug"}}) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def admin(gateway: Gateway) -> dict[str, str]:
    """The admin's access token as headers, and the other users made."""
    set_up(gateway)
    token = api_sign_in(gateway, "ada")["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    for role, name in NAMES.items():
        made = gateway.ask(
            "POST", "/api/v1/users", {"name": name, "role": role if role == "viewer" else "member"}, headers=headers
        )
        assert made.status == 201, made.body
        reply = Browser(gateway).submit(f"/set-password?code={made.json['code']}", password=PASSWORD, again=PASSWORD)
        assert (reply.status, reply.headers["location"]) == (303, "/sign-in")
    return headers


def api_sign_in(gateway: Gateway, name: str, password: str = PASSWORD) -> dict[str, Any]:
    reply = gateway.ask("POST", "/api/v1/auth/sign-in", {"name": name, "password": password})
    assert reply.status == 200, reply.body
    return reply.json


def test_without_users_the_port_is_open_and_setup_takes_one_admin(settings, tmp_path: Path):
    with running(tmp_path, settings) as gateway:
        assert gateway.ask("GET", "/v1/models").status == 200
        assert Browser(gateway).get("/sign-in").headers["location"] == "/setup"
        for fields in ({"password": "short", "again": "short"}, {"password": PASSWORD, "again": PASSWORD + "x"}):
            reply = Browser(gateway).submit("/setup", name="ada", **fields)
            assert reply.status == 400
            assert 'role="alert"' in reply.body.decode()
        late = Browser(gateway)
        page = Page(late.get("/setup").body)
        # A proxy on this machine makes everybody come from it: then the code is asked for.
        for headers in ({"x-forwarded-for": "203.0.113.5"}, {"forwarded": "for=203.0.113.5"}):
            passed_on = Browser(gateway)
            form = Page(passed_on.get("/setup", **headers).body).forms[0]
            assert "code" in form.fields
            fields = {**form.fields, "name": "eve", "password": PASSWORD, "again": PASSWORD}
            assert passed_on.post("/setup", fields, **headers).status == 403
        set_up(gateway)
        assert gateway.ask("GET", "/v1/models").status == 401
        fields = {**page.forms[0].fields, "name": "eve", "password": PASSWORD, "again": PASSWORD}
        reply = late.post("/setup", fields)
        assert (reply.status, reply.headers["location"]) == (303, "/sign-in")
        assert Browser(gateway).get("/setup").headers["location"] == "/sign-in"


def test_from_elsewhere_setup_asks_for_the_code_of_the_log(settings, tmp_path: Path):
    tree = {
        **settings,
        "security": {"public_url": "https://ai.example.org"},
        "server": {"allowed_hosts": ["ai.example.org"]},
    }
    with running(tmp_path, tree) as gateway:
        until(lambda: "enter this code" in gateway.log_text)
        code = gateway.log_text.split("enter this code: ")[1].split()[0]
        browser = Browser(gateway)
        remote = {"host": "ai.example.org", "origin": "https://ai.example.org"}
        form = Page(browser.get("/setup", host="ai.example.org").body).forms[0]
        fields = {**form.fields, "name": "ada", "password": PASSWORD, "again": PASSWORD}
        assert "__Host-pointsman_visitor" in browser.cookies
        # The browser speaks TLS to the proxy in front, so its origin is not the one that the Host header alone tells.
        assert browser.post("/setup", {**fields, "code": "wrong"}, **remote).status == 403
        assert browser.post("/setup", {**fields, "code": code}, **remote).status == 303
        for name in ("__Host-pointsman_session", "__Host-pointsman_refresh"):
            assert browser.flags[name].endswith("Secure")
            assert "Path=/;" in browser.flags[name]
            assert "Domain" not in browser.flags[name]
        assert browser.get("/account", host="ai.example.org").status == 200
        plain = {"cookie": f"pointsman_session={browser.cookies['__Host-pointsman_session']}", "host": "ai.example.org"}
        assert gateway.ask("GET", "/v1/models", headers=plain).status == 401, "only the protected name counts"


def test_a_session_in_cookies_from_sign_in_to_sign_out(gateway: Gateway, admin):
    browser = Browser(gateway)
    reply = browser.get("/v1/models")
    assert (reply.status, reply.headers["location"]) == (303, "/sign-in?next=/v1/models")
    assert gateway.ask("GET", "/v1/models").status == 401, "a program is not led to a page"
    assert browser.sign_in("bob", next="/v1/models").headers["location"] == "/v1/models"
    for name in ("pointsman_session", "pointsman_refresh"):
        flags = browser.flags[name]
        assert "HttpOnly" in flags
        assert "SameSite=Lax" in flags
    assert browser.get("/v1/models").status == 200
    page = Page(browser.get("/account").body)
    assert "Signed in as bob (member)" in page.text
    assert "this browser" in page.text
    kept = dict(browser.cookies)
    assert browser.submit("/account", form=0).headers["location"] == "/sign-in"
    assert "pointsman_session" not in browser.cookies
    browser.cookies = kept
    assert (
        gateway.ask("GET", "/v1/models", headers={"cookie": f"pointsman_session={kept['pointsman_session']}"}).status
        == 401
    )
    assert browser.get("/account").headers["location"] == "/sign-in?next=/account"


def test_pages_are_labelled_closed_to_scripts_and_never_kept(gateway: Gateway, admin):
    browser = Browser(gateway)
    pages = [browser.get(path) for path in ("/sign-in", "/set-password")]
    browser.sign_in("bob")
    pages.append(browser.get("/account"))
    for reply in pages:
        page = Page(reply.body)
        assert not {tag for tag, _ in page.elements} & {"script", "img", "link", "iframe", "object"}
        inputs = [attrs for tag, attrs in page.elements if tag == "input" and "hidden" not in (*attrs, attrs["type"])]
        assert inputs
        assert all(attrs["id"] in page.labelled for attrs in inputs)
        assert all("csrf" in form.fields for form in page.forms)
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "form-action 'self'" in policy
        assert "unsafe" not in policy
        assert reply.headers["cache-control"] == "no-store"


def test_names_are_escaped_wherever_they_stand(gateway: Gateway, admin):
    browser = Browser(gateway)
    name = NAMES["hostile"]
    reply = browser.submit("/sign-in", name=name + "x", password="wrong")
    assert reply.status == 403
    assert "<script" not in reply.body.decode()
    assert Page(reply.body).forms[0].fields["name"] == name + "x"
    browser.sign_in(name)
    for agent in ("<img src=x onerror=alert(1)>", "plain"):
        other = Browser(gateway)
        page = other.get("/sign-in")
        fields = {**Page(page.body).forms[0].fields, "name": name, "password": PASSWORD}
        assert other.post("/sign-in", fields, **{"user-agent": agent}).status == 303
    body = browser.get("/account").body.decode()
    assert "&lt;script&gt;" in body
    assert "<script" not in body
    assert "<img" not in body
    assert f"Signed in as {name} " in Page(body.encode()).text


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example", "https://evil.example/", "/\\evil.example", "\\\\evil.example", "/%5cevil.example",
        "/..//evil.example",
        "/a//b", "javascript:alert(1)", "/\tevil", "/ //evil", "/%2F%2Fevil.example/..", " /account",
        "/x\r\nset-cookie: a=b",
        "/\u2028", "/" + "a" * 5000,
    ],
)  # fmt: skip
def test_no_redirect_leads_elsewhere(gateway: Gateway, admin, signed_in: Browser, target: str):
    reply = signed_in.get(f"/sign-in?next={quote(target, safe='')}")
    assert (reply.status, reply.headers["location"]) == (303, "/account")


@pytest.fixture(scope="module")
def signed_in(gateway: Gateway, admin) -> Browser:
    browser = Browser(gateway)
    assert browser.sign_in("bob").status == 303
    return browser


def test_a_target_of_our_own_is_kept(signed_in: Browser):
    assert (
        signed_in.get("/sign-in?next=%2Fapi%2Fv1%2Fdecisions%3Flimit%3D5").headers["location"]
        == "/api/v1/decisions?limit=5"
    )


def test_forms_of_others_are_refused(gateway: Gateway, admin, signed_in: Browser):
    page = Page(signed_in.get("/account").body)
    form = page.forms[0]
    sid = signed_in.cookies["pointsman_session"]
    stranger = Browser(gateway)
    theirs = Page(stranger.get("/sign-in").body).forms[0].fields["csrf"]
    for fields, headers in (
        ({}, {}),
        ({"csrf": ""}, {}),
        ({"csrf": theirs}, {}),
        ({"csrf": form.fields["csrf"][::-1]}, {}),
        (form.fields, {"origin": "https://evil.example"}),
        (form.fields, {"origin": "null"}),
        (form.fields, {"origin": "http://127.0.0.1:1"}),
        (form.fields, {"content-type": "text/plain"}),
        (form.fields, {"content-type": "multipart/form-data; boundary=x"}),
    ):
        reply = signed_in.post(form.action, dict(fields), **headers)
        assert reply.status in (400, 403), (fields, headers)
    # Without an Origin, as a foreign page cannot send it; the browser then says where it comes from.
    headers = {"content-type": "application/x-www-form-urlencoded", "cookie": f"pointsman_session={sid}"}
    body = f"csrf={form.fields['csrf']}".encode()
    for site in ("cross-site", "same-site"):
        assert gateway.ask("POST", form.action, body, headers={**headers, "sec-fetch-site": site}).status == 403
    assert signed_in.get("/account").status == 200, "nobody was signed out"


def test_a_sign_in_form_is_bound_to_the_browser_that_it_was_shown_to(gateway: Gateway, admin):
    victim, attacker = Browser(gateway), Browser(gateway)
    form = Page(attacker.get("/sign-in").body).forms[0]
    fields = {**form.fields, "name": "vic", "password": PASSWORD}
    assert victim.post("/sign-in", fields).status == 403
    victim.get("/sign-in")
    assert victim.post("/sign-in", fields).status == 403
    assert "pointsman_session" not in victim.cookies
    assert attacker.post("/sign-in", fields).status == 303


def test_a_session_planted_before_the_sign_in_is_not_used(gateway: Gateway, admin):
    attacker = Browser(gateway)
    attacker.sign_in("vic")
    victim = Browser(gateway)
    victim.cookies = dict(attacker.cookies)
    page = Page(victim.get("/account").body)
    assert "vic" in page.text
    victim.cookies["pointsman_visitor"] = "planted"
    victim.cookies.pop("pointsman_session")
    victim.cookies.pop("pointsman_refresh")
    assert victim.sign_in("bob").status == 303
    before = set(attacker.cookies.values())
    assert not before & set(victim.cookies.values())
    assert "Signed in as vic" in Page(attacker.get("/account").body).text


def test_api_requests_with_cookies_need_the_csrf_token(gateway: Gateway, admin, cloud: ScriptedUpstream, lan):
    sent = {"name": "bob", "password": PASSWORD, "cookies": True}
    reply, lines = ask_raw(
        gateway, "POST", "/api/v1/auth/sign-in", json.dumps(sent), {"content-type": "application/json"}
    )
    assert reply.json["access_token"] is None
    assert reply.json["refresh_token"] is None
    cookie = {"cookie": "; ".join(line.split(";")[0] for line in lines)}
    chat = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    assert gateway.ask("POST", "/v1/chat/completions", chat, headers=cookie).status == 403
    wrong = {**cookie, "x-csrf-token": "0" * 64}
    assert gateway.ask("POST", "/v1/chat/completions", chat, headers=wrong).status == 403
    right = {**cookie, "x-csrf-token": reply.json["csrf_token"]}
    answer = gateway.ask("POST", "/v1/chat/completions", chat, headers=right)
    assert answer.status == 200
    me = gateway.ask("GET", "/api/v1/auth/me", headers=cookie).json
    assert (me["name"], me["role"], me["admin"], me["csrf_token"]) == ("bob", "member", False, reply.json["csrf_token"])
    identifier = answer.headers["x-pointsman-decision"]
    until(lambda: gateway.ask("GET", f"/api/v1/decisions/{identifier}", headers=cookie).status == 200)
    vic = {"authorization": f"Bearer {api_sign_in(gateway, 'vic')['access_token']}"}
    assert gateway.ask("GET", f"/api/v1/decisions/{identifier}", headers=vic).status == 404
    assert gateway.ask("POST", "/api/v1/auth/sign-out", {}, headers=cookie).status == 403
    assert gateway.ask("POST", "/api/v1/auth/sign-out", {}, headers=right).json == {"ended": True}
    assert gateway.ask("GET", "/api/v1/auth/me", headers=cookie).status == 401


def test_a_form_of_another_site_cannot_sign_in_at_the_api(gateway: Gateway, admin):
    body = json.dumps({"name": "bob", "password": PASSWORD, "cookies": True}).encode()
    for headers in (
        {"content-type": "text/plain"},
        {"content-type": "application/json", "origin": "https://evil.example"},
    ):
        reply = gateway.ask("POST", "/api/v1/auth/sign-in", body, headers=headers)
        assert reply.status in (400, 403)
        assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("path", ["sign-in", "refresh", "sign-out"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"[" * 5000,
        {"name": 7, "refresh_token": 7},
        {"name": "a" * 5000, "refresh_token": "b" * 5000},
        {"name": "a", "password": None, "refresh_token": "\ud800"},
    ],
    ids=lambda body: repr(body)[:30],
)
def test_rubbish_at_the_api_is_told_as_such(gateway: Gateway, admin, path: str, body: Any):
    reply = gateway.ask("POST", f"/api/v1/auth/{path}", body)
    if path == "sign-out" and reply.status == 200:
        assert reply.json == {"ended": False}
        return
    assert reply.status in (400, 401)
    assert reply.json["error"]["code"] in ("validation_error", "auth_error")


def test_pages_say_so_when_the_database_is_away(settings, tmp_path: Path):
    with running(tmp_path, settings) as gateway:
        browser = set_up(gateway)
        path = gateway.folder / "data" / "pointsman.sqlite3"
        database = sqlite3.connect(path, isolation_level=None)
        try:
            database.execute("DROP TABLE sign_in_failures")
        finally:
            database.close()
        reply = Browser(gateway).submit("/sign-in", name="ada", password=PASSWORD)
        assert reply.status == 503
        assert "does not answer" in reply.body.decode()
        assert str(path) not in reply.body.decode()
        assert browser.get("/account").status == 200


def test_roles_decide_what_one_may_do(gateway: Gateway, admin, lan, cloud):
    headers = {
        name: {"authorization": f"Bearer {api_sign_in(gateway, name)['access_token']}"} for name in ("bob", "vic")
    }
    chat = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    assert gateway.ask("POST", "/v1/chat/completions", chat, headers=headers["bob"]).status == 200
    assert gateway.ask("POST", "/v1/chat/completions", chat, headers=headers["vic"]).status == 403
    for name in ("bob", "vic"):
        assert gateway.ask("GET", "/v1/models", headers=headers[name]).status == 200
        assert gateway.ask("GET", "/api/v1/users", headers=headers[name]).status == 403
        reply = gateway.ask("POST", "/api/v1/users", {"name": "mallory", "role": "admin"}, headers=headers[name])
        assert reply.status == 403
    assert gateway.ask("GET", "/api/v1/users", headers=admin).status == 200


def test_an_admin_changes_users_and_it_holds_at_once(gateway: Gateway, admin):
    made = gateway.ask("POST", "/api/v1/users", {"name": "tim"}, headers=admin).json
    assert made["url"] == f"{gateway.url}/set-password?code={made['code']}"
    identifier = made["user"]["id"]
    Browser(gateway).submit(f"/set-password?code={made['code']}", password=PASSWORD, again=PASSWORD)
    tim = {"authorization": f"Bearer {api_sign_in(gateway, 'tim')['access_token']}"}
    assert gateway.ask("POST", f"/api/v1/users/{identifier}", {"role": "admin"}, headers=admin).json["role"] == "admin"
    assert gateway.ask("GET", "/api/v1/users", headers=tim).status == 200
    assert gateway.ask("POST", f"/api/v1/users/{identifier}", {"disabled": True}, headers=admin).json["disabled"]
    assert gateway.ask("GET", "/api/v1/users", headers=tim).status == 401
    refused = gateway.ask("POST", "/api/v1/auth/sign-in", {"name": "tim", "password": PASSWORD})
    assert (refused.status, refused.json["error"]["details"]["reason"]) == (401, "sign_in_failed")
    for body in ({}, {"role": "king"}, {"disabled": "perhaps"}, b"[", b"\xff"):
        assert gateway.ask("POST", f"/api/v1/users/{identifier}", body, headers=admin).status == 400
    assert gateway.ask("POST", "/api/v1/users/nobody", {"role": "viewer"}, headers=admin).status == 404
    last = gateway.ask("POST", "/api/v1/users/ada", {"role": "viewer"}, headers=admin)
    assert (last.status, last.json["error"]["details"]["reason"]) == (400, "last_admin")


def test_the_account_page_changes_the_password_and_ends_sessions(gateway: Gateway, admin):
    code = gateway.ask("POST", "/api/v1/users", {"name": "pat"}, headers=admin).json["code"]
    Browser(gateway).submit(f"/set-password?code={code}", password=PASSWORD, again=PASSWORD)
    mine, other, third = Browser(gateway), Browser(gateway), Browser(gateway)
    for browser in (mine, other, third):
        browser.sign_in("pat")
    page = Page(mine.get("/account").body)
    ends = [form for form in page.forms if form.action == "/account/end"]
    assert len(ends) == 4, "three sessions, and all others"
    strangers = Browser(gateway)
    strangers.sign_in("bob")
    csrf = Page(strangers.get("/account").body).forms[0].fields["csrf"]
    for form in ends[:3]:
        strangers.post("/account/end", {"csrf": csrf, "session": form.fields["session"]})
    assert other.get("/account").status == 200, "nobody ends another user's session"
    new = "four green bottles"
    for current, again in (("wrong password", new), (PASSWORD, new + "x")):
        reply = mine.submit("/account", form=1, current=current, password=new, again=again)
        assert reply.status in (400, 403)
    reply = mine.submit("/account", form=1, current=PASSWORD, password=new, again=new)
    assert reply.headers["location"] == "/account?done=1"
    assert mine.get("/account").status == 200
    for browser in (other, third):
        assert browser.get("/account").headers["location"] == "/sign-in?next=/account"
    assert other.sign_in("pat", PASSWORD).status == 403
    assert other.sign_in("pat", new).status == 303
    page = Page(mine.get("/account").body)
    mine.post("/account/end", [form for form in page.forms if form.action == "/account/end"][-1].fields)
    assert other.get("/account").status == 303
    assert mine.get("/account").status == 200


def test_lockout_slows_down_and_the_command_line_ends_it(gateway: Gateway, admin):
    code = gateway.ask("POST", "/api/v1/users", {"name": "lou"}, headers=admin).json["code"]
    Browser(gateway).submit(f"/set-password?code={code}", password=PASSWORD, again=PASSWORD)
    wrong = {"name": "lou", "password": "not the password"}
    replies = [gateway.ask("POST", "/api/v1/auth/sign-in", wrong) for _ in range(20)]
    assert {reply.status for reply in replies} == {401, 429}
    locked = next(reply for reply in replies if reply.status == 429)
    assert int(locked.headers["retry-after"]) >= 1
    right = {"name": "lou", "password": PASSWORD}
    statuses: list[int] = []
    while 429 not in statuses:  # on a slow machine the first wait, a second, may be over before this is asked
        assert len(statuses) < 5
        until(lambda: gateway.ask("POST", "/api/v1/auth/sign-in", wrong).status == 429)
        statuses.append(gateway.ask("POST", "/api/v1/auth/sign-in", right).status)
    command(gateway, "users", "unlock", "lou")
    assert gateway.ask("POST", "/api/v1/auth/sign-in", right).status == 200


def command(gateway: Gateway, *words: str, text: str = "") -> str:
    config = str(gateway.folder / "pointsman.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "--config", config, *words], input=text, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_users_of_the_command_line_are_known_within_a_second(gateway: Gateway, admin):
    made = json.loads(command(gateway, "users", "add", "cli", "--role", "viewer", "--json", text=PASSWORD + "\n"))
    assert (made["name"], made["role"]) == ("cli", "viewer")
    token = api_sign_in(gateway, "cli")["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    until(lambda: gateway.ask("GET", "/v1/models", headers=headers).status == 200)
    command(gateway, "users", "disable", "cli")
    done = time.monotonic()
    until(lambda: gateway.ask("GET", "/v1/models", headers=headers).status == 401)
    assert time.monotonic() - done < 3
    listed = json.loads(command(gateway, "users", "--json"))
    assert {user["name"]: user["disabled"] for user in listed}["cli"] is True
    command(gateway, "users", "remove", "cli", "--yes")


def test_names_that_do_not_exist_take_as_long(gateway: Gateway, admin):
    """Nothing but an address's own back-off may tell; so no more than its free attempts are made here."""

    def seconds(name: str) -> float:
        begun = time.perf_counter()
        assert gateway.ask("POST", "/api/v1/auth/sign-in", {"name": name, "password": "guess"}).status in (401, 429)
        return time.perf_counter() - begun

    for name in ("bob", "vic", "ada"):
        command(gateway, "users", "unlock", name)
    known = [seconds(name) for name in ("bob", "vic", "bob", "vic")]
    unknown = [seconds(f"nobody-{number}") for number in range(4)]
    ratio = statistics.median(known) / statistics.median(unknown)
    assert 0.25 < ratio < 4, (known, unknown)
    for name in ("bob", "vic"):
        command(gateway, "users", "unlock", name)


def test_passwords_and_tokens_are_in_no_file(gateway: Gateway, admin):
    """Last in this module, and at the debug level: everything above has gone through log and database."""
    tokens = api_sign_in(gateway, "ada")
    renewed = gateway.ask("POST", "/api/v1/auth/refresh", {"refresh_token": tokens["refresh_token"]}).json
    browser = Browser(gateway)
    browser.sign_in("ada")
    secrets = [PASSWORD, "not the password", *browser.cookies.values()]
    secrets += [answer[kind] for answer in (tokens, renewed) for kind in ("access_token", "refresh_token")]
    files = [path for path in gateway.folder.rglob("*") if path.is_file()]
    assert any(path.name == "pointsman.sqlite3" for path in files)
    for path in files:
        content = path.read_bytes()
        for secret in secrets:
            assert secret.encode() not in content, path.name


def test_a_stolen_refresh_token_ends_the_family_on_every_replica(settings, tmp_path: Path):
    with running(tmp_path / "one", settings) as one:
        set_up(one)
        shared = {**settings, "data_dir": str(tmp_path / "one" / "data")}
        with running(tmp_path / "two", shared) as two:
            tokens = api_sign_in(one, "ada")
            stolen = tokens["refresh_token"]
            renewed = two.ask("POST", "/api/v1/auth/refresh", {"refresh_token": stolen}).json
            headers = {"authorization": f"Bearer {renewed['access_token']}"}
            for gateway in (one, two):
                assert gateway.ask("GET", "/v1/models", headers=headers).status == 200
            again = one.ask("POST", "/api/v1/auth/refresh", {"refresh_token": stolen})
            assert (again.status, again.json["error"]["details"]["reason"]) == (401, "session_ended")
            ended = time.monotonic()
            assert one.ask("GET", "/v1/models", headers=headers).status == 401, "at once where it was noticed"
            until(lambda: two.ask("GET", "/v1/models", headers=headers).status == 401)
            assert time.monotonic() - ended < 3, "a second, and some for a busy machine"
            successor = {"refresh_token": renewed["refresh_token"]}
            assert two.ask("POST", "/api/v1/auth/refresh", successor).status == 401
            # The same with a browser's cookies: a copy that comes late ends the session.
            mine, thief = Browser(one), Browser(two)
            mine.sign_in("ada")
            thief.cookies = dict(mine.cookies)
            for browser in (mine, thief):
                browser.cookies.pop("pointsman_session")
                assert browser.get("/account").status == 200, "two tabs may send one cookie at once"
            assert "pointsman_refresh" in mine.cookies
            assert thief.cookies["pointsman_refresh"] != mine.cookies["pointsman_refresh"]


def test_an_access_token_that_ran_out_is_renewed_by_the_page(settings, tmp_path: Path):
    with running(tmp_path, {**settings, "security": {"access_token_seconds": 1.0}}) as gateway:
        browser = set_up(gateway)
        before = dict(browser.cookies)
        old = {"cookie": f"pointsman_session={before['pointsman_session']}"}
        until(lambda: gateway.ask("GET", "/v1/models", headers=old).status == 401)
        assert browser.get("/v1/models").headers["location"].startswith("/sign-in?next=")
        reply = browser.get("/sign-in?next=/account")
        assert (reply.status, reply.headers["location"]) == (303, "/account")
        assert browser.cookies["pointsman_session"] != before["pointsman_session"]
        assert browser.cookies["pointsman_refresh"] != before["pointsman_refresh"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("public_url", "ai.example.org"),
        ("public_url", "https://ai.example.org/path"),
        ("public_url", "https://user:pass@ai.example.org"),
        ("access_token_seconds", 0),
        ("refresh_token_days", 0),
    ],
)
def test_settings_that_sessions_cannot_live_with_are_named(name: str, value: Any):
    with pytest.raises(SettingsError) as refused:
        check(msgspec.convert({"security": {name: value}}, Settings))
    assert refused.value.key == f"security.{name}"
    assert "pass@" not in refused.value.message
