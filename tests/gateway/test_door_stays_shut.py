"""A door that was shut stays shut: through a lost database, set-up pages, rotations, and from key to key."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .browser import PASSWORD, Browser, set_up
from .running import Gateway, running
from .test_keys import becomes, command, status


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
    assert private(gateway) == []


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
