"""What the ask of one user turn wants: computed once, remembered by digest."""

from __future__ import annotations

import logging

import msgspec

from pointsman.core.features import readable
from pointsman.core.signals import Complexity, Intent, IntentSource

from .allow import AllowPatterns
from .ask import find_ask
from .assent import is_assent
from .complexity import ComplexityScore
from .features import FeatureReader
from .intent import IntentRules, judge
from .intent_model import read_intent

log = logging.getLogger(__name__)


class Reading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A user turn, read. Holds none of its text."""

    assent: bool
    intent: Intent
    confidence: float
    source: IntentSource
    complexity: Complexity
    features: bytes = b""
    cloud_asked: bool = False


class Reader:
    """Reads the text of a user turn.

    Args:
        features: reads the feature vector; None: there is none.
        allow: what an ask says that may go to the cloud in development mode.
    """

    def __init__(
        self, complexity: ComplexityScore, features: FeatureReader | None = None, allow: AllowPatterns | None = None
    ) -> None:
        self._intent = IntentRules()
        self._complexity = complexity
        self._features = features
        self._failed = False
        self._allow = allow
        self.is_cold = features is not None
        """Whether the first vector is still to be made: NumPy and a table are loaded for it, which takes long."""

    def __call__(self, text: str, *, featured: bool = False) -> Reading:
        """Read it; the feature vector only when it is wanted, for it takes the most time.

        With a vector the learned classifier has its say about the intent; without one the rules speak alone.
        """
        ask = find_ask(text)
        complexity = self._complexity(ask)
        weights = self._intent.weigh(ask)
        by_rules = ruled, _ = intent, confidence = judge(weights)
        source: IntentSource = "rules"
        features = b""
        if featured and self._features is not None:
            try:
                features = self._features(ask, complexity)
                intent, confidence = read_intent(features, weights, by_rules)
                if intent is not ruled or (ruled is Intent.GENERAL and readable(features)):
                    source = "classifier"
            except Exception:  # a broken file or NumPy keeps no request from its answer
                if not self._failed:
                    log.exception("Prompts cannot be embedded, or their intents not told from that; the rules speak.")
                self._failed = True
            self.is_cold = False
        return Reading(
            assent=not ask.code and is_assent(ask.prose),
            intent=intent,
            confidence=confidence,
            source=source,
            complexity=complexity,
            features=features,
            cloud_asked=self._allow is not None and self._allow(text),
        )
