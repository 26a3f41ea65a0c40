"""A door that was shut stays shut: through a lost database, set-up pages, rotations, and from key to key."""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from waiting import until

from .browser import PASSWORD, Browser, set_up
from .running import Gateway, Reply, free_port, running
from .test_keys import BODY, bearer, becomes, command, status


@pytest.fixture
def data_plane() -> str:
    return "native"


def damage(folder: Path, how: str) -> None:
    for path in (folder / "data").glob("pointsman.sqlite3*"):
        if how == "deleted":
            path.unlink()
        else:
            path.write_bytes(b"\xff" * path.stat().st_size)


@pytest.mark.parametrize(("how", "whose"), [("damaged", "key"), ("deleted", "user")])
def test_a_lost_database_opens_no_port(tmp_path, settings, how, whose):
    """Keys made while no gateway runs count too; the owner's command line gets in, and says when the loss is meant."""
    with running(tmp_path, settings) as gateway:
        assert status(gateway, None) == 200
        if whose == "user":
            set_up(gateway)
    if whose == "key":
        command(gateway, "keys", "create", "ci")
    damage(tmp_path, how)
    with running(tmp_path, settings) as gateway:
        assert status(gateway, None) == 401
        assert "pointsman db begin-anew" in gateway.log_text
        assert "lan:llama3.1:8b" in command(gateway, "models")
        # Nor does the set-up page make an admin of whoever is on this machine.
        sent = {"name": "eve", "password": PASSWORD, "again": PASSWORD}
        assert Browser(gateway).submit("/setup", **sent).status == 403
        becomes(gateway, command(gateway, "keys", "create", "new"), 200)
    command(gateway, "db", "begin-anew", "--yes")
    damage(tmp_path, "deleted")
    with running(tmp_path, settings) as gateway:
        assert status(gateway, None) == 200


def test_a_database_lost_while_serving_opens_no_port(tmp_path, settings):
    with running(tmp_path, settings) as gateway:
        command(gateway, "keys", "create", "ci")
        becomes(gateway, None, 401)
        damage(tmp_path, "damaged")
        gateway.chat("hi")
        assert status(gateway, None) == 401
        assert Browser(gateway).get("/setup").status in (200, 503)
    with running(tmp_path, settings) as gateway:
        assert status(gateway, None) == 401


def test_a_damaged_database_without_keys_opens_as_before(tmp_path, settings):
    with running(tmp_path, settings) as gateway:
        gateway.chat("hi")
    damage(tmp_path, "damaged")
    with running(tmp_path, settings) as gateway:
        assert status(gateway, None) == 200


def test_who_has_no_key_cannot_set_up_an_admin(tmp_path, settings):
    """With keys and without users, somebody else on this machine must not become the admin."""
    with running(tmp_path, settings) as gateway:
        token = command(gateway, "keys", "create", "ci")
        becomes(gateway, None, 401)
        sent = {"name": "eve", "password": PASSWORD, "again": PASSWORD}
        for code in ({}, {"code": "x" * 16}):
            assert Browser(gateway).submit("/setup", **sent, **code).status == 403
        assert status(gateway, token) == 200
    with sqlite3.connect(tmp_path / "data" / "pointsman.sqlite3") as database:
        assert database.execute("SELECT COUNT(*) FROM users").fetchone() == (0,)
    configured = {**settings, "server": {"api_keys": ["a key of the settings"]}}
    with running(tmp_path / "other", configured) as gateway:
        assert Browser(gateway).submit("/setup", **sent).status == 403


def private(gateway: Gateway) -> list[str]:
    """What of the data folder others may touch."""
    folder = gateway.folder / "data"
    return [
        f"{path.relative_to(folder)} {stat.filemode(path.lstat().st_mode)}"
        for path in (folder, *folder.rglob("*"))
        if stat.S_IMODE(path.lstat().st_mode) & 0o077
    ]


@pytest.fixture
def lax() -> Iterator[None]:
    """A shell that gives its files away."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_every_file_of_the_data_folder_is_the_owners_alone(tmp_path, settings, lax):
    with running(tmp_path, settings) as gateway:
        gateway.chat("hi")
        set_up(gateway)
        command(gateway, "keys", "create", "ci")
        command(gateway, "secret", "rotate")
        assert private(gateway) == []
        assert "Everybody may write" not in gateway.log_text
    assert private(gateway) == []
    (tmp_path / "data").chmod(0o777)
    with running(tmp_path, settings) as gateway:
        assert "Everybody may write to the data folder" in gateway.log_text


def test_the_owners_command_line_after_a_rotation(tmp_path, settings):
    """A gateway that runs takes the new key file at once, and tokens of the old one are worth nothing."""
    from pointsman.core.keys import LOCAL_PURPOSE, mint_local
    from pointsman.stores.secret_key import load_secret_key

    with running(tmp_path, settings) as gateway:
        command(gateway, "keys", "create", "ci")
        becomes(gateway, None, 401)
        old = load_secret_key(tmp_path / "data").derive(LOCAL_PURPOSE)

        def of_old() -> int:
            return status(gateway, mint_local(old, port=gateway.port, now=time.time()))

        assert of_old() == 200
        for _ in range(2):
            command(gateway, "secret", "rotate")
            assert "lan:llama3.1:8b" in command(gateway, "models")
            assert of_old() == 401


def test_a_confined_key_learns_of_no_other_model(tmp_path, settings, cloud, lan):
    """Not from lists, hints, refusals, explanations or headers, and whether a model exists is not told either."""
    settings = {**settings, "routing": {**settings["routing"], "aliases": {"fast": "lan:llama3.1:8b", "gpt": "auto"}}}
    embedding = {"lan": {**settings["providers"]["lan"], "models": ["llama3.1:8b", "nomic-embed-text"]}}
    settings["providers"] = {**settings["providers"], **embedding}
    with running(tmp_path, settings) as gateway:
        token = command(gateway, "keys", "create", "ci", "--model", "openai:gpt-4o-mini")
        becomes(gateway, None, 401)
        seen = []
        shapes = set()
        for name in (
            "fast",
            "fasd",
            "llama3.1:8b",
            "llama3.1:9b",
            "gpt-4o",
            "gpt-4p",
            "openai:gpt-4o",
            "lan:",
            "nomic",
        ):
            for method, path in (("POST", "/v1/chat/completions"), ("POST", "/api/v1/route"), ("GET", "/v1/models/")):
                target = path + name if method == "GET" else path
                body = None if method == "GET" else {**BODY, "model": name}
                refused = gateway.ask(method, target, body, headers=bearer(token))
                shapes.add((path, refused.status, refused.body.replace(f"'{name}'".encode(), b"NAME")))
        assert len(shapes) == 3, shapes
        for body in (BODY, {**BODY, "messages": [{"role": "user", "content": "Prove it step by step."}]}):
            seen.append(gateway.ask("POST", "/api/v1/route", {**body, "model": "auto"}, headers=bearer(token)))
            answer = gateway.ask("POST", "/v1/chat/completions", {**body, "model": "auto"}, headers=bearer(token))
            assert answer.status == 200
            record = gateway.ask(
                "GET", f"/api/v1/decisions/{answer.headers['x-pointsman-decision']}", headers=bearer(token)
            )
            assert record.status == 200
            seen += [answer, record]
        for path in ("/v1/models", "/api/v1/usage", "/api/v1/budgets", "/docs", "/openapi.json"):
            seen.append(gateway.ask("GET", path, headers=bearer(token)))
        for reply in seen:
            told = reply.body.decode() + repr(dict(reply.headers))
            for other in ("lan:llama", "nomic-embed", 'openai:gpt-4o"', "openai:gpt-4o,", "openai:gpt-4o'", ": fast"):
                assert other not in told, (other, told[:2000])


def test_an_alias_confines_a_key_to_what_it_stands_for(tmp_path, settings, lan):
    with running(tmp_path, settings) as gateway:
        token = command(gateway, "keys", "create", "ci", "--model", "fast")
        becomes(gateway, token, 200)
        for name in ("fast", "lan:llama3.1:8b", "llama3.1:8b", "auto"):
            answer = gateway.ask("POST", "/v1/chat/completions", {**BODY, "model": name}, headers=bearer(token))
            assert answer.headers.get("x-pointsman-model") == "lan:llama3.1:8b", answer.body
        assert (
            gateway.ask("POST", "/v1/chat/completions", {**BODY, "model": "gpt-4o"}, headers=bearer(token)).status
            == 403
        )


def test_what_is_not_for_every_key(tmp_path, settings, lan):
    """Others' decisions and use, addresses and paths of the machine, and what only admins may do."""
    with running(tmp_path, settings) as gateway:
        admin = command(gateway, "keys", "create", "admin", "--admin")
        becomes(gateway, None, 401)
        tokens = {
            name: command(gateway, "keys", "create", name, *more)
            for name, more in (("member", ()), ("viewer", ("--viewer",)))
        }
        ids = {key["name"]: key["id"] for key in gateway.ask("GET", "/api/v1/keys", headers=bearer(admin)).json["data"]}
        answer = gateway.ask("POST", "/v1/chat/completions", BODY, headers=bearer(admin))
        decision, answer_id = answer.headers["x-pointsman-decision"], answer.json["id"]
        detail = gateway.ask("GET", "/api/v1/health", headers=bearer(admin))
        assert b"127.0.0.1" in detail.body
        for token in tokens.values():
            becomes(gateway, token, 200)

            def ask(method: str, path: str, body: object = None, token: str = token) -> Reply:
                return gateway.ask(method, path, body, headers=bearer(token))

            for name in (decision, answer_id):
                assert ask("GET", f"/api/v1/decisions/{name}").status == 404
                for path in ("/v1/feedback", "/api/v1/feedback"):
                    for field in ("id", "decision_id", "answer_id"):
                        given = ask("POST", path, {field: name, "thumb": "down"})
                        assert given.status in (400, 404), (given.status, given.body)
            assert ask("GET", "/api/v1/decisions").json["data"] == []
            assert ask("GET", f"/api/v1/usage?key_id={ids['admin']}").status == 403
            report = ask("GET", "/api/v1/budgets").json
            assert (report["budgets"], report["spent"], report["unsettled"]) == ([], [], [])
            for method, path in (
                ("GET", "/api/v1/keys"), ("POST", "/api/v1/keys"), ("GET", f"/api/v1/keys/{ids['admin']}"),
                ("PATCH", f"/api/v1/keys/{ids['member']}"), ("DELETE", f"/api/v1/keys/{ids['admin']}"),
                ("POST", f"/api/v1/keys/{ids['member']}/rotate"), ("GET", "/api/v1/users"), ("POST", "/api/v1/users"),
                ("POST", "/api/v1/users/ada/password-code"), ("POST", "/api/v1/budgets/unsettled/x/release"),
                ("GET", "/metrics"),
            ):  # fmt: skip
                refused = ask(method, path, {} if method in ("POST", "PATCH") else None)
                assert refused.status == 403, (method, path, refused.status, refused.body)
            told = b"".join(
                ask("GET", path).body for path in ("/api/v1/health", "/api/v1/usage", "/openapi.json", "/docs")
            )
            for secret in (
                b"127.0.0.1:",
                str(tmp_path).encode(),
                b'sqlite3"',
                settings["providers"]["openai"]["base_url"].encode(),
            ):
                assert secret not in told, secret


def test_changes_of_users_reach_every_replica_on_postgres(tmp_path, settings, postgres_url):
    """Roles, disabled users, new passwords, removed users and ended sessions, whichever replica is told."""
    env = {"DATABASE_URL": postgres_url, "POINTSMAN_SECRET_KEY": "s" * 40}
    with running(tmp_path / "a", settings, env=env) as one, running(tmp_path / "b", settings, env=env) as two:
        set_up(one)
        becomes(two, None, 401)

        def sign_in(gateway: Gateway, name: str) -> str:
            reply = gateway.ask("POST", "/api/v1/auth/sign-in", {"name": name, "password": PASSWORD})
            assert reply.status == 200, reply.body
            return reply.json["access_token"]

        admin = sign_in(two, "ada")
        took = []

        def within_a_second(gateway: Gateway, token: str, path: str, wanted: int) -> None:
            begun = time.monotonic()
            until(lambda: gateway.ask("GET", path, headers=bearer(token)).status == wanted, path, every=0.02)
            took.append(time.monotonic() - begun)

        def change(gateway: Gateway, name: str, **what: object) -> None:
            assert gateway.ask("POST", f"/api/v1/users/{name}", what, headers=bearer(admin)).status == 200

        for here, there, name in ((one, two, "bob"), (two, one, "eve")):
            made = here.ask("POST", "/api/v1/users", {"name": name}, headers=bearer(admin)).json
            sent = {"password": PASSWORD, "again": PASSWORD}
            assert Browser(there).submit(f"/set-password?code={made['code']}", **sent).status == 303
            tokens = [sign_in(there, name), sign_in(here, name)]
            for token in tokens:
                assert there.ask("GET", "/api/v1/users", headers=bearer(token)).status == 403
            change(here, name, role="admin")
            within_a_second(there, tokens[0], "/api/v1/users", 200)
            change(here, name, role="viewer")
            within_a_second(there, tokens[0], "/api/v1/users", 403)
            assert there.ask("POST", "/v1/chat/completions", BODY, headers=bearer(tokens[0])).status == 403
            signed_out = here.ask("POST", "/api/v1/auth/sign-out", {}, headers=bearer(tokens[1]))
            assert signed_out.json == {"ended": True}
            within_a_second(there, tokens[1], "/v1/models", 401)
            assert there.ask("GET", "/v1/models", headers=bearer(tokens[0])).status == 200
            change(here, name, disabled=True)
            within_a_second(there, tokens[0], "/v1/models", 401)
            change(there, name, disabled=False)
            assert status(here, tokens[0]) == 401, "a session that has ended stays ended"
            again = sign_in(there, name)
            command(here, "users", "remove", name, "--yes", env=env)
            within_a_second(there, again, "/v1/models", 401)
        assert min(took) < 1.0, took


def test_a_replica_with_the_old_secret_beside_one_with_the_new(tmp_path, settings, postgres_url, lan):
    """What it cannot read it refuses, and what it knew goes on; nothing opens, and nothing is lost."""
    old, new = "o" * 40, "n" * 40
    a = {"DATABASE_URL": postgres_url, "POINTSMAN_SECRET_KEY": old}
    b = {"DATABASE_URL": postgres_url, "POINTSMAN_SECRET_KEY": new, "POINTSMAN_PREVIOUS_SECRET_KEY": old}
    with running(tmp_path / "a", settings, env=a) as one:
        set_up(one)
        with running(tmp_path / "b", settings, env=b) as two:

            def sign_in(gateway: Gateway) -> dict[str, str]:
                return gateway.ask("POST", "/api/v1/auth/sign-in", {"name": "ada", "password": PASSWORD}).json

            mine, theirs = sign_in(one), sign_in(two)
            for gateway in (one, two):
                becomes(gateway, mine["access_token"], 200)
            assert status(two, theirs["access_token"]) == 200
            assert status(one, theirs["access_token"]) == 401
            renewal = {"refresh_token": theirs["refresh_token"]}
            assert one.ask("POST", "/api/v1/auth/refresh", renewal).status == 401
            assert two.ask("POST", "/api/v1/auth/refresh", renewal).status == 200, "not taken for a theft"
            # The first key: what keys are hashed under is made by the new one, and the old one cannot read it.
            token = command(two, "keys", "create", "first", env=b)
            becomes(two, token, 200)
            until(lambda: "No stored API key can be verified" in one.log_text)
            assert status(one, token) == 401
            assert status(one, None) == 401
            command(two, "secret", "rotate", env=b)
            for gateway in (one, two):
                assert status(gateway, mine["access_token"]) == 200
                assert status(gateway, None) == 401
            assert status(two, token) == 200
    refused = command(one, "keys", "create", "second", env=a, ok=False)
    assert "POINTSMAN_PREVIOUS_SECRET_KEY" in refused
    with running(tmp_path / "a", settings, env={**a, "POINTSMAN_SECRET_KEY": new}) as one:
        becomes(one, token, 200)
        assert status(one, None) == 401


def test_only_admins_are_told_of_addresses(tmp_path, settings):
    """What is down is told to everybody, and where it is to admins: in errors, streams, decisions and health."""
    dead = free_port()
    url = f"http://127.0.0.1:{dead}/v1"
    providers = {
        "lan": {"base_url": url, "local": True, "models": ["llama3.1:8b"]},
        "openai": {"base_url": url, "api_key": "sk-0123456789abcdef", "models": ["gpt-4o-mini"]},
        "unlisted": {"base_url": url, "api_key": "sk-0123456789abcdef"},
        "ollama": {"enabled": False},
    }
    away = {"providers": providers, "budgets": {"daily": 5}, "state": {"url": f"redis://127.0.0.1:{dead}/0"}}
    with running(tmp_path, {**settings, **away}) as gateway:
        token = command(gateway, "keys", "create", "member")
        admin = command(gateway, "keys", "create", "admin", "--admin")
        becomes(gateway, None, 401)
        becomes(gateway, admin, 200)

        def everything(token: str) -> bytes:
            told = b""
            for name in ("llama3.1:8b", "gpt-4o-mini", "auto", "unlisted:model", "lan:nothing"):
                for stream in (False, True):
                    body = {**BODY, "model": name, "stream": stream, "max_tokens": 5}
                    reply = gateway.ask("POST", "/v1/chat/completions", body, headers=bearer(token))
                    assert reply.status >= 400
                    told += reply.body + repr(dict(reply.headers)).encode()
                told += gateway.ask("POST", "/api/v1/route", {**BODY, "model": name}, headers=bearer(token)).body
                told += gateway.ask("GET", f"/v1/models/{name}", headers=bearer(token)).body
            for path in ("/api/v1/health", "/api/v1/usage", "/api/v1/budgets", "/v1/models", "/api/v1/decisions"):
                told += gateway.ask("GET", path, headers=bearer(token)).body
            for decision in gateway.ask("GET", "/api/v1/decisions", headers=bearer(token)).json["data"]:
                told += gateway.ask("GET", f"/api/v1/decisions/{decision['id']}", headers=bearer(token)).body
            return told

        place = f"127.0.0.1:{dead}".encode()
        assert place in everything(admin)
        mine = everything(token)
        assert b"upstream_unreachable" in mine
        assert place not in mine, mine[max(0, mine.index(place) - 300) :][:600]
        assert str(tmp_path).encode() not in mine
        # Signed requests need the nonces that cannot be kept now.
        secret = command(gateway, "keys", "signing", "member")

        def refused() -> Reply | None:
            reply = gateway.ask("GET", "/v1/models", headers=bearer(token) | signed(secret))
            return reply if reply.status == 503 else None

        reply = until(refused)
        assert reply is not None
        assert place not in reply.body


def signed(secret: str) -> dict[str, str]:
    """Headers for `GET /v1/models`."""
    timestamp, nonce = str(int(time.time())), os.urandom(12).hex()
    digest = hashlib.sha256(b"").hexdigest()
    lines = ["POINTSMAN-HMAC-SHA256", "GET", "/v1/models", "", timestamp, nonce, digest]
    signature = hmac.new(secret.encode(), "\n".join(lines).encode(), hashlib.sha256).hexdigest()
    names = ("x-pointsman-timestamp", "x-pointsman-nonce", "x-pointsman-signature")
    return dict(zip(names, (timestamp, nonce, signature), strict=True))
