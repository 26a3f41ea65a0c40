"""What the ask of one user turn wants: computed once, remembered by digest."""

from __future__ import annotations

import msgspec

from pointsman.core.signals import Complexity, Intent

from .ask import find_ask
from .assent import is_assent
from .complexity import ComplexityScore
from .intent import IntentRules


class Reading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A user turn, read. Holds none of its text."""

    assent: bool
    intent: Intent
    confidence: float
    complexity: Complexity


class Reader:
    """Reads the text of a user turn."""

    def __init__(self, complexity: ComplexityScore) -> None:
        self._intent = IntentRules()
        self._complexity = complexity

    def __call__(self, text: str) -> Reading:
        ask = find_ask(text)
        intent, confidence = self._intent(ask)
        return Reading(
            assent=not ask.code and is_assent(ask.prose),
            intent=intent,
            confidence=confidence,
            complexity=self._complexity(ask),
        )
