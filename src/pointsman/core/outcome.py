"""How a request ended: written once, when its stream ends."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["ok", "error", "refused", "cancelled"]
"""ok: answered whole. error: a provider failed and nothing was left to try, or the stream broke. refused: we said no
(a 4xx). cancelled: the caller left, or the gateway ended, and `error` says so."""


AttemptStatus = Literal["ok", "error", "refused", "cancelled", "escalated"]
"""refused: the model was not asked, because a limit was used up or its circuit was open. escalated: its answer was not
good enough, and a stronger model was asked."""


class Attempt(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One call of one model."""

    model: str
    started_at: float
    first_byte_seconds: float | None = None
    seconds: float = 0.0
    status: AttemptStatus = "ok"
    error: str | None = None
    """The code of the error, and its message without any text of the prompt or the answer."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cost_micro_usd: int | None = None
    note: str | None = None
    """What its provider noticed of the answer, such as a prompt that was cut unsaid; without any text of either."""
    queue_seconds: float | None = None
    """For how long it waited for a slot of its engine, as a part of its seconds; None: there is no queue before that
    engine."""
    caller_key: bool = False
    """Whether it was made with a key that the caller brought, and so costs the caller and not the installation."""
    confidence: float | None = None
    """How likely its answer, or its beginning, was good, where that was judged before anything of it was told."""
    estimated: bool = False
    """Whether its tokens and its cost are estimates: the upstream did not tell what all of it took."""
    went_on: bool = False
    """Whether it was asked to go on with an answer that another attempt had begun: then the answer is nobody's own."""
    resent: bool = False
    """Whether its request went out twice, because the upstream had closed the idle connection that it was first sent on
    before a byte of an answer."""

    @property
    def asked_seconds(self) -> float:
        """Its seconds without those in a queue."""
        return self.seconds - (self.queue_seconds or 0.0)

    @property
    def tokens(self) -> int | None:
        """All tokens that it used; None: nobody knows."""
        return None if self.prompt_tokens is None else self.prompt_tokens + (self.completion_tokens or 0)


class Outcome(msgspec.Struct, kw_only=True):
    """What became of a decision."""

    status: Status
    model: str | None = None
    """The model that answered, which is the decision's unless a fallback stepped in."""
    error: str | None = None
    http_status: int = 200
    attempts: list[Attempt] = msgspec.field(default_factory=list)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cost_micro_usd: int | None = None
    """Over all attempts but those on a caller's own key, estimates among them; None when a price is unknown."""
    first_byte_seconds: float | None = None
    seconds: float = 0.0
    finish_reason: str | None = None
    answer_id: str | None = None
    """The id in the answer's own body, so that feedback may name either."""


class SuiteResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of tests on the answer gave."""

    passed: int
    failed: int


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an edit that the answer proposed."""

    accepted: bool
    kept_share: float | None = None
    """Share of it that was left as proposed, in [0, 1]."""


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller said of an answer. Twice for the same decision replaces."""

    decision_id: str
    score: float | None = None
    """In [0, 1]."""
    thumb: Literal["up", "down"] | None = None
    outcome: Literal["success", "failure", "partial"] | None = None
    tests: SuiteResult | None = None
    edit: Edit | None = None
    comment: str | None = None
    created_at: float = 0.0
