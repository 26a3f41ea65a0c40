"""What the decision log says of past requests, for those who sum it up."""

from __future__ import annotations

import msgspec

from .outcome import Feedback, Status
from .reward import PARTIAL, success_of


class Figure(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request, as far as sums look. Outcome fields are None while it runs."""

    created_at: float
    """Seconds since the epoch, UTC."""
    model: str
    """The model that was chosen; '' when the request was refused before."""
    mode: str
    intent: str
    stream: bool
    conversation: str = ""
    """The same for all its turns; '' where that is not known."""
    status: Status | None = None
    answered_by: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cost_micro_usd: int | None = None
    first_byte_seconds: float | None = None
    seconds: float | None = None
    feedback: Feedback | None = None
    candidates: bytes | str | None = None
    """JSON; None where it was not asked for."""

    @property
    def judged(self) -> bool | None:
        """Whether the caller thought the answer good; None where nothing was said, or that it was so in part."""
        if self.feedback is None:
            return None
        success, _ = success_of(self.feedback)
        return None if success == PARTIAL and self.feedback.outcome == "partial" else success >= PARTIAL
