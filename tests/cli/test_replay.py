"""`pointsman replay` and `pointsman savings`, on a database that the real store wrote."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pointsman.stores.observations import keep_feedback
from pointsman.stores.sqlite_database import SqliteDatabase
from pointsman.stores.sqlite_log import SqliteDecisionLog
from unit.learn import logs

from .commands import Terminal, clean_environment, run_command

CENTURY = "5000w"


@pytest.fixture
async def logged(tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose gateway took 300 decisions of its own, and two that the caller took."""
    path = tmp_path / "data" / "pointsman.sqlite3"
    log, database = SqliteDecisionLog(path), SqliteDatabase(path)
    await log.open()
    await database.open()
    statements = []
    last = ""
    for number, (taken, ended, said) in enumerate(logs.log(302, judged=0.7)):
        whole = msgspec.structs.replace(taken, mode="forced", policy="forced@1") if number >= 300 else taken
        log.decided(whole, prompt=None)
        log.ended(whole.id, ended)
        last = whole.id
        if said is not None:
            statements += keep_feedback(said)
    await log.get(last)
    await database.transaction(statements)
    await database.close()
    await log.close()
    return clean_environment(tmp_path, PORT="1", OPENAI_API_KEY="sk-test")


async def test_replay_as_json(logged):
    ran = await run_command("replay", "--policy", "rules", "--since", CENTURY, "--json", env=logged)
    assert (ran.code, ran.err) == (0, "")
    report = json.loads(ran.out)
    assert report["policy"] == "rules@2"
    assert report["decisions"] == 300
    assert report["left_out"] == {"the caller chose": 2}
    assert sum(would for _, would in report["shares"].values()) == pytest.approx(1.0)
    assert [one["measure"] for one in report["measures"]] == ["reward", "success", "cost", "seconds"]
    for one in report["measures"]:
        assert [estimate["estimator"] for estimate in one["estimates"]] == ["ips", "snips", "dr"]
        for estimate in one["estimates"]:
            assert estimate["low"] < estimate["value"] < estimate["high"]


async def test_replay_for_people(logged):
    ran = await run_command("replay", "--policy", "learned", "--since", CENTURY, env=logged)
    assert ran.code == 0, ran.err
    assert "300 decisions of learned@1 (300)" in ran.out
    assert "2 the caller chose" in ran.out
    for word in ("reward", "success", "$ a request", "seconds", "IPS", "SNIPS", "DR", "as predicted"):
        assert word in ran.out
    assert "are judged" in ran.err


async def test_replay_of_a_file_and_of_a_stored_version(logged):
    thrifty = Path(logged["HOME"]) / "thrifty.json"
    thrifty.write_text(json.dumps({"weights": {"balanced": {"cost": 0.0, "latency": 0.0, "enough": 1.0}}}))
    ran = await run_command("replay", "--policy", str(thrifty), "--since", CENTURY, "--json", env=logged)
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert report["policy"] == "thrifty"
    assert report["shares"][logs.DEAR][1] > 0.99
    missing = await run_command("replay", "--policy", "nobody@7", "--since", CENTURY, env=logged)
    assert missing.code == 1
    assert "nobody@7" in missing.err
    thrifty.write_text('{"weights": 3}')
    broken = await run_command("replay", "--policy", str(thrifty), "--since", CENTURY, env=logged)
    assert broken.code == 1
    assert "not a policy" in broken.err


async def test_savings(logged):
    ran = await run_command("savings", "--since", CENTURY, "--json", env=logged)
    assert (ran.code, ran.err) == (0, "")
    report = json.loads(ran.out)
    assert report["compared"] == 300
    assert report["left_out"] == {"the caller chose": 2}
    assert 0 < report["saved"]["low"] < report["saved"]["value"] < report["saved"]["high"]
    assert report["quality"]["value"] > 0
    shown = await run_command("savings", "--since", CENTURY, "--baseline", "gpt-4o", env=logged)
    assert shown.code == 0, shown.err
    assert "300 of 300 routed answers are compared with openai:gpt-4o" in shown.out
    assert "share saved" in shown.out


async def test_there_is_progress_in_a_terminal(logged):
    with Terminal("savings", "--since", CENTURY, env=logged) as terminal:
        await terminal.until("saved")
        assert await terminal.ended() == 0


@pytest.mark.parametrize("command", ["replay", "savings"])
async def test_an_empty_log_says_what_to_do(command, env):
    ran = await run_command(command, env=env)
    assert ran.code == 1
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("wrong", ["soon", "0d", "-3d", "30", "nand"])
async def test_a_period_that_is_none(wrong, env):
    ran = await run_command("replay", f"--since={wrong}", env=env)
    assert ran.code == 2
    assert "30d" in ran.err


async def test_the_check_on_tables(tmp_path, env):
    """Three logs of a small table: what is printed, not how often intervals hold."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(120):
        outcomes = {model: {"score": float(rng.random() < share)} for model, share in (("weak", 0.4), ("strong", 0.8))}
        lines.append(
            json.dumps(
                {
                    "dataset": "made", "prompt_id": str(number), "split_key": str(number), "category": "none",
                    "prompt": f"What is {rng.integers(100)} times {rng.integers(100)}, and why?", "outcomes": outcomes,
                }
            )
        )  # fmt: skip
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "made.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    ran = await run_command("replay", "--check", "--data", str(tmp_path / "tables"), "--seeds", "3", "--json", env=env)
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert len(report["tables"]) == 2 * 3 * 2
    assert {one["seeds"] for one in report["tables"]} == {3}
    without = await run_command("replay", "--check", env=env)
    assert without.code == 2
    assert "--data" in without.err


async def test_a_model_that_is_gone_from_the_settings_is_said(logged):
    """And while its provider stays."""
    file = Path(logged["HOME"]) / "pointsman.yaml"
    file.write_text(json.dumps({"providers": {"openai": {"models": [logs.CHEAP.partition(":")[2]]}}}))
    asked = ("--config", str(file), "replay", "--since", CENTURY)
    report = json.loads((await run_command(*asked, "--json", env=logged)).out)
    assert report["gone"] == [logs.DEAR]
    assert f"Not in the catalog any more, taken as the log has them: {logs.DEAR}." in " ".join(
        (await run_command(*asked, env=logged)).err.split()
    )
    refused = await run_command("--config", str(file), "train", "linucb", "--since", CENTURY, env=logged)
    assert refused.code == 1
    assert f"not by a model that is gone ({logs.DEAR}) is by {logs.CHEAP}" in refused.err
    file.write_text(json.dumps({"providers": {"openai": {"models": [logs.CHEAP.partition(":")[2]],
                                                         "default_model": logs.DEAR.partition(":")[2]}}}))  # fmt: skip
    assert json.loads((await run_command(*asked, "--json", env=logged)).out)["gone"] == []
