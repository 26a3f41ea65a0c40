"""What happened while a plan was carried out: its attempts, in order."""

from __future__ import annotations

import msgspec

from .catalog import ModelCard
from .errors import (
    CircuitOpen,
    PointsmanError,
    UpstreamConnectError,
    UpstreamContextTooLong,
    UpstreamError,
    UpstreamLacks,
    UpstreamStatus,
    UpstreamTimeout,
)
from .events import Usage
from .outcome import Attempt, AttemptStatus
from .ports import Clock

GATEWAYS = frozenset({408, 502, 504, *range(520, 530)})
"""Statuses that stand for a server in between, LiteLLM's 408 among them: what is behind it may have done the work."""


def may_be_billed(error: PointsmanError) -> bool:
    """Whether an attempt that failed before its answer's first byte may cost something all the same."""
    if isinstance(error, UpstreamStatus):
        return error.upstream_status in GATEWAYS
    if isinstance(error, UpstreamTimeout):
        return error.phase != "connect"
    unasked = (UpstreamConnectError, UpstreamContextTooLong, UpstreamLacks, CircuitOpen)
    return isinstance(error, UpstreamError) and not isinstance(error, unasked)


class Step(msgspec.Struct, eq=False):
    """One attempt, while it is made and after."""

    card: ModelCard
    """The card of its model."""
    attempt: Attempt
    _clock: Clock
    _started: float
    final: bool = False
    """Its usage was told when the answer had ended, whatever became of the rest of the stream."""
    unsure: bool = False
    """Its usage cannot be the bill: nothing asked or answered, more read from a cache than was asked, or told before
    the answer had ended."""
    unbilled: bool = False
    """It failed in a way that no provider bills."""

    @property
    def asked_first_byte_seconds(self) -> float | None:
        """From when the model was asked to the first byte: without the time in a queue."""
        first_byte = self.attempt.first_byte_seconds
        return None if first_byte is None else first_byte - (self.attempt.queue_seconds or 0.0)

    def moved(self, card: ModelCard) -> None:
        """The model has become another since the decision."""
        self.card = card

    def queues(self) -> None:
        """It waits for its turn: until it has it, nothing is billed."""
        self.unbilled = True
        self.attempt.queue_seconds = 0.0

    def queued(self, *, admitted: bool) -> None:
        """The wait is over."""
        self.unbilled = not admitted
        self.attempt.queue_seconds = self._clock.monotonic() - self._started

    def first_byte(self) -> None:
        self.attempt.first_byte_seconds = self._clock.monotonic() - self._started

    def used(self, usage: Usage, *, final: bool = False) -> None:
        """Note what the upstream says it used; later reports replace earlier ones."""
        attempt, card = self.attempt, self.card
        prompt, output = usage.billed
        cached = usage.cached_tokens
        if final:
            self.final = True
        self.unsure = (
            (prompt <= 0 and bool(card.price_input)) or (output <= 0 and bool(card.price_output)) or cached > prompt
        )
        attempt.prompt_tokens = prompt
        attempt.completion_tokens = output
        attempt.cached_tokens = cached
        attempt.cost_micro_usd = card.cost_micro_usd(prompt, output, cached, usage.cache_writes)

    def guessed(self, prompt: int, output: int) -> None:
        """Note an estimate of what an answer took whose usage was not told, or not all of it."""
        attempt, card = self.attempt, self.card
        asked, wrote, cached = attempt.prompt_tokens, attempt.completion_tokens or 0, attempt.cached_tokens or 0
        if asked is not None and not self.unsure:
            return
        prompt, output = asked or prompt, max(wrote, output)
        cost = card.cost_micro_usd(prompt, output, cached)
        if cost is not None and asked and attempt.cost_micro_usd is not None:  # what was written to a cache is in it
            cost += attempt.cost_micro_usd - (card.cost_micro_usd(asked, wrote, cached) or 0)
        attempt.prompt_tokens, attempt.completion_tokens, attempt.cost_micro_usd = prompt, output, cost
        attempt.estimated = self.unsure = True

    def noted(self, note: str) -> None:
        """Keep what the provider noticed of its answer."""
        self.attempt.note = note

    def resent(self) -> None:
        """The idle connection that its request was sent on had been closed: it went out once more, on another."""
        self.attempt.resent = True

    def went_on(self) -> None:
        """The answer went on after what was last told of its usage."""
        self.unsure = True

    def succeeded(self) -> None:
        self.attempt.seconds = self._clock.monotonic() - self._started
        self.attempt.status = "ok"

    def failed(self, error: PointsmanError) -> None:
        self._close("error")
        self.attempt.error = f"{error.code}: {error.message}"
        if self.attempt.first_byte_seconds is None and not may_be_billed(error):
            self.unbilled = True

    def refused(self, error: PointsmanError) -> None:
        """The model was not asked: what its provider allows is used up, or it wants to be left alone."""
        self._close("refused")
        self.attempt.error = f"{error.code}: {error.message}"

    def escalated(self, reason: str, *, whole: bool) -> None:
        """Its answer was not good enough, and another model is asked.

        Args:
            whole: it had come whole, so that its usage is the bill.
        """
        self._close("escalated")
        self.attempt.note = reason
        if not whole:
            self.unsure = True

    def cancelled(self) -> None:
        self._close("cancelled")

    def _close(self, status: AttemptStatus) -> None:
        self.attempt.seconds = self._clock.monotonic() - self._started
        self.attempt.status = status


class Trail(msgspec.Struct, eq=False):
    """Written by `execute`, read by `record` when the stream ends."""

    clock: Clock
    started: float = 0.0
    """In seconds of the clock that never jumps: when it was made."""
    deadline: float | None = None
    """By the same clock, when the whole answer must have been told; None until a plan is carried out."""
    steps: list[Step] = []
    """In the order in which they were begun; but of two that ran at the same time the one that answered is last."""

    def __post_init__(self) -> None:
        self.started = self.clock.monotonic()

    @property
    def attempts(self) -> list[Attempt]:
        steps = self.steps
        return [steps[0].attempt] if len(steps) == 1 else [step.attempt for step in steps]

    @property
    def last(self) -> Step | None:
        """The last attempt, which is the one that answered when the request ended well."""
        return self.steps[-1] if self.steps else None

    @property
    def model(self) -> str | None:
        """The last attempt's model."""
        return self.steps[-1].attempt.model if self.steps else None

    def begin(self, card: ModelCard, *, caller_key: bool = False) -> Step:
        """
        Args:
            caller_key: the attempt is made with a key that the caller brought.
        """
        clock = self.clock
        attempt = Attempt(model=card.id, started_at=clock.now(), status="cancelled", caller_key=caller_key)
        step = Step(card, attempt, clock, clock.monotonic())
        self.steps.append(step)
        return step

    def answers(self, step: Step) -> None:
        """Of several attempts under way this is the one whose answer is told."""
        if self.steps[-1] is not step:
            self.steps.remove(step)
            self.steps.append(step)
