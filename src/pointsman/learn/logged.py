"""Decisions of the log, as learning and replay read them."""

from __future__ import annotations

import msgspec

from pointsman.core.decision import Candidate
from pointsman.core.signals import Signals


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """One decision with what became of it. Holds no text of the prompt."""

    id: str
    at: float
    """Seconds since the epoch, UTC."""
    key_id: str | None
    model: str
    """The arm that was picked. What a policy is worth credits it with whatever came of it, after a fallback, a hedge,
    an escalation or a splice too, for the arm is the whole plan; what is believed of single models does not."""
    effort: str | None = None
    """The reasoning effort of that arm."""
    answered_by: str | None
    mode: str
    requested_model: str = ""
    policy: str
    propensity: float
    explored: bool = False
    """Whether chance picked it, not utility."""
    conversation: str = ""
    """Its turns share it; empty where it cannot be told."""
    candidates: tuple[Candidate, ...]
    """Every arm that no constraint excluded, with its propensity under the policy that chose."""
    signals: Signals
    status: str | None
    """None while it runs, or when a crash cut it off."""
    success: float | None = None
    """In [0, 1]; None where nobody has judged the answer."""
    weight: float = 0.0
    """How far `success` is to be believed, in [0, 1]."""
    source: str | None = None
    """Who says so."""
    cost_micro_usd: int | None = None
    """What it cost us, failed attempts included; None where a price is not known."""
    seconds: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    own_key: bool = False
    """Whether the caller brought the key, and so paid."""
    joint: bool = False
    """Whether several models wrote the answer, one going on where another broke off."""
    verdict: float | None = None
    """How likely the answer was thought good before it was told; None: no cascade judged it."""
    rejected: float | None = None
    """The same of the answer of the arm's model, where another one answered in its place for that."""

    @property
    def arm(self) -> str:
        """The label of the arm that was picked."""
        return self.model if self.effort is None else f"{self.model}#{self.effort}"
