"""Decisions and outcomes to log, with every field set to something of its own."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path

import msgspec

from pointsman.core.decision import Candidate, Decision, Dropped, new_decision_id
from pointsman.core.outcome import Attempt, Outcome
from pointsman.core.signals import Complexity, Conversation, Intent, Needs, Privacy, PrivacyClass, Signals

SIGNALS = Signals(
    intent=Intent.REFACTORING,
    intent_confidence=0.75,
    complexity=Complexity(score=0.5, length=0.25, terms=0.75, structure=0.125),
    privacy=Privacy(
        level="high", classes=(PrivacyClass.SECRET, PrivacyClass.CONTACT), detectors=("aws_key",), local_only=True
    ),
    needs=Needs(tools=True, prompt_tokens_low=90, prompt_tokens_high=120, prompt_tokens=100, max_output=50),
    conversation=Conversation(turn=3, messages=7, tool_results=1),
    priority="quality",
    prompt_hash="6b2f",
)
_count = itertools.count(1)


def decision(**changes: object) -> Decision:
    """A decision; each call's is a millisecond later than the one before."""
    now = 1_700_000_000 + next(_count) / 1000
    whole = Decision(
        id=new_decision_id(now),
        created_at=now,
        model="lan:small",
        plan=("lan:small", "cloud:großes"),
        mode="hint",
        requested_model="small",
        candidates=(
            Candidate(
                model="lan:small", quality=0.5, cost_micro_usd=0, latency_seconds=1.5, utility=0.4, propensity=0.9
            ),
            Candidate(
                model="cloud:großes",
                quality=0.9,
                cost_micro_usd=None,
                latency_seconds=0.5,
                queue_seconds=0.125,
                utility=0.3,
            ),
        ),
        dropped=(Dropped(model="cloud:blind", constraint="vision", detail="cannot see"),),
        propensity=0.9,
        policy="rules@1",
        reasons=("it is named", "it will do"),
        signals=SIGNALS,
        estimated_cost_micro_usd=12,
        stream=True,
        explored=True,
        effort="low",
        conversation="9f3c",
        key_id="key_a",
    )
    return msgspec.structs.replace(whole, **changes)


def outcome(**changes: object) -> Outcome:
    whole = Outcome(
        status="ok",
        model="cloud:großes",
        error="late",
        http_status=201,
        attempts=[
            Attempt(
                model="lan:small",
                started_at=1.5,
                seconds=0.5,
                queue_seconds=0.25,
                status="error",
                error="upstream_broken: broke off",
                estimated=True,
                confidence=0.75,
                resent=True,
            ),
            Attempt(
                model="cloud:großes",
                started_at=2.5,
                first_byte_seconds=0.25,
                prompt_tokens=9,
                cost_micro_usd=3,
                went_on=False,
            ),
        ],
        prompt_tokens=9,
        completion_tokens=4,
        cached_tokens=2,
        cost_micro_usd=3,
        first_byte_seconds=0.25,
        seconds=1.75,
        finish_reason="stop",
        answer_id="chatcmpl-7",
    )
    return msgspec.structs.replace(whole, **changes)


def plain(value: object) -> object:
    """A value as JSON says it, with every field of every struct."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(field) for name, field in msgspec.structs.asdict(value).items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return msgspec.json.decode(msgspec.json.encode(value))


def counted(path: Path) -> tuple[int, int]:
    """Decisions and outcomes in a file, which is checked for integrity first."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        row: tuple[int, int] = connection.execute("SELECT count(*), count(status) FROM decisions").fetchone()
        return row
    finally:
        connection.close()
