"""What happened while a plan was carried out: its attempts, in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .catalog import ModelCard
from .errors import (
    PointsmanError,
    UpstreamConnectError,
    UpstreamContextTooLong,
    UpstreamError,
    UpstreamLacks,
    UpstreamStatus,
    UpstreamTimeout,
)
from .events import Usage
from .outcome import Attempt
from .ports import Clock

GATEWAYS = frozenset({408, 502, 504, *range(520, 530)})
"""Statuses that stand for a server in between, LiteLLM's 408 among them: what is behind it may have done the work."""


def may_be_billed(error: PointsmanError) -> bool:
    """Whether an attempt that failed before its answer's first byte may cost something all the same."""
    if isinstance(error, UpstreamStatus):
        return error.upstream_status in GATEWAYS
    if isinstance(error, UpstreamTimeout):
        return error.phase != "connect"
    unasked = (UpstreamConnectError, UpstreamContextTooLong, UpstreamLacks)
    return isinstance(error, UpstreamError) and not isinstance(error, unasked)


@dataclass(slots=True)
class Trail:
    """Written by `execute`, read by `record` when the stream ends."""

    clock: Clock
    started: float = field(init=False)
    attempts: list[Attempt] = field(default_factory=list)
    cards: list[ModelCard] = field(default_factory=list)
    """The card of each attempt's model."""
    final: set[int] = field(default_factory=set)
    """Attempts whose usage was told when the answer had ended, whatever became of the rest of the stream."""
    unsure: set[int] = field(default_factory=set)
    """Attempts whose usage cannot be the bill: nothing asked or answered, more read from a cache than was asked, or
    told before the answer had ended."""
    unbilled: set[int] = field(default_factory=set)
    """Attempts that failed in a way that no provider bills."""
    _attempt_started: float = 0.0

    def __post_init__(self) -> None:
        self.started = self.clock.monotonic()

    @property
    def model(self) -> str | None:
        """The model of the last attempt, which is the one that answered when the request ended well."""
        return self.attempts[-1].model if self.attempts else None

    def begin(self, card: ModelCard, *, caller_key: bool = False) -> None:
        """
        Args:
            caller_key: the attempt is made with a key that the caller brought.
        """
        self._attempt_started = self.clock.monotonic()
        self.cards.append(card)
        self.attempts.append(
            Attempt(model=card.id, started_at=self.clock.now(), status="cancelled", caller_key=caller_key)
        )

    def moved(self, card: ModelCard) -> None:
        """The model of the attempt under way has become another since the decision."""
        self.cards[-1] = card

    def first_byte(self) -> None:
        self.attempts[-1].first_byte_seconds = self.clock.monotonic() - self._attempt_started

    def used(self, usage: Usage, *, final: bool = False) -> None:
        """Note what the upstream says it used; later reports replace earlier ones."""
        attempt, card, index = self.attempts[-1], self.cards[-1], len(self.attempts) - 1
        prompt, output = usage.billed
        cached = usage.cached_tokens
        if final:
            self.final.add(index)
        if (prompt <= 0 and card.price_input) or (output <= 0 and card.price_output) or cached > prompt:
            self.unsure.add(index)
        else:
            self.unsure.discard(index)
        attempt.prompt_tokens = prompt
        attempt.completion_tokens = output
        attempt.cached_tokens = cached
        attempt.cost_micro_usd = card.cost_micro_usd(prompt, output, cached, usage.cache_writes)

    def noted(self, note: str) -> None:
        """Keep what the provider noticed of its answer."""
        self.attempts[-1].note = note

    def went_on(self) -> None:
        """The answer went on after what was last told of its usage."""
        self.unsure.add(len(self.attempts) - 1)

    def succeeded(self) -> None:
        self._close("ok")

    def failed(self, error: PointsmanError) -> None:
        self._close("error")
        self.attempts[-1].error = f"{error.code}: {error.message}"
        if self.attempts[-1].first_byte_seconds is None and not may_be_billed(error):
            self.unbilled.add(len(self.attempts) - 1)

    def refused(self, error: PointsmanError) -> None:
        """The model was not asked: what its provider allows is used up, or it wants to be left alone."""
        self._close("refused")
        self.attempts[-1].error = f"{error.code}: {error.message}"

    def cancelled(self) -> None:
        self._close("cancelled")

    def _close(self, status: Literal["ok", "error", "refused", "cancelled"]) -> None:
        attempt = self.attempts[-1]
        attempt.seconds = self.clock.monotonic() - self._attempt_started
        attempt.status = status
