"""Requests of one connection whose heads are the same are still judged one by one."""

from __future__ import annotations

import contextlib
import http.client
import json

import pytest

from waiting import until

from .running import Gateway, Reply
from .test_keys import bearer, command, make

BODY = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


class Kept:
    """One connection that stays open."""

    def __init__(self, gateway: Gateway) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        self._connection.connect()
        self._socket = self._connection.sock

    def ask(self, token: str | None = None, *, path: str = "/v1/chat/completions", **sent: str) -> Reply:
        headers = {"Content-Type": "application/json", **sent, **(bearer(token) if token is not None else {})}
        self._connection.request("POST", path, json.dumps(BODY), headers)
        answer = self._connection.getresponse()
        reply = Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        assert self._connection.sock is self._socket
        return reply

    def close(self) -> None:
        self._connection.close()


def test_on_one_connection_every_request_is_admitted_anew(gateway, lan):
    with contextlib.closing(Kept(gateway)) as kept:
        ask_as_keys_come_and_go(gateway, kept)


def ask_as_keys_come_and_go(gateway: Gateway, kept: Kept) -> None:
    assert kept.ask().status == kept.ask().status == 200
    admin = command(gateway, "keys", "create", "admin", "--admin")
    until(lambda: kept.ask().status == 401, every=0.02)  # the open port has closed
    one, other = (make(gateway, admin, name=name) for name in ("one", "other"))
    for key in (one, one, other, one):
        reply = kept.ask(key["token"])
        assert reply.status == 200
        record = gateway.ask("GET", f"/api/v1/decisions/{reply.headers['x-pointsman-decision']}", headers=bearer(admin))
        assert record.json["key_id"] == key["id"]
    assert kept.ask(one["token"][:-1]).status == 401
    assert kept.ask(one["token"]).status == 200
    assert gateway.ask("DELETE", f"/api/v1/keys/{one['id']}", headers=bearer(admin)).status == 200
    assert kept.ask(one["token"]).status == 401
    assert kept.ask(other["token"]).status == 200
    assert kept.ask(other["token"], Origin="https://evil.example").status == 403
    assert kept.ask(other["token"], path="/v1/nowhere").status == 404
    assert kept.ask(other["token"], **{"X-API-Key": "another"}).status == 401
    assert kept.ask(other["token"]).status == 200
