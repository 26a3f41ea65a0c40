"""Keys of upstreams kept in the database: gateways follow them while they run, on one machine and on many."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from waiting import until

from .running import Gateway, running

FIRST, SECOND = "sk-planted-first-0123456789", "sk-planted-second-0123456789"
PINNED = "openai:gpt-4o-mini"
SECRET = "a" * 40
PAGE = (Path(__file__).parents[2] / "docs/how-to/sign-requests.md").read_text()


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture
def keyless(settings) -> dict[str, Any]:
    """An upstream with no key, and one that is left out without."""
    openai = {name: value for name, value in settings["providers"]["openai"].items() if name != "api_key"}
    return {
        **settings,
        "providers": {**settings["providers"], "openai": openai, "gemini": {"models": ["gemini-2.5-flash"]}},
    }


def pointsman(gateway: Gateway, *args: str, stdin: str = "", env: dict[str, str] | None = None, code: int = 0) -> str:
    """Run a command on the gateway's own settings."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    ended = subprocess.run(
        [sys.executable, "-m", "pointsman", "--config", str(gateway.folder / "pointsman.yaml"), *args],
        input=stdin, capture_output=True, text=True, timeout=60, env={**kept, **(env or {})},
    )  # fmt: skip
    assert ended.returncode == code, (ended.stdout, ended.stderr)
    assert "Traceback" not in ended.stderr
    assert "planted" not in ended.stdout + ended.stderr
    return ended.stdout if code == 0 else ended.stderr


def sent_key(gateway: Gateway, cloud) -> str | None:
    """What the upstream sees."""
    cloud.reset()
    assert gateway.chat("hi", model=PINNED).status == 200
    return cloud.chats[-1].headers.get("authorization")


def test_a_running_gateway_follows(tmp_path, keyless, cloud):
    with running(tmp_path, keyless) as gateway:
        assert sent_key(gateway, cloud) is None
        names = [model["id"] for model in gateway.ask("GET", "/v1/models").json["data"]]
        assert PINNED in names
        assert "gemini:gemini-2.5-flash" not in names

        pointsman(gateway, "credentials", "set", "openai", stdin=f"{FIRST}\n")
        until(lambda: sent_key(gateway, cloud) == f"Bearer {FIRST}")
        pointsman(gateway, "credentials", "set", "openai", "--from-env", "KEPT", env={"KEPT": SECOND})
        until(lambda: sent_key(gateway, cloud) == f"Bearer {SECOND}")

        listed = json.loads(pointsman(gateway, "credentials", "list", "--json"))
        assert [(row["provider"], row["key"], row["where"], row["in_use"]) for row in listed] == [
            ("openai", "…6789", "database", True)
        ]
        assert "ok" in pointsman(gateway, "credentials", "check", "openai")

        pointsman(gateway, "credentials", "set", "gemini", stdin=FIRST)

        def offered() -> bool:
            listed = gateway.ask("GET", "/v1/models").json["data"]
            return "gemini:gemini-2.5-flash" in [model["id"] for model in listed]

        until(offered)
        pointsman(gateway, "credentials", "remove", "gemini")
        until(lambda: not offered())
        pointsman(gateway, "credentials", "remove", "openai")
        until(lambda: sent_key(gateway, cloud) is None)
        assert "No key of openai" in pointsman(gateway, "credentials", "remove", "openai", code=1)
        assert "did you mean openai" in pointsman(gateway, "credentials", "set", "opanai", stdin="x", code=1)
        assert "one line" in pointsman(gateway, "credentials", "set", "openai", stdin="two\nlines", code=1)
        assert "planted" not in gateway.log_text
    for file in (tmp_path / "data").iterdir():
        if file.is_file():
            assert b"planted" not in file.read_bytes()


def test_the_settings_come_first(tmp_path, settings, cloud):
    with running(tmp_path, settings) as gateway:
        out = pointsman(gateway, "credentials", "set", "openai", stdin=FIRST)
        assert "6789" in out
        listed = json.loads(pointsman(gateway, "credentials", "list", "--json"))
        assert {row["where"]: row["in_use"] for row in listed} == {"settings file": True, "database": False}
        own = settings["providers"]["openai"]["api_key"]
        time.sleep(1)  # long enough for a gateway that would follow
        assert sent_key(gateway, cloud) == f"Bearer {own}"


def test_a_gateway_starts_with_what_is_stored(tmp_path, keyless, cloud):
    with running(tmp_path, keyless) as gateway:
        pointsman(gateway, "credentials", "set", "openai", stdin=FIRST)
    with running(tmp_path, keyless) as gateway:
        assert sent_key(gateway, cloud) == f"Bearer {FIRST}"


def test_a_rotation_of_the_key_file(tmp_path, keyless, cloud):
    """A gateway that runs through it goes on, follows later changes, and starts again; API keys work on."""
    with running(tmp_path, keyless) as gateway:
        token = pointsman(gateway, "keys", "create", "joe").strip()
        keyed = {"Authorization": f"Bearer {token}"}
        until(lambda: gateway.ask("GET", "/v1/models").status == 401)
        gateway.headers = keyed
        pointsman(gateway, "credentials", "set", "openai", stdin=FIRST)
        until(lambda: sent_key(gateway, cloud) == f"Bearer {FIRST}")
        assert "2 stored secrets moved" in pointsman(gateway, "secret", "rotate")
        assert sent_key(gateway, cloud) == f"Bearer {FIRST}"
        pointsman(gateway, "credentials", "set", "openai", stdin=SECOND)
        until(lambda: sent_key(gateway, cloud) == f"Bearer {SECOND}")
        pointsman(gateway, "secret", "rotate")
        status = json.loads(pointsman(gateway, "secret", "status", "--json"))
        assert (status["current"], status["under_previous"], status["unreadable"]) == (2, 0, 0)
        assert "cannot be used" not in gateway.log_text
    os.unlink(tmp_path / "data" / "secret.key.previous")
    with running(tmp_path, {**keyless, "server": {}}) as gateway:
        gateway.headers = keyed
        assert sent_key(gateway, cloud) == f"Bearer {SECOND}"


def test_a_rotation_that_was_interrupted_goes_on(tmp_path, keyless, cloud):
    from pointsman.stores.secret_key import renew_key_file, rotation_lock

    with running(tmp_path, keyless) as gateway:
        pointsman(gateway, "credentials", "set", "openai", stdin=FIRST)
    new = renew_key_file(tmp_path / "data")  # and then the power went
    with running(tmp_path, keyless) as gateway:
        with rotation_lock(tmp_path / "data"):
            assert "under way" in pointsman(gateway, "secret", "rotate", code=1)
        assert sent_key(gateway, cloud) == f"Bearer {FIRST}"
        assert json.loads(pointsman(gateway, "secret", "status", "--json"))["unfinished"]
        done = json.loads(pointsman(gateway, "secret", "rotate", "--json"))
        assert done == {"new_key_file": False, "rewrapped": 1, "fingerprint": new.fingerprint}


def test_a_lost_secret_is_told_and_given_up(tmp_path, keyless, cloud):
    with running(tmp_path, keyless) as gateway:
        pointsman(gateway, "credentials", "set", "openai", stdin=FIRST)
    os.unlink(tmp_path / "data" / "secret.key")
    with running(tmp_path, keyless) as gateway:
        assert sent_key(gateway, cloud) is None
        assert "The credential of openai cannot be used" in gateway.log_text
        assert "not at hand" in pointsman(gateway, "secret", "rotate", code=1)
        [row] = json.loads(pointsman(gateway, "credentials", "list", "--json"))
        assert not row["in_use"]
        assert "not at hand" in row["problem"]
        assert "forgot credential openai" in pointsman(gateway, "secret", "forget", "--yes")
        pointsman(gateway, "credentials", "set", "openai", stdin=SECOND)
        until(lambda: sent_key(gateway, cloud) == f"Bearer {SECOND}")


def signed(secret: str, method: str, path: str, query: str, body: bytes) -> dict[str, str]:
    found: dict[str, Any] = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], found)
    headers: dict[str, str] = found["signed"](secret, method, path, query, body)
    return headers


def test_replicas_share_credentials_rotations_and_nonces(tmp_path, keyless, cloud, postgres_url, valkey_server):
    shared = {
        **keyless,
        "database": {"url": postgres_url},
        "state": {"url": valkey_server.url, "prefix": f"test-{uuid.uuid4().hex[:8]}"},
        "security": {"secret_key": SECRET},
    }
    with running(tmp_path / "one", shared) as one, running(tmp_path / "two", shared) as two:
        pointsman(one, "credentials", "set", "openai", stdin=FIRST)
        for gateway in (one, two):
            until(lambda gateway=gateway: sent_key(gateway, cloud) == f"Bearer {FIRST}")
        token = pointsman(one, "keys", "create", "joe").strip()
        secret = pointsman(one, "keys", "signing", "joe").strip()
        keyed = {"Authorization": f"Bearer {token}"}

        def code(gateway: Gateway, headers: dict[str, str] | None = None) -> str:
            reply = gateway.ask("GET", "/v1/models?a=1", headers=keyed | (headers or {}))
            return "ok" if reply.status == 200 else reply.json["error"]["code"]

        for gateway in (one, two):
            until(lambda gateway=gateway: code(gateway) == "signature_required")
        headers = signed(secret, "GET", "/v1/models", "a=1", b"")
        assert [code(one, headers), code(two, headers), code(one, headers)] == [
            "ok",
            "signature_replayed",
            "signature_replayed",
        ]
        body = json.dumps({"model": PINNED, "messages": [{"role": "user", "content": "hi"}]}).encode()
        fresh = signed(secret, "POST", "/v1/chat/completions", "", body)
        assert two.ask("POST", "/v1/chat/completions", body, headers=keyed | fresh).status == 200
        tampered = signed(secret, "POST", "/v1/chat/completions", "", body)
        altered = body.replace(b"hi", b"ho")
        assert two.ask("POST", "/v1/chat/completions", altered, headers=keyed | tampered).status == 401
        assert secret not in one.log_text + two.log_text

        # The replicas go over to a new secret one by one; both read what either has stored.
        old = pointsman(two, "secret", "rotate", code=1)
        assert "POINTSMAN_PREVIOUS_SECRET_KEY" in old
    turned = {**shared, "security": {"secret_key": "b" * 40, "previous_secret_key": SECRET}}
    with running(tmp_path / "one", turned) as one:
        one.headers = keyed
        until(lambda: code(one, signed(secret, "GET", "/v1/models", "a=1", b"")) == "ok")
        assert "3 stored secrets moved" in pointsman(one, "secret", "rotate")
    alone = {**shared, "security": {"secret_key": "b" * 40}}
    with running(tmp_path / "two", alone) as two:
        assert code(two, signed(secret, "GET", "/v1/models", "a=1", b"")) == "ok"
        pointsman(two, "keys", "signing", "joe", "--remove")
        until(lambda: code(two) == "ok")


def test_where_all_must_sign(tmp_path, settings):
    tree = {**settings, "security": {"signing": "required"}, "server": {"api_keys": ["configured-key-0123456789"]}}
    with running(tmp_path, tree) as gateway:
        keyed = {"Authorization": "Bearer configured-key-0123456789"}
        refused = gateway.ask("GET", "/v1/models", headers=keyed)
        assert (refused.status, refused.json["error"]["code"]) == (401, "signature_required")
        native = gateway.ask("GET", "/api/v1/decisions", headers=keyed)
        assert (native.status, native.json["error"]["details"]["reason"]) == (401, "signature_required")
        assert gateway.ask("GET", "/api/health").status == 200
