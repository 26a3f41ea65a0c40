"""A step that a model writes: its program before anyone optimised it, and how an answer of it is scored."""

from __future__ import annotations

import msgspec

from pointsman.core.program import Program

from .metrics import MetricName


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step."""

    name: str
    """Of its file in the data folder."""
    about: str
    """What it does, in a line."""
    program: Program
    metric: MetricName
    max_tokens: int
    """Of an answer; an optimiser's own texts may be longer."""
