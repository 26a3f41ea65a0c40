"""Watches an answer go by and writes how it ended, once, when its stream ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Literal

import msgspec

from pointsman.core.caller import Caller
from pointsman.core.decision import Decision, new_decision_id
from pointsman.core.errors import PointsmanError, RequestError
from pointsman.core.events import Event
from pointsman.core.lifecycle import Lifecycle, Stopping
from pointsman.core.outcome import Outcome, Status
from pointsman.core.ports import Clock, DecisionLog
from pointsman.core.request import ChatRequest
from pointsman.core.signals import Complexity, Conversation, Needs, Privacy, Signals
from pointsman.core.trail import Trail

from .judge import Judge
from .tally import Tally

NOTHING_UNDERSTOOD = Signals(
    complexity=Complexity(score=0.0, length=0.0, terms=0.0, structure=0.0),
    privacy=Privacy(),
    needs=Needs(),
    conversation=Conversation(turn=0, messages=0),
)
"""Of a request that was refused before it was understood."""

_encoder = msgspec.json.Encoder()


class Record:
    """Queues decisions and outcomes for the log."""

    def __init__(
        self,
        *,
        log: DecisionLog,
        clock: Clock,
        store_prompts: Literal["never", "public", "all"] = "never",
        asked: Sequence[Callable[[Decision, ChatRequest], None]] = (),
        told: Sequence[Callable[[Decision, Outcome], None]] = (),
        judge: Judge | None = None,
        lifecycle: Lifecycle | None = None,
    ) -> None:
        """
        Args:
            lifecycle: of the gateway, whose end is told apart from a caller who leaves; None: it does not end.
            asked: each is told every decision before it is acted on; they return at once and raise nothing.
            told: each is told how every decision ended; they return at once and raise nothing.
            judge: hears some of the answers, to judge them later.
        """
        self._log = log
        self._clock = clock
        self._store_prompts = store_prompts
        self._asked = tuple(asked)
        self._told = tuple(told)
        self._judge = judge
        self._lifecycle = lifecycle or Lifecycle()
        self.tally = Tally()
        """What this process has done."""

    def _decided(self, decision: Decision, request: ChatRequest) -> None:
        """Queue a decision before it is acted on, with its prompt where the privacy setting allows."""
        prompt = None
        if self._store_prompts != "never":
            privacy = decision.signals.privacy
            if self._store_prompts == "all" or not (privacy.classes or privacy.local_only):
                prompt = _encoder.encode(request.params.messages)
        self._log.decided(decision, prompt=prompt)

    def refused(
        self,
        error: PointsmanError,
        *,
        caller: Caller,
        model: str,
        reason: str,
        signals: Signals | None,
        stream: bool,
    ) -> None:
        """Log a request that no model was asked for, and name the entry on the error."""
        now = self._clock.now()
        decision = Decision(
            id=new_decision_id(now),
            created_at=now,
            model="",
            plan=(),
            mode="auto",
            requested_model=model[:200],
            candidates=(),
            dropped=(),
            propensity=0.0,
            policy="none",
            reasons=(reason,),
            signals=signals or NOTHING_UNDERSTOOD,
            estimated_cost_micro_usd=None,
            stream=stream,
            key_id=caller.key_id,
        )
        self._log.decided(decision, prompt=None)
        status: Status = "refused" if isinstance(error, RequestError) else "error"
        outcome = Outcome(status=status, error=error.code, http_status=error.status)
        self._log.ended(decision.id, outcome)
        self.tally.refuse(outcome)
        error.decision_id = decision.id

    async def watch(
        self, decision: Decision, request: ChatRequest, trail: Trail, events: AsyncGenerator[Event, None]
    ) -> AsyncGenerator[Event, None]:
        """Log the decision before it is acted on; pass the events on; when they end, in whatever way, log the
        outcome."""
        self._decided(decision, request)
        for tell in self._asked:
            tell(decision, request)
        judge, listener = self._judge, None
        if judge is not None:
            listener = judge.listen(decision, request)
        self.tally.begin()
        outcome = Outcome(status="cancelled", http_status=499)  # nginx's word for a client that left
        try:
            try:
                async for event in events:
                    if outcome.first_byte_seconds is None:
                        outcome.first_byte_seconds = self._clock.monotonic() - trail.started
                    answer_id = event.answer_id
                    if answer_id is not None and not _quotes(decision, request, answer_id):
                        outcome.answer_id = answer_id
                    reason = event.finish_reason
                    if reason is not None and (reason in _REASONS or not _quotes(decision, request, reason)):
                        outcome.finish_reason = reason
                    if listener is not None:
                        listener(event)
                    yield event
            finally:
                await events.aclose()
            outcome.status, outcome.http_status = "ok", 200
        except PointsmanError as error:
            outcome.status = "refused" if isinstance(error, RequestError) else "error"
            outcome.error, outcome.http_status = error.code, error.status
            error.decision_id = decision.id
            last = trail.last
            if last is not None and last.attempt.status == "cancelled":  # thrown in: the answer was of no use
                last.failed(error)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            if self._lifecycle.ending:  # it was not the caller who left
                outcome.error, outcome.http_status = Stopping.code, Stopping.status
            raise
        except BaseException:
            outcome.status, outcome.error, outcome.http_status = "error", "internal_error", 500
            raise
        finally:
            self._log.ended(decision.id, _summed(outcome, trail, self._clock.monotonic()))
            self.tally.end(outcome, stream=decision.stream)
            for tell_end in self._told:
                tell_end(decision, outcome)
            if judge is not None:
                judge.ended(decision, request, outcome, listener)


_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})


def _quotes(decision: Decision, request: ChatRequest, word: str) -> bool:
    """Whether a word of an upstream about its answer stands in the private prompt, and so must not be kept."""
    if not decision.signals.privacy.classes:
        return False
    sought = word.encode()
    return any(sought in bytes(raw) for raw in request.params.messages)


def _summed(outcome: Outcome, trail: Trail, now: float) -> Outcome:
    """The outcome with the last attempt's tokens and every attempt's cost."""
    outcome.seconds = now - trail.started
    outcome.attempts = attempts = trail.attempts
    if not attempts:
        return outcome
    last = attempts[-1]
    outcome.model = last.model
    outcome.prompt_tokens = last.prompt_tokens
    outcome.completion_tokens = last.completion_tokens
    outcome.cached_tokens = last.cached_tokens
    # One that failed before it had begun to answer was not billed, as far as anyone can know.
    # What a caller's own key paid for cost the installation nothing.
    if len(attempts) == 1 and not last.caller_key and last.status == "ok":
        outcome.cost_micro_usd = last.cost_micro_usd
        return outcome
    costs = [
        0 if attempt.caller_key else attempt.cost_micro_usd
        for attempt in attempts
        if attempt.status == "ok" or attempt.tokens
    ]
    known = [cost for cost in costs if cost is not None]
    outcome.cost_micro_usd = sum(known) if len(known) == len(costs) else None
    return outcome
