"""Watches one answer and tells how likely it is good."""

from __future__ import annotations

from functools import cache

from pointsman.core.events import Event
from pointsman.core.request import ChatRequest

from .answer import Answer
from .asked import Asked
from .evidence import Evidence, evidence_of
from .model import Confidence, Model, built_in_model
from .phrases import load_phrases


@cache
def load() -> None:
    """Read and compile what the first judgement would stop at; threads may do it."""
    import yaml  # noqa: F401  # of blocks.py, where a text holds such

    load_phrases()
    built_in_model()


class Verifier:
    """Of one attempt at a request.

    Each chunk is read once, in some 8 µs. A judgement reads the whole text, in some 3 ms where it has 3,000 characters:
    ask for one now and then, not with every chunk.

    Args:
        request: what was asked, in the form in which the model got it.
        model: what makes a probability of the evidence; None: the one that comes with the package.
    """

    def __init__(self, request: ChatRequest, model: Model | None = None) -> None:
        self._request = request
        self._asked: Asked | None = None
        self._model = model
        self._answer = Answer()

    @property
    def tokens(self) -> int:
        """Output tokens seen, reasoning not among them; estimated by length where there are no log-probabilities."""
        return self._answer.tokens

    def feed(self, event: Event) -> None:
        """Take in what has come: frames or a body of the dialect `chat`. Never raises for what they hold."""
        self._answer.add(event)

    def confidence(self, *, whole: bool, prior: float | None = None) -> Confidence:
        """Of the whole answer, or of its beginning: what may still come then counts for nothing.

        Args:
            prior: how likely this model's answer to this request was expected to be good; None: nothing is known.
        """
        model = self._model or built_in_model()
        return model(self.evidence(whole=whole), whole=whole, prior=prior)

    def evidence(self, *, whole: bool) -> Evidence:
        """What the probability is made of."""
        if self._asked is None:
            self._asked = Asked.of(self._request)
        return evidence_of(self._asked, self._answer, whole=whole)
