"""`pointsman keys`: works on the database, prints a token once, and says what is wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pointsman.core.keys import TOKEN

from .commands import clean_environment, run_command


async def keys(env: dict[str, str], *args: str) -> str:
    ran = await run_command("keys", *args, env=env)
    assert ran.code == 0, ran.err
    return ran.out


async def test_a_key_from_its_making_to_its_end(env):
    made = await run_command(
        "keys", "create", "ci", "--model", "ollama:*", "--model", "gpt-4o", "--endpoint", "chat", "--tier", "free",
        "--network", "10.1.2.3/8", "--daily-budget", "0.50", "--monthly-budget", "$20", "--expires", "30d", env=env,
    )  # fmt: skip
    assert made.code == 0, made.err
    assert TOKEN.fullmatch(made.out.strip().encode()), "the token is alone on standard output"
    assert "never again" in made.err
    assert made.out.strip() not in made.err
    shown = json.loads(await keys(env, "show", "ci", "--json"))
    assert shown["models"] == ["ollama:*", "gpt-4o"]
    assert (shown["endpoints"], shown["networks"], shown["tier"]) == (["chat"], ["10.0.0.0/8"], "free")
    assert (shown["daily_micro_usd"], shown["monthly_micro_usd"]) == (500_000, 20_000_000)
    assert abs(shown["expires_at"] - time.time() - 30 * 86_400) < 120
    assert shown["role"] == "member"

    rotated = json.loads(await keys(env, "rotate", "ci", "--overlap", "2h", "--json"))
    assert rotated["id"] == shown["id"]
    assert rotated["token"] != made.out.strip()
    ends = [token["expires_at"] for token in rotated["tokens"]]
    assert ends[0] is None
    assert abs(ends[1] - time.time() - 7200) < 120

    await keys(env, "update", "ci", "--name", "build", "--clear", "networks", "--clear", "expires", "--model", "auto")
    changed = json.loads(await keys(env, "show", "build", "--json"))
    assert (changed["networks"], changed["expires_at"], changed["models"]) == ([], None, ["auto"])
    assert changed["daily_micro_usd"] == 500_000

    table = await keys(env)
    for word in ("build", shown["id"], "active", "$0.5 a day", "tier free"):
        assert word in table
    assert "revoked" in await keys(env, "revoke", "build")
    assert "build" not in await keys(env)
    assert json.loads(await keys(env, "list", "--all", "--json"))[0]["state"] == "revoked"
    for told in (table, json.dumps([shown, changed])):
        for token in (made.out.strip(), rotated["token"]):
            assert token[12:] not in told


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("create", ""), "name"),
        (("create", "key_x"), "key_"),
        (("create", "x", "--admin", "--viewer"), "not both"),
        (("create", "x", "--expires", "soon"), "30d"),
        (("create", "x", "--daily-budget", "-1"), "dollars"),
        (("create", "x", "--daily-budget", "0.0000001"), "dollars"),
        (("create", "x", "--daily-budget", "nan"), "dollars"),
        (("create", "x", "--endpoint", "everything"), "embeddings"),
        (("create", "x", "--network", "here"), "10.0.0.0/8"),
        (("create", "x", "--tier", "gold"), "premium"),
        (("show", "nobody"), "pointsman keys"),
        (("revoke", "nobody"), "nobody"),
        (("update", "nobody"), "option"),
        (("update", "nobody", "--tier", "free", "--clear", "tier"), "together"),
    ],
)
async def test_what_cannot_be_is_told(env, args, word):
    ran = await run_command("keys", *args, env=env)
    assert ran.code in (1, 2)
    assert ran.err.startswith("error: ")
    assert word in ran.err
    assert "Traceback" not in ran.err


async def test_names_are_completed(env, tmp_path: Path):
    complete = {
        **env,
        "_POINTSMAN_COMPLETE": "bash_complete",
        "COMP_WORDS": "pointsman keys revoke b",
        "COMP_CWORD": "3",
    }
    assert (await run_command(env=complete)).out.strip() == ""
    assert not (tmp_path / "data").exists(), "completing a word makes no file"
    for name in ("build", "other", "bench"):
        await keys(env, "create", name)
    await keys(env, "revoke", "bench")
    assert (await run_command(env=complete)).out.split() == ["plain,build"]


async def test_a_database_of_others_needs_the_secret_of_all(tmp_path: Path):
    """Without the shared secret a token would be hashed under a key that no gateway has."""
    env = clean_environment(tmp_path, DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    ran = await run_command("keys", "create", "x", env=env)
    assert ran.code == 1
    assert "POINTSMAN_SECRET_KEY" in ran.err
