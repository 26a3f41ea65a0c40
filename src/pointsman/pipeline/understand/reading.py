"""What the ask of one user turn wants: computed once, remembered by digest."""

from __future__ import annotations

import msgspec

from pointsman.core.signals import Complexity, Intent

from .ask import find_ask
from .assent import is_assent
from .complexity import ComplexityScore
from .features import FeatureReader
from .intent import IntentRules
from .intent_model import read_intent


class Reading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A user turn, read. Holds none of its text."""

    assent: bool
    intent: Intent
    confidence: float
    complexity: Complexity
    features: bytes = b""


class Reader:
    """Reads the text of a user turn.

    Args:
        features: reads the feature vector; None: there is none.
    """

    def __init__(self, complexity: ComplexityScore, features: FeatureReader | None = None) -> None:
        self._intent = IntentRules()
        self._complexity = complexity
        self._features = features

    def __call__(self, text: str, *, featured: bool = False) -> Reading:
        """Read it; the feature vector only when it is wanted, for it takes the most time.

        With a vector the learned classifier has its say about the intent; without one the rules speak alone.
        """
        ask = find_ask(text)
        complexity = self._complexity(ask)
        features = self._features(ask, complexity) if featured and self._features is not None else b""
        intent, confidence = read_intent(features, self._intent.weigh(ask))
        return Reading(
            assent=not ask.code and is_assent(ask.prose),
            intent=intent,
            confidence=confidence,
            complexity=complexity,
            features=features,
        )
