"""`pointsman db`, and what the doctor tells of the database."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pointsman.stores.migrate import newest, scripts, statements
from services import Postgres

from .commands import clean_environment, run_command


@pytest.fixture(params=["sqlite", "postgres"])
def env(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """A home without a database, or with an empty one."""
    extra = {}
    if request.param == "postgres":
        extra["DATABASE_URL"] = request.getfixturevalue("empty_postgres_url")
    return clean_environment(tmp_path, **extra)


async def json_of(*args: str, env: dict[str, str], code: int = 0) -> Any:
    ran = await run_command("db", *args, "--json", env=env)
    assert ran.code == code, ran
    return json.loads(ran.out)


async def test_from_nothing_to_the_newest(env: dict[str, str]):
    sqlite = "DATABASE_URL" not in env
    state = await json_of("status", env=env, code=0 if sqlite else 1)
    assert (state["version"], state["newest"], state["usable"]) == (0, newest(), sqlite)
    assert not Path(env["POINTSMAN_DATA_DIR"]).exists()  # looking makes nothing
    done = await json_of("upgrade", env=env)
    assert (done["before"], done["after"], done["backup"]) == (0, newest(), None)
    assert len(done["applied"]) == len(scripts())
    assert (await json_of("upgrade", env=env))["applied"] == []
    state = await json_of("status", env=env)
    assert (state["version"], state["usable"], state["reachable"]) == (newest(), True, True)


async def test_told_in_words(env: dict[str, str]):
    ran = await run_command("db", "upgrade", env=env)
    assert ran.code == 0, ran.err
    assert "applied 0001 decision log" in ran.out
    assert ran.out.endswith(f"The schema is at version {newest()}.\n")
    ran = await run_command("db", "upgrade", env=env)
    assert ran.out == f"The schema is at version {newest()} already.\n"
    ran = await run_command("db", "status", env=env)
    assert "the newest" in ran.out
    assert ("postgresql" if "DATABASE_URL" not in env else "sqlite") not in ran.out


async def test_an_older_file_is_copied_and_upgraded(tmp_path: Path):
    env = clean_environment(tmp_path)
    path = Path(env["POINTSMAN_DATA_DIR"]) / "pointsman.sqlite3"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements(scripts()[0].sql):
            connection.execute(statement)
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")
        connection.commit()
    ran = await run_command("db", "status", env=env)
    assert ran.code == 1
    assert f"is at version 1; `pointsman db upgrade` brings it to {newest()}" in ran.out
    ran = await run_command("serve", env={**env, "POINTSMAN_EMBEDDED_ENABLED": "false"})
    assert ran.code == 1
    assert "Run `pointsman db upgrade`" in ran.err
    ran = await run_command("db", "upgrade", env=env)
    assert ran.code == 0, ran.err
    assert "A copy of the file as it was" in ran.err
    assert len(list(path.parent.glob("pointsman.sqlite3.version-1-*"))) == 1


async def test_a_server_that_is_away_is_told_without_its_password(tmp_path: Path):
    env = clean_environment(tmp_path, DATABASE_URL="postgresql://me:not-to-be-shown@127.0.0.1:9/name")
    for args in (("db", "upgrade"), ("db", "status"), ("why",), ("doctor", "--quick")):
        ran = await run_command(*args, env=env)
        assert ran.code == 1, ran
        assert "postgresql://127.0.0.1:9/name" in ran.out + ran.err
        assert "cannot be reached" in ran.out + ran.err
        assert "not-to-be-shown" not in ran.out + ran.err
        assert "Traceback" not in ran.err


async def test_the_doctor_tells_of_the_database_and_of_what_waits(env: dict[str, str]):
    await run_command("db", "upgrade", env=env)
    spool = Path(env["POINTSMAN_DATA_DIR"]) / "spool"
    spool.mkdir(parents=True)
    (spool / "1-1-a.jsonl").write_text("{}\n" * 100)
    ran = await run_command("doctor", "--quick", "--json", env=env)
    found = {(one["part"], one["status"]): one["detail"] for one in json.loads(ran.out)["findings"]}
    assert f"The schema is at version {newest()}, the newest." in found[("Database", "ok")]
    assert "wait on disk" in found[("Decision log", "warning")]


async def test_why_reads_the_shared_database(postgres_server: Postgres, postgres_url: str, tmp_path: Path):
    env = clean_environment(tmp_path, DATABASE_URL=postgres_url)
    ran = await run_command("why", env=env)
    assert (ran.code, ran.err) == (1, "error: There is no decision yet in the database, and no gateway answers.\n")
