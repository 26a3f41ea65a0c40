"""A scripted server that answers as a gateway does: its pages, and the headers of its answers."""

from __future__ import annotations

import msgspec

from pointsman.core.decision import Candidate, Decision, Dropped
from pointsman.core.outcome import Attempt, Outcome
from pointsman.core.signals import Complexity, Conversation, Intent, Needs, Privacy, Signals
from pointsman.testing import Answer, Page, ScriptedUpstream

DECISION = "dec_0000000000000000000000000a"
HEADERS = {
    "x-pointsman-decision": DECISION,
    "x-pointsman-model": "embedded:qwen2.5-coder:0.5b",
    "x-pointsman-provider": "embedded",
    "x-pointsman-intent": "general",
    "x-pointsman-reason": "cheapest that will do",
    "x-pointsman-estimated-cost-usd": "0.000000",
}


def record() -> dict[str, object]:
    """A decision's record."""
    decision = Decision(
        id=DECISION,
        created_at=1.0,
        model="embedded:qwen2.5-coder:0.5b",
        plan=("embedded:qwen2.5-coder:0.5b", "openai:gpt-4o"),
        mode="auto",
        requested_model="auto",
        candidates=(
            Candidate(
                model="embedded:qwen2.5-coder:0.5b",
                quality=0.81,
                cost_micro_usd=0,
                latency_seconds=2.5,
                utility=0.75,
                propensity=0.9,
            ),
            Candidate(
                model="openai:gpt-4o",
                quality=0.95,
                cost_micro_usd=1234,
                latency_seconds=1.5,
                utility=0.6,
                propensity=0.1,
            ),
        ),
        dropped=(Dropped(model="ollama:tiny", constraint="context", detail="2,048 tokens are too few"),),
        propensity=0.9,
        policy="rules@1",
        reasons=("cheapest that will do", "the prompt is easy"),
        signals=Signals(
            intent=Intent.COMPLETION,
            intent_confidence=0.7,
            complexity=Complexity(score=0.2, length=0.1, terms=0.2, structure=0.3),
            privacy=Privacy(),
            needs=Needs(prompt_tokens=11),
            conversation=Conversation(),
        ),
        estimated_cost_micro_usd=0,
    )
    outcome = Outcome(
        status="ok",
        model="embedded:qwen2.5-coder:0.5b",
        attempts=[Attempt(model="embedded:qwen2.5-coder:0.5b", started_at=1.0)],
        prompt_tokens=11,
        completion_tokens=7,
        cost_micro_usd=0,
        seconds=2.25,
        finish_reason="stop",
    )
    return {**msgspec.to_builtins(decision), "outcome": msgspec.to_builtins(outcome), "feedback": None}


def page(value: object, status: int = 200) -> Page:
    return Page(msgspec.json.encode(value), "application/json", status=status)


def stand_in(upstream: ScriptedUpstream) -> None:
    """Make a scripted upstream answer as a gateway."""
    upstream.models = ("auto", "embedded:qwen2.5-coder:0.5b", "openai:gpt-4o")
    upstream.default = Answer(headers=HEADERS)
    upstream.pages["/api/health"] = page({"status": "ok"})
    upstream.pages[f"/api/v1/decisions/{DECISION}"] = page(record())
    upstream.pages["/v1/feedback"] = page({"ok": True})
