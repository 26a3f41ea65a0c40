"""The guard of an open loopback port, and API keys."""

from __future__ import annotations

import pytest

from pointsman.core.errors import Forbidden, InvalidRequest, Unauthenticated
from pointsman.core.knock import Knock
from pointsman.pipeline.admit import Access

ASK = {
    "method": "POST",
    "path": "/v1/chat/completions",
    "endpoint": "chat",
    "host": b"127.0.0.1:8000",
    "origin": None,
    "fetch_site": None,
    "content_type": b"application/json",
    "authorization": None,
    "api_key": None,
}


def access(keys=(), hosts=(), origins=(), any_host=False) -> Access:
    return Access(api_keys=keys, hosts=hosts, origins=origins, any_host=any_host)


def test_a_local_client_is_the_admin():
    caller = access().check(Knock(**ASK))
    assert caller.key_id is None
    assert caller.admin


@pytest.mark.parametrize("host", [b"127.0.0.1", b"localhost:8000", b"LOCALHOST", b"[::1]:8000", b"[::1]"])
def test_loopback_names_are_this_machine(host):
    access().check(Knock(**{**ASK, "host": host}))


@pytest.mark.parametrize(
    "host",
    [None, b"", b"evil.example", b"127.0.0.1.evil.example", b"localhost.evil.example:8000", b"[::2]", b"127.0.0.2"],
)
def test_a_rebound_name_is_refused(host):
    with pytest.raises(Forbidden) as refused:
        access().check(Knock(**{**ASK, "host": host}))
    assert refused.value.code == "host_not_allowed"


def test_a_configured_host_is_allowed():
    access(hosts=["Gateway.lan"]).check(Knock(**{**ASK, "host": b"gateway.lan:8000"}))


@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.example",
        b"null",
        b"http://localhost:3000",
        b"http://127.0.0.1:8000.evil.example",
        b"file://",
        b"",
    ],
)
def test_a_foreign_page_is_refused(origin):
    with pytest.raises(Forbidden) as refused:
        access().check(Knock(**{**ASK, "origin": origin}))
    assert refused.value.code == "origin_not_allowed"


@pytest.mark.parametrize("origin", [b"http://127.0.0.1:8000", b"https://app.example"])
def test_own_and_listed_pages_may_call(origin):
    access(origins=["https://app.example/"]).check(Knock(**{**ASK, "origin": origin}))


def test_a_cross_site_request_without_origin_is_refused():
    with pytest.raises(Forbidden):
        access().check(Knock(**{**ASK, "fetch_site": b"cross-site"}))


@pytest.mark.parametrize(
    "content_type", [None, b"text/plain", b"application/x-www-form-urlencoded", b"application/jsonx"]
)
def test_a_body_must_be_declared_as_json(content_type):
    with pytest.raises(InvalidRequest) as refused:
        access().check(Knock(**{**ASK, "content_type": content_type}))
    assert refused.value.code == "content_type_not_json"


FORM = {**ASK, "path": "/api/chat", "content_type": b"application/x-www-form-urlencoded"}


def test_ollamas_paths_are_asked_as_its_documentation_does():
    access().check(Knock(**FORM))


@pytest.mark.parametrize(
    "sent",
    [
        {"origin": b"http://127.0.0.1:8000"},
        {"origin": b"null"},
        {"fetch_site": b"none"},
        {"fetch_mode": b"no-cors"},
        {"cookie": b"a=b"},
        {"path": "/api/v1/chat/completions"},
        {"path": "/v1/chat/completions"},
    ],
)
def test_but_not_by_pages_and_nothing_else_is(sent):
    with pytest.raises((InvalidRequest, Forbidden)):
        access().check(Knock(**{**FORM, **sent}))


def test_json_with_a_charset_is_json():
    access().check(Knock(**{**ASK, "content_type": b"Application/JSON; charset=utf-8"}))


@pytest.mark.parametrize(
    ("authorization", "api_key"), [(b"Bearer right", None), (b"bearer right", None), (None, b"right")]
)
def test_the_right_key_is_admitted(authorization, api_key):
    caller = access(keys=["wrong", "right"]).check(Knock(**{**ASK, "authorization": authorization, "api_key": api_key}))
    assert caller.key_id is not None
    assert not caller.admin
    assert "right" not in caller.key_id


@pytest.mark.parametrize(
    "authorization", [None, b"Bearer nope", b"Bearer ", b"Basic right", b"right", b"Bearer righ\xff"]
)
def test_any_other_key_is_not(authorization):
    with pytest.raises(Unauthenticated):
        access(keys=["right"]).check(Knock(**{**ASK, "authorization": authorization}))


def test_two_keys_have_two_ids():
    both = access(keys=["one", "two"])
    ids = {both.check(Knock(**{**ASK, "api_key": key})).key_id for key in (b"one", b"two")}
    assert len(ids) == 2
