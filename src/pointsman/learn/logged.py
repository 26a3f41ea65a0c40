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
    """The arm that was picked; an outcome after a fallback credits it too, for the arm is the whole plan."""
    answered_by: str | None
    mode: str
    policy: str
    propensity: float
    candidates: tuple[Candidate, ...]
    """Every arm that no constraint excluded, with its propensity under the policy that chose."""
    signals: Signals
    status: str | None
    success: float | None = None
    """In [0, 1]; None where nobody has judged the answer."""
    weight: float = 0.0
    """How far `success` is to be believed, in [0, 1]."""
    cost_micro_usd: int | None = None
    seconds: float | None = None
    completion_tokens: int | None = None
