"""What is known of how good a model's answer was: the grain that policies learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from .signals import Signals

Source = Literal["feedback", "tests", "edit", "implicit", "judge"]
"""Who says so: the caller's feedback, test results or an accepted edit that the client reported, what the caller did
next, or a model that judges."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One judged answer. A later one for the same decision replaces it."""

    decision_id: str
    model: str
    """The model that answered, which is not the decision's where a fallback stepped in."""
    at: float
    """When the decision was taken, in seconds since the epoch, UTC."""
    success: float
    """In [0, 1]."""
    weight: float = 1.0
    """How far `success` is to be believed, in [0, 1]: the precision of its source."""
    source: Source = "feedback"
    signals: Signals


VERDICT = "verdict"
"""The kind of implicit signal that is what a cascade thought of the answer that it let pass. It observes nothing, for
the thought begins with what was expected of the model; callers who speak of the same answer tell how right it was."""
REJECTED = "rejected"
"""What a cascade thought of an answer that it did not let pass: of the decision's model, and not of the one that
answered. It is believed as far as `VERDICT` is."""


class Implicit(msgspec.Struct, frozen=True, kw_only=True):
    """Something that tells of an answer without the caller having said it."""

    decision_id: str
    kind: str
    """A stable word: complaint, retry, tool_failed …; `judge` for a model's judgement, `verdict` and `rejected` for a
    cascade's."""
    success: float
    """The guess at how good the answer was, in [0, 1]."""
    at: float
    """When it was seen, in seconds since the epoch, UTC."""


class Made(msgspec.Struct):
    """Of an attempt, what tells who wrote the answer; see `outcome.Attempt`."""

    model: str = ""
    status: str = ""
    first_byte_seconds: float | None = None
    caller_key: bool = False
    confidence: float | None = None
    went_on: bool = False


def several_wrote(attempts: Sequence[Made]) -> bool:
    """Whether the last of these attempts went on with what another model had begun: the answer tells of neither."""
    if not attempts or not attempts[-1].went_on:
        return False
    begun = (one.model for one in attempts[:-1] if one.status == "error" and one.first_byte_seconds is not None)
    return any(model != attempts[-1].model for model in begun)
