"""Structs that leave out fields at their defaults, and what is read of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pointsman.core.decision import Candidate
from pointsman.core.outcome import Attempt
from pointsman.core.signals import Complexity, Conversation, Needs, Privacy, Signals
from pointsman.core.whole import whole

COMPLEXITY = Complexity(score=0.5, length=0.25, terms=0.75, structure=0.125)
LEAST = {
    Candidate: Candidate(model="lan:a", quality=0.5, cost_micro_usd=None, latency_seconds=1.5, utility=0.4),
    Attempt: Attempt(model="lan:a", started_at=1.5),
    Signals: Signals(complexity=COMPLEXITY, privacy=Privacy(), needs=Needs(), conversation=Conversation()),
}
WRITTEN: dict[type, dict[str, Any]] = {
    Candidate: {"model": "lan:a", "quality": 0.5, "cost_micro_usd": None, "latency_seconds": 1.5, "utility": 0.4},
    Attempt: {"model": "lan:a", "started_at": 1.5},
    Signals: {
        "complexity": {"score": 0.5, "length": 0.25, "terms": 0.75, "structure": 0.125},
        "privacy": {},
        "needs": {},
        "conversation": {},
    },
}
LEFT_OUT: dict[type, dict[str, Any]] = {
    Candidate: {
        "cost_high_micro_usd": None,
        "latency_high_seconds": None,
        "uncertainty": 0.0,
        "effort": None,
        "switching_cost": 0.0,
        "queue_seconds": 0.0,
        "propensity": 0.0,
    },
    Attempt: {
        "first_byte_seconds": None,
        "seconds": 0.0,
        "status": "ok",
        "error": None,
        "prompt_tokens": None,
        "completion_tokens": None,
        "cached_tokens": None,
        "cost_micro_usd": None,
        "note": None,
        "queue_seconds": None,
        "caller_key": False,
        "confidence": None,
        "estimated": False,
        "went_on": False,
        "resent": False,
    },
    Signals: {
        "intent": "general",
        "intent_confidence": 0.0,
        "intent_source": "rules",
        "complexity": {"score": 0.5, "length": 0.25, "terms": 0.75, "structure": 0.125},
        "privacy": {
            "level": "standard",
            "classes": [],
            "detectors": [],
            "local_only": False,
            "redacted": False,
            "placeholders": 0,
        },
        "needs": {
            "kind": "chat",
            "infill": False,
            "tools": False,
            "vision": False,
            "json_object": False,
            "json_schema": False,
            "logprobs": False,
            "effort_named": False,
            "choices": 1,
            "dear_service": False,
            "cache_marks": 0,
            "prompt_tokens_low": 0,
            "prompt_tokens_high": 0,
            "prompt_tokens_most": 0,
            "prompt_tokens": 0,
            "max_output": None,
            "output_most": None,
            "expected_output": 256,
        },
        "conversation": {
            "turn": 1,
            "messages": 1,
            "tool_results": 0,
            "tool_errors": 0,
            "repeated_failures": 0,
            "stage": "chat",
            "severity": 0.0,
            "spinning": 0.0,
            "tests_passed": None,
            "short_reply": False,
            "awaiting_tool_result": False,
        },
        "cloud_asked": False,
        "priority": "balanced",
        "budget_tier": "high",
        "quality_floor": None,
        "features": "",
        "prefixes": "",
        "prompt_hash": "",
    },
}
"""What rows that lack a field say. They lie in databases: a default that is changed changes what was logged. A field
that is new is added here; none that is there may be another."""


@pytest.mark.parametrize("kind", list(LEAST), ids=lambda kind: kind.__name__)
def test_a_row_without_a_field_says_what_it_always_said(kind: type[msgspec.Struct]):
    written = msgspec.json.decode(msgspec.json.encode(LEAST[kind]))
    assert written == WRITTEN[kind]
    assert whole(kind, written) == WRITTEN[kind] | LEFT_OUT[kind]


def test_what_was_written_is_not_replaced():
    told = {"turn": 4, "stage": "edit", "of_a_later_version": [1]}
    read = whole(Conversation, told)
    assert {name: read[name] for name in told} == told
    assert list(read) == [field.name for field in msgspec.structs.fields(Conversation)] + ["of_a_later_version"]
    assert told == {"turn": 4, "stage": "edit", "of_a_later_version": [1]}


def test_nobody_gets_the_lists_of_another():
    whole(Privacy, {})["classes"].append("secret")
    assert whole(Privacy, {})["classes"] == []
