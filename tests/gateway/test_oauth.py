"""The authorization server, asked by Authlib's own OAuth client; consent is given in the pages."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from authlib.integrations.httpx_client import OAuth2Client, OAuthError
from authlib.oauth2 import rfc8414, rfc9207
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from waiting import until

from .browser import PASSWORD, Browser, Page, set_up
from .running import Gateway, Reply, running
from .test_sign_in import api_sign_in, command

VERIFIER = "v" * 20 + "-._~" + "0123456789" * 3
CALLBACK = "https://app.example/callback?kept=1"

CLIENTS: list[OAuth2Client] = []

pytestmark = pytest.mark.client


@pytest.fixture(autouse=True)
def close_clients() -> Iterator[None]:
    yield
    while CLIENTS:
        CLIENTS.pop().close()


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def gateway(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("oauth")
    with running(folder, {**settings, "log": {"level": "debug"}}) as gateway:
        set_up(gateway)
        yield gateway


def register(gateway: Gateway, name: str, *words: str) -> dict[str, Any]:
    return json.loads(command(gateway, "clients", "add", name, *words, "--json"))


@pytest.fixture(scope="module")
def app(gateway: Gateway) -> dict[str, Any]:
    """A third party's public client."""
    return register(
        gateway, "<b>Some App</b>", "--redirect-uri", CALLBACK, "--redirect-uri", "http://127.0.0.1/cb",
        "--scope", "chat", "--scope", "models", "--scope", "admin",
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser(gateway: Gateway, app) -> Browser:
    browser = Browser(gateway)
    assert browser.sign_in("ada").status == 303
    return browser


def client_for(gateway: Gateway, app: dict[str, Any], **options: Any) -> OAuth2Client:
    secret = app.get("client_secret")
    client = OAuth2Client(
        app["id"],
        secret,
        token_endpoint_auth_method="client_secret_basic" if secret else "none",
        code_challenge_method="S256",
        redirect_uri=options.pop("redirect_uri", CALLBACK),
        scope=options.pop("scope", "chat models"),
        token_endpoint=f"{gateway.url}/oauth/token",
        revocation_endpoint=f"{gateway.url}/oauth/revoke",
        timeout=30,
        **options,
    )
    CLIENTS.append(client)
    return client


def authorize(browser: Browser, client: OAuth2Client, decision: str = "allow", **extra: str) -> str:
    """Go where the client leads, and decide; the address that the browser is sent to in the end."""
    url, _ = client.create_authorization_url(
        f"{browser.gateway.url}/oauth/authorize", code_verifier=VERIFIER, state="st&te=1", **extra
    )
    return decide(browser, url.removeprefix(browser.gateway.url), decision)


def decide(browser: Browser, path: str, decision: str = "allow") -> str:
    reply = browser.get(path)
    if reply.status == 200:
        form = Page(reply.body).forms[0]
        reply = browser.post(form.action, {**form.fields, "decision": decision})
    assert reply.status == 303, reply.body
    return reply.headers["location"]


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def granted(gateway: Gateway, browser: Browser, client: OAuth2Client, **extra: str) -> dict[str, Any]:
    return client.fetch_token(
        authorization_response=authorize(browser, client, **extra), code_verifier=VERIFIER, state="st&te=1"
    )


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def post_token(gateway: Gateway, **fields: str) -> Reply:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return gateway.ask("POST", "/oauth/token", urlencode(fields).encode(), headers=headers)


def test_the_metadata_are_valid_and_name_this_gateway(gateway: Gateway):
    document = gateway.ask("GET", "/.well-known/oauth-authorization-server").json
    assert document["issuer"] == gateway.url
    assert document["code_challenge_methods_supported"] == ["S256"]
    # Authlib wants https for an issuer; the gateway of this test is at a loopback address.
    public = json.loads(json.dumps(document).replace(gateway.url, "https://ai.example.org"))
    rfc8414.AuthorizationServerMetadata(public).validate(metadata_classes=[rfc9207.AuthorizationServerMetadata])


def test_a_third_party_gets_what_was_consented_to_and_no_more(gateway: Gateway, app, browser: Browser, lan, cloud):
    client = client_for(gateway, app)
    url, _ = client.create_authorization_url(f"{gateway.url}/oauth/authorize", code_verifier=VERIFIER, state="s")
    reply = browser.get(url.removeprefix(gateway.url))
    page = Page(reply.body)
    assert "<b>Some App</b> wants to act for you, ada" in page.text
    assert "<b>" not in reply.body.decode()
    assert "Send prompts to models" in page.text
    assert "Administer" not in page.text
    assert "app.example" in page.text
    assert "form-action 'self' https://app.example;" in reply.headers["content-security-policy"]

    location = authorize(browser, client)
    assert location.startswith("https://app.example/callback?kept=1&")
    answer = query_of(location)
    assert (answer["state"], answer["iss"], answer["kept"]) == ("st&te=1", gateway.url, "1")
    token = client.fetch_token(authorization_response=location, code_verifier=VERIFIER, state="st&te=1")
    assert (token["token_type"], token["scope"]) == ("Bearer", "chat models")
    headers = bearer(token["access_token"])
    assert gateway.ask("GET", "/v1/models", headers=headers).status == 200
    chat = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    assert gateway.ask("POST", "/v1/chat/completions", chat, headers=headers).status == 200
    assert gateway.ask("GET", "/api/v1/users", headers=headers).status == 403, "though ada is an admin"
    assert gateway.ask("GET", "/api/v1/decisions", headers=headers).status == 403
    me = gateway.ask("GET", "/api/v1/auth/me", headers=headers).json
    assert (me["role"], me["admin"], me["scopes"]) == ("member", False, ["chat", "models"])
    # An application's token is no session of the gateway's pages, nor does its refresh token serve there.
    cookies = {"cookie": f"pointsman_session={token['access_token']}; pointsman_refresh={token['refresh_token']}"}
    assert gateway.ask("GET", "/account", headers=cookies).status == 303
    refreshed = gateway.ask("POST", "/api/v1/auth/refresh", {"refresh_token": token["refresh_token"]})
    assert refreshed.status == 401
    renewed = client.refresh_token(refresh_token=token["refresh_token"])
    assert renewed["refresh_token"] != token["refresh_token"]
    assert gateway.ask("GET", "/v1/models", headers=bearer(renewed["access_token"])).status == 200


def test_whoever_is_not_signed_in_signs_in_first(gateway: Gateway, app):
    browser = Browser(gateway)
    client = client_for(gateway, app)
    url, _ = client.create_authorization_url(f"{gateway.url}/oauth/authorize", code_verifier=VERIFIER, state="s")
    reply = browser.get(url.removeprefix(gateway.url))
    assert reply.status == 303
    onward = reply.headers["location"]
    reply = browser.submit(onward, name="ada", password=PASSWORD)
    assert reply.status == 200, "the page leads on by itself: a redirect would be held to the form's own policy"
    refresh = next(attrs for tag, attrs in Page(reply.body).elements if attrs.get("http-equiv") == "refresh")
    path = (refresh["content"] or "").removeprefix("0; url=")
    assert "code" in query_of(decide(browser, path))


def test_a_refusal_reaches_the_application(gateway: Gateway, app, browser: Browser):
    answer = query_of(authorize(browser, client_for(gateway, app), decision="deny"))
    assert (answer["error"], answer["state"], answer["iss"]) == ("access_denied", "st&te=1", gateway.url)


def test_consent_cannot_be_forged(gateway: Gateway, app, browser: Browser):
    client = client_for(gateway, app)
    url, _ = client.create_authorization_url(f"{gateway.url}/oauth/authorize", code_verifier=VERIFIER, state="s")
    form = Page(browser.get(url.removeprefix(gateway.url)).body).forms[0]
    for fields, headers in (
        ({**form.fields, "csrf": "0" * 64}, {}),
        ({**form.fields, "csrf": ""}, {}),
        (form.fields, {"origin": "https://app.example"}),
        (form.fields, {"origin": "null"}),
    ):
        reply = browser.post(form.action, {**fields, "decision": "allow"}, **headers)
        assert reply.status == 403
    changed = form.fields["query"].replace("app.example", "evil.example")
    reply = browser.post(form.action, {**form.fields, "query": changed, "decision": "allow"})
    assert (reply.status, reply.headers.get("location")) == (400, None)


def test_a_first_party_is_not_asked_about(gateway: Gateway, browser: Browser):
    own = register(gateway, "Own", "--redirect-uri", "https://own.example/cb", "--first-party", "--scope", "admin")
    client = client_for(gateway, own, redirect_uri="https://own.example/cb", scope="admin")
    url, _ = client.create_authorization_url(f"{gateway.url}/oauth/authorize", code_verifier=VERIFIER, state="st&te=1")
    reply = browser.get(url.removeprefix(gateway.url))
    assert reply.status == 303
    token = client.fetch_token(
        authorization_response=reply.headers["location"], code_verifier=VERIFIER, state="st&te=1"
    )
    assert gateway.ask("GET", "/api/v1/users", headers=bearer(token["access_token"])).status == 200


def test_a_confidential_client_proves_itself(gateway: Gateway, browser: Browser):
    server = register(gateway, "Server", "--redirect-uri", "https://server.example/cb", "--confidential")
    client = client_for(gateway, server, redirect_uri="https://server.example/cb")
    location = authorize(browser, client)
    code = query_of(location)["code"]
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": "https://server.example/cb",
              "code_verifier": VERIFIER, "client_id": server["id"]}  # fmt: skip
    for extra in ({}, {"client_secret": "wrong"}):
        reply = post_token(gateway, **fields, **extra)
        assert (reply.status, reply.json["error"]) == (401, "invalid_client")
    token = client.fetch_token(authorization_response=location, code_verifier=VERIFIER, state="st&te=1")
    assert gateway.ask("GET", "/v1/models", headers=bearer(token["access_token"])).status == 200


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "everything"}, "invalid_scope"),
        ({"scope": "usage"}, "invalid_scope"),
    ],
    ids=str,
)
def test_requests_that_ask_for_too_little_safety_are_sent_back(gateway: Gateway, app, browser, change, error):
    answer = query_of(decide(browser, "/oauth/authorize?" + urlencode(request_of(app, change))))
    assert (answer["error"], answer["state"], answer["iss"]) == (error, "s", gateway.url)
    assert "code" not in answer


def request_of(app: dict[str, Any], change: dict[str, Any]) -> dict[str, str]:
    fields = {
        "response_type": "code", "client_id": app["id"], "redirect_uri": CALLBACK, "scope": "chat", "state": "s",
        "code_challenge": create_s256_code_challenge(VERIFIER), "code_challenge_method": "S256", **change,
    }  # fmt: skip
    return {name: value for name, value in fields.items() if value is not None}


@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uri": "https://evil.example/callback?kept=1"}, {"redirect_uri": CALLBACK + "&x=1"},
        {"redirect_uri": None}, {"redirect_uri": "javascript:alert(1)"}, {"redirect_uri": 'https://a.example/"><script>'},
        {"client_id": "client_unknown"}, {"client_id": None}, {"client_id": "é"}, {"state": "\n"},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_trusted_is_sent_nowhere(gateway: Gateway, app, browser: Browser, change):
    reply = browser.get("/oauth/authorize?" + urlencode(request_of(app, change)))
    assert reply.status == 400
    assert "location" not in reply.headers
    assert "<script" not in reply.body.decode()
    assert "Nothing was granted" in reply.body.decode()


def test_a_parameter_that_stands_twice_is_sent_nowhere(gateway: Gateway, app, browser: Browser):
    query = urlencode(request_of(app, {})) + "&redirect_uri=https%3A%2F%2Fevil.example"
    assert browser.get(f"/oauth/authorize?{query}").status == 400


def test_a_native_app_may_listen_at_any_loopback_port(gateway: Gateway, app, browser: Browser):
    client = client_for(gateway, app, redirect_uri="http://127.0.0.1:49152/cb")
    assert granted(gateway, browser, client)["access_token"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_verifier": "w" * 50}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"code_verifier": create_s256_code_challenge(VERIFIER)}, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1/cb"}, "invalid_grant"),
        ({"redirect_uri": ""}, "invalid_grant"),
        ({"code": "unknown"}, "invalid_grant"),
        ({"client_id": "client_unknown"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"code": 'x"\\'}, "invalid_request"),
    ],
    ids=str,
)
def test_a_stolen_code_is_worth_nothing(gateway: Gateway, app, browser: Browser, change, error):
    code = query_of(authorize(browser, client_for(gateway, app)))["code"]
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK,
              "code_verifier": VERIFIER, "client_id": app["id"]}  # fmt: skip
    reply = post_token(gateway, **{**fields, **change})
    assert reply.status in (400, 401)
    assert reply.json["error"] == error
    assert "no-store" in reply.headers["cache-control"]
    assert post_token(gateway, **fields).status == 200, "and who made the request still gets what is theirs"


def test_a_code_of_another_client_is_worth_nothing(gateway: Gateway, app, browser: Browser):
    other = register(gateway, "Other", "--redirect-uri", CALLBACK)
    code = query_of(authorize(browser, client_for(gateway, app)))["code"]
    reply = post_token(gateway, grant_type="authorization_code", code=code, redirect_uri=CALLBACK,
                       code_verifier=VERIFIER, client_id=other["id"])  # fmt: skip
    assert (reply.status, reply.json["error"]) == (400, "invalid_grant")


def test_a_code_used_twice_ends_what_it_gave(gateway: Gateway, app, browser: Browser):
    client = client_for(gateway, app)
    location = authorize(browser, client)
    token = client.fetch_token(authorization_response=location, code_verifier=VERIFIER, state="st&te=1")
    assert gateway.ask("GET", "/v1/models", headers=bearer(token["access_token"])).status == 200
    with pytest.raises(OAuthError, match="invalid_grant"):
        client_for(gateway, app).fetch_token(authorization_response=location, code_verifier=VERIFIER, state="st&te=1")
    assert gateway.ask("GET", "/v1/models", headers=bearer(token["access_token"])).status == 401
    with pytest.raises(OAuthError, match="invalid_grant"):
        client.refresh_token(refresh_token=token["refresh_token"])


def test_a_refresh_token_used_twice_ends_the_family(gateway: Gateway, app, browser: Browser):
    client = client_for(gateway, app)
    token = granted(gateway, browser, client)
    renewed = client.refresh_token(refresh_token=token["refresh_token"])
    other = register(gateway, "Another", "--redirect-uri", CALLBACK)
    stranger = client_for(gateway, other)
    with pytest.raises(OAuthError, match="invalid_grant"):
        stranger.refresh_token(refresh_token=renewed["refresh_token"])
    assert gateway.ask("GET", "/v1/models", headers=bearer(renewed["access_token"])).status == 200
    with pytest.raises(OAuthError, match="invalid_grant"):
        client.refresh_token(refresh_token=token["refresh_token"])
    assert gateway.ask("GET", "/v1/models", headers=bearer(renewed["access_token"])).status == 401
    with pytest.raises(OAuthError, match="invalid_grant"):
        client.refresh_token(refresh_token=renewed["refresh_token"])


def test_a_refresh_may_narrow_the_scope_and_never_widen_it(gateway: Gateway, app, browser: Browser):
    client = client_for(gateway, app, scope="chat models")
    token = granted(gateway, browser, client)
    narrow = post_token(gateway, grant_type="refresh_token", refresh_token=token["refresh_token"], scope="models",
                        client_id=app["id"]).json  # fmt: skip
    assert narrow["scope"] == "models"
    chat = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    assert gateway.ask("POST", "/v1/chat/completions", chat, headers=bearer(narrow["access_token"])).status == 403
    wider = post_token(gateway, grant_type="refresh_token", refresh_token=narrow["refresh_token"],
                       scope="chat models admin", client_id=app["id"])  # fmt: skip
    assert (wider.status, wider.json["error"]) == (400, "invalid_scope")


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_revoking_a_token_ends_the_session(gateway: Gateway, app, browser: Browser, kind: str):
    client = client_for(gateway, app)
    token = granted(gateway, browser, client)
    other = register(gateway, "Third", "--redirect-uri", CALLBACK)
    fields = urlencode({"token": token[kind], "client_id": other["id"]}).encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert gateway.ask("POST", "/oauth/revoke", fields, headers=headers).status == 400, "a token of somebody else"
    assert client.revoke_token(f"{gateway.url}/oauth/revoke", token=token[kind]).status_code == 200
    assert gateway.ask("GET", "/v1/models", headers=bearer(token["access_token"])).status == 401
    assert client.revoke_token(f"{gateway.url}/oauth/revoke", token="unknown").status_code == 200


def test_a_grant_is_within_the_role_of_who_grants(gateway: Gateway, app):
    command(gateway, "users", "add", "vic", "--role", "viewer", text=PASSWORD + "\n")
    admin = bearer(api_sign_in(gateway, "ada")["access_token"])
    until(
        lambda: any(user["name"] == "vic" for user in gateway.ask("GET", "/api/v1/users", headers=admin).json["data"])
    )
    viewer = Browser(gateway)
    assert viewer.sign_in("vic").status == 303
    token = granted(gateway, viewer, client_for(gateway, app, scope="chat models admin"))
    assert token["scope"] == "models"
    answer = query_of(authorize(viewer, client_for(gateway, app, scope="chat admin")))
    assert answer["error"] == "invalid_scope"


def test_what_was_granted_stands_on_the_accounts_page_and_ends_there(gateway: Gateway, app):
    browser = Browser(gateway)
    browser.sign_in("ada")
    token = granted(gateway, browser, client_for(gateway, app))
    body = browser.get("/account").body
    assert "<b>Some App</b> (application)" in Page(body).text
    rows = re.findall(r"<tr>.*?</tr>", body.decode(), re.DOTALL)
    mine = next(row for row in rows if "Some App" in row)
    session = re.search(r'name="session" value="([^"]+)"', mine)
    csrf = Page(body).forms[0].fields["csrf"]
    assert session is not None
    # The latest grant stands first, so that it is this one.
    assert browser.post("/account/end", {"csrf": csrf, "session": session[1]}).status == 303
    assert gateway.ask("GET", "/v1/models", headers=bearer(token["access_token"])).status == 401


def test_removing_an_application_ends_what_it_was_granted(gateway: Gateway, browser: Browser):
    gone = register(gateway, "Gone", "--redirect-uri", CALLBACK)
    token = granted(gateway, browser, client_for(gateway, gone))
    command(gateway, "clients", "remove", gone["id"])
    begun = time.monotonic()
    until(lambda: gateway.ask("GET", "/v1/models", headers=bearer(token["access_token"])).status == 401)
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke"])
@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"a=1&a=2", b"=" * 200, b"{}", b"x" * 100_000, b"grant_type=%ff"])
def test_rubbish_gets_an_oauth_error(gateway: Gateway, path: str, body: bytes):
    for kind in ("application/x-www-form-urlencoded", "application/json", "text/plain"):
        reply = gateway.ask("POST", path, body, headers={"content-type": kind})
        assert reply.status in (400, 401)
        assert reply.json["error"] in ("invalid_request", "invalid_client", "unsupported_grant_type")


def test_nothing_of_all_this_is_in_a_file(gateway: Gateway, app, browser: Browser):
    """Last in this module, and at the debug level: everything above has gone through log and database."""
    client = client_for(gateway, app)
    location = authorize(browser, client)
    token = client.fetch_token(authorization_response=location, code_verifier=VERIFIER, state="st&te=1")
    secrets = [query_of(location)["code"], token["access_token"], token["refresh_token"], PASSWORD, VERIFIER]
    for path in gateway.folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for secret in secrets:
            assert secret.encode() not in content, path.name
