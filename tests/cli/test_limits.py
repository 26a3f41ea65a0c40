"""`pointsman limits` and what a refusal looks like at a command line."""

from __future__ import annotations

import json

from pointsman.testing.answers import Status

from .commands import run_command
from .standin import page

REPORT = {
    "key_id": "key_1a2b",
    "user_id": None,
    "tier": "free",
    "priority": "low",
    "limits": [{"name": "minute", "limit": 20, "used": 3, "remaining": 17, "reset_at": "2026-11-22T10:01:00Z"}],
}


async def test_a_table_and_json(gateway, with_gateway) -> None:
    gateway.pages["/api/v1/usage"] = page(REPORT)
    ran = await run_command("limits", env=with_gateway)
    assert (ran.code, ran.err) == (0, "key_1a2b: tier free, priority low\n")
    row = next(line for line in ran.out.splitlines() if line.startswith("minute"))
    assert row.split() == ["minute", "20", "3", "17", "2026-11-22T10:01:00Z"]
    shown = await run_command("limits", "ci", "--json", env=with_gateway)
    assert json.loads(shown.out) == REPORT
    assert gateway.requests[-1].path == "/api/v1/usage?key_id=ci"


async def test_nothing_is_limited(gateway, with_gateway) -> None:
    gateway.pages["/api/v1/usage"] = page({**REPORT, "key_id": None, "tier": "enterprise", "limits": []})
    ran = await run_command("limits", env=with_gateway)
    assert (ran.code, ran.out) == (0, "")
    assert "tier enterprise" in ran.err
    assert "Nothing is limited." in ran.err


async def test_a_refusal_says_once_when_to_come_back(gateway, with_gateway) -> None:
    error = {"code": "rate_limit_exceeded", "message": "Rate limit reached: 5 requests a minute. Try again in 7 s."}
    gateway.pages["/api/v1/usage"] = Status(429, json.dumps({"error": error}).encode(), retry_after=7)
    ran = await run_command("limits", env=with_gateway)
    assert (ran.code, ran.err) == (1, f"error: {error['message']}\n")
