"""A decision log that keeps everything in memory and forgets it with the process."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.caller import Caller
from pointsman.core.decision import Decision
from pointsman.core.errors import StoreError
from pointsman.core.figures import Figure
from pointsman.core.outcome import Feedback, Outcome
from pointsman.core.ports import LogStatus
from pointsman.core.whole import whole

ENDED = (
    "status", "prompt_tokens", "completion_tokens", "cached_tokens", "cost_micro_usd", "first_byte_seconds", "seconds",
)  # fmt: skip


class MemoryDecisionLog:
    """A `core.ports.DecisionLog` for tests and for gateways that should leave no trace on disk."""

    def __init__(self) -> None:
        self.decisions: dict[str, Decision] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.feedbacks: dict[str, Feedback] = {}
        self.prompts: dict[str, bytes] = {}

    def decided(self, decision: Decision, *, prompt: bytes | None) -> None:
        if decision.id in self.decisions:
            return
        self.decisions[decision.id] = decision
        if prompt is not None:
            self.prompts[decision.id] = prompt

    def ended(self, decision_id: str, outcome: Outcome) -> None:
        if decision_id in self.decisions:
            self.outcomes[decision_id] = outcome

    async def get(self, identifier: str, *, caller: Caller | None = None) -> dict[str, Any] | None:
        seen = self._newest_first(caller)
        named = [decision for decision in seen if decision.id == identifier]
        answered = [
            decision
            for decision in seen
            if decision.id in self.outcomes and self.outcomes[decision.id].answer_id == identifier
        ]
        return next((self._record(decision) for decision in named + answered), None)

    async def recent(self, limit: int, *, caller: Caller | None = None) -> list[dict[str, Any]]:
        return [self._record(decision) for decision in self._newest_first(caller)[:limit]]

    async def figures(self, *, since: float, most: int, candidates: bool = False) -> list[Figure]:
        recent = [decision for decision in self._newest_first(None) if decision.created_at >= since]
        return [self._figure(decision, candidates=candidates) for decision in recent[:most]]

    async def feedback(self, feedback: Feedback) -> None:
        if feedback.decision_id not in self.decisions:
            raise StoreError(f"There is no decision {feedback.decision_id} to keep feedback for.")
        self.feedbacks[feedback.decision_id] = feedback

    def status(self) -> LogStatus:
        return LogStatus(ok=True, pending=0, dropped=0)

    async def close(self) -> None:
        pass

    def _newest_first(self, caller: Caller | None) -> list[Decision]:
        seen = (one for one in self.decisions.values() if caller is None or caller.may_see(one.key_id))
        return sorted(seen, key=lambda decision: (decision.created_at, decision.id), reverse=True)

    def _figure(self, decision: Decision, *, candidates: bool) -> Figure:
        outcome, feedback = self.outcomes.get(decision.id), self.feedbacks.get(decision.id)
        ended: dict[str, Any] = {}
        if outcome is not None:
            ended = {name: getattr(outcome, name) for name in ENDED} | {"answered_by": outcome.model}
        return Figure(
            created_at=decision.created_at,
            model=decision.model,
            mode=decision.mode,
            intent=decision.signals.intent,
            stream=decision.stream,
            candidates=msgspec.json.encode(decision.candidates) if candidates else None,
            feedback=feedback,
            **ended,
        )

    def _record(self, decision: Decision) -> dict[str, Any]:
        outcome, feedback = self.outcomes.get(decision.id), self.feedbacks.get(decision.id)
        return {
            "decision": whole(Decision, _plain(decision)),
            "outcome": None if outcome is None else whole(Outcome, _plain(outcome)),
            "feedback": None if feedback is None else _plain(feedback),
        }


def _plain(said: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(said))
    return plain
