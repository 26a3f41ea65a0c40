from __future__ import annotations

import json
from pathlib import Path

import msgspec

from pointsman.core.decision import Decision
from pointsman.core.outcome import Outcome
from pointsman.stores.sqlite_log import SqliteDecisionLog

from .commands import run_command
from .standin import DECISION, page, record


async def test_a_decision_is_explained(with_gateway) -> None:
    ran = await run_command("why", DECISION, env=with_gateway)
    assert ran.code == 0, ran.err
    for words in ("was chosen", "openai:gpt-4o", "95%", "Ruled out", "2,048 tokens are too few", "rules@1"):
        assert words in ran.out
    assert "\x1b" not in ran.out


async def test_without_an_id_it_is_the_latest(gateway, with_gateway) -> None:
    gateway.pages["/api/v1/decisions"] = page({"object": "list", "data": [{"id": DECISION}]})
    assert DECISION in (await run_command("why", env=with_gateway)).out
    gateway.pages["/api/v1/decisions"] = page({"object": "list", "data": []})
    ran = await run_command("why", env=with_gateway)
    assert (ran.code, ran.err) == (1, "error: There is no decision yet.\n")


async def test_a_request_that_was_refused_before_a_choice(gateway, with_gateway) -> None:
    told = record()
    refused = {**told["outcome"], "status": "refused", "model": None, "attempts": [], "error": "model_not_found"}
    told |= {"model": "", "candidates": [], "dropped": [], "reasons": ["There is no such model."], "outcome": refused}
    gateway.pages[f"/api/v1/decisions/{DECISION}"] = page(told)
    ran = await run_command("why", DECISION, env=with_gateway)
    assert ran.out.startswith("No model was chosen.\n  · There is no such model."), ran.out + ran.err
    assert "Candidate" not in ran.out
    assert "refused: model_not_found" in ran.out


async def test_the_time_in_queues_is_told(gateway, with_gateway) -> None:
    told = record()
    full = {"model": "ollama:m", "started_at": 1.0, "status": "refused", "error": "overloaded: full"}
    waited = {"model": "gpu:m", "started_at": 1.0, "seconds": 9.0, "queue_seconds": 3.25}
    told["outcome"] = {**told["outcome"], "attempts": [{**full, "queue_seconds": 0.0}, waited]}
    gateway.pages[f"/api/v1/decisions/{DECISION}"] = page(told)
    ran = await run_command("why", DECISION, env=with_gateway)
    [line] = [line for line in ran.out.splitlines() if line.strip().startswith("in queue")]
    assert line.split()[-2:] == ["3.25", "s"]
    [attempt] = [line for line in ran.out.splitlines() if line.startswith("gpu:m")]
    assert attempt.split()[1:] == ["ok", "9.00", "s", "3.25", "s"]


async def test_a_request_that_was_sent_twice_is_said_to_be_one(gateway, with_gateway) -> None:
    told = record()
    again = {"model": "gpu:m", "started_at": 1.0, "resent": True}
    for attempts in ([again], [{"model": "ollama:m", "started_at": 1.0}, again]):
        told["outcome"] = {**told["outcome"], "attempts": attempts}
        gateway.pages[f"/api/v1/decisions/{DECISION}"] = page(told)
        ran = await run_command("why", DECISION, env=with_gateway)
        assert [line.split()[0] for line in ran.out.splitlines() if "sent twice" in line] == ["gpu:m"], ran.out


async def test_what_is_an_estimate_is_said_to_be_one(gateway, with_gateway) -> None:
    told = record()
    broken = {"model": "openai:m", "started_at": 1.0, "status": "cancelled", "estimated": True, "prompt_tokens": 9}
    told["outcome"] = {**told["outcome"], "attempts": [broken], "cost_micro_usd": 90}
    gateway.pages[f"/api/v1/decisions/{DECISION}"] = page(told)
    ran = await run_command("why", DECISION, env=with_gateway)
    assert "of which what openai:m took is an estimate" in ran.out
    assert "about " in next(line for line in ran.out.splitlines() if line.startswith("tokens") and " out" in line)


async def test_json_is_the_record(with_gateway) -> None:
    ran = await run_command("why", DECISION, "--json", env=with_gateway)
    assert json.loads(ran.out) == json.loads(json.dumps(record()))


async def test_an_unknown_one(gateway, with_gateway) -> None:
    error = {"code": "validation_error", "message": "There is no decision with this id.", "details": {"reason": "x"}}
    gateway.pages["/api/v1/decisions/dec_x"] = page({"error": error}, status=404)
    ran = await run_command("why", "dec_x", env=with_gateway)
    assert (ran.code, ran.err) == (1, "error: There is no decision with this id.\n")


async def test_without_a_gateway_the_log_is_read(env, tmp_path: Path) -> None:
    ran = await run_command("why", DECISION, env=env)
    assert ran.code == 1
    assert "no gateway answers" in ran.err
    assert not (tmp_path / "data" / "pointsman.sqlite3").exists()
    log = SqliteDecisionLog(tmp_path / "data" / "pointsman.sqlite3")
    await log.open()
    decision = msgspec.convert(record(), Decision)
    log.decided(decision, prompt=None)
    log.ended(DECISION, Outcome(status="cancelled", model=decision.model, answer_id="chatcmpl-7"))
    await log.close()
    for args in ([DECISION], ["chatcmpl-7"], []):
        ran = await run_command("why", *args, env=env)
        assert ran.code == 0, ran.err
        assert "cancelled" in ran.out
        assert DECISION in ran.out
