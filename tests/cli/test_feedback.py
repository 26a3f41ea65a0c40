"""`pointsman feedback`: what is sent, what is shown, and what is wrong usage."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .commands import run_command
from .standin import DECISION, page

KEPT = {
    "object": "feedback", "id": DECISION, "score": 0.5, "thumb": None, "outcome": None,
    "tests": {"passed": 17, "failed": 3}, "edit": {"accepted": True, "kept_share": 0.9}, "success": 0.85,
    "comment": None, "created_at": 1.0,
}  # fmt: skip


async def test_everything_that_is_said_is_sent_and_shown(gateway, with_gateway) -> None:
    gateway.pages["/v1/feedback"] = page(KEPT)
    said = ["--score", "0.5", "--tests", "17/20", "--accepted", "--kept", "0.9", "--comment", "ok"]
    ran = await run_command("feedback", DECISION, *said, env=with_gateway)
    assert ran.code == 0, ran.err
    assert gateway.requests[-1].json == {
        "id": DECISION, "score": 0.5, "tests": {"passed": 17, "total": 20},
        "edit": {"accepted": True, "kept_share": 0.9}, "comment": "ok",
    }  # fmt: skip
    shown = dict(line.rstrip().split(maxsplit=1) for line in ran.out.splitlines() if line.strip())
    assert shown == {
        "decision": DECISION, "score": "0.5", "tests": "17 passed, 3 failed", "edit": "accepted, 90% kept",
        "success": "0.85",
    }  # fmt: skip
    ran = await run_command("feedback", DECISION, "--rejected", "--json", env=with_gateway)
    assert json.loads(ran.out) == KEPT
    assert gateway.requests[-1].json == {"id": DECISION, "edit": {"accepted": False, "kept_share": None}}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "at least one"),
        (["--comment", "alone"], "at least one"),
        (["--score", "nan"], "0 to 1"),
        (["--score", "1.5"], "0 to 1"),
        (["--score", "inf"], "0 to 1"),
        (["--tests", "5/4"], "17/20"),
        (["--tests", "0/0"], "17/20"),
        (["--tests", "-1/4"], "17/20"),
        (["--thumb", "sideways"], "sideways"),
        (["--rejected", "--kept", "0.5"], "--accepted"),
    ],
)
async def test_wrong_usage_says_what_is_right(gateway, with_gateway, arguments: list[str], word: str) -> None:
    before = len(gateway.requests)
    ran = await run_command("feedback", DECISION, *arguments, env=with_gateway)
    assert (ran.code, ran.out) == (2, "")
    assert word in ran.err
    assert len(gateway.requests) == before


async def test_an_unknown_answer_is_an_error(gateway, with_gateway) -> None:
    error: dict[str, Any] = {"message": "There is no answer with this id.", "param": "id", "code": "not_found"}
    gateway.pages["/v1/feedback"] = page({"error": error}, status=404)
    ran = await run_command("feedback", "dec_none", "--thumb", "up", env=with_gateway)
    assert (ran.code, ran.out) == (1, "")
    assert "There is no answer with this id." in ran.err
