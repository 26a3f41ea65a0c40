"""Routing as a DSPy module: a model says the intent, and the policy that serves chooses by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dspy
import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import InvalidRequest
from pointsman.core.program import Program
from pointsman.core.signals import Intent, Signals
from pointsman.pipeline.decide.artefact import load_policy
from pointsman.pipeline.decide.learned.policy import LearnedPolicy
from pointsman.pipeline.decide.learned.shipped import shipped
from pointsman.pipeline.decide.policy import Policy, RulePolicy
from pointsman.pipeline.decide.predict import predict

from .job import Routing
from .signature import predictor_of

_signals = msgspec.json.Decoder(Signals)


class RouterProgram(dspy.Module):
    """A message and its signals to the model that the policy picks for it.

    Only the intent is written by a model, by the predictor `intent`; the rest is as serving does it. Its score is
    the reward of the picked model, so optimisers look for the intents that lead to good choices.
    """

    def __init__(self, program: Program, policy: Policy, cards: Sequence[ModelCard]) -> None:
        super().__init__()
        self.intent = predictor_of(program)
        self._policy = policy
        self._cards = tuple(cards)

    def forward(self, message: str, signals: str) -> dspy.Prediction:
        intent = self.intent(message=message).intent
        understood = msgspec.structs.replace(_signals.decode(signals), intent=Intent(intent), intent_confidence=1.0)
        ranked = self._policy.rank(predict(self._cards, understood), understood)
        return dspy.Prediction(intent=intent, model=ranked[0].model)

    def __deepcopy__(self, memo: dict[int, Any]) -> RouterProgram:
        copied = RouterProgram.__new__(RouterProgram)
        copied.__dict__.update(self.__dict__)
        copied.intent = self.intent.deepcopy()
        return copied


def router_of(program: Program, routing: Routing) -> RouterProgram:
    """The module over the policy of a job.

    Raises:
        InvalidRequest: the policy cannot be read.
    """
    return RouterProgram(program, _policy(routing), routing.cards)


def _policy(routing: Routing) -> Policy:
    rules = RulePolicy(complexity_threshold=routing.complexity_threshold)
    card_of = {card.id: card for card in routing.cards}.get
    if routing.kind:
        return load_policy(routing.kind, routing.artefact, version=routing.version, base=rules, card_of=card_of)
    if not routing.learns:
        return rules
    try:
        return LearnedPolicy(shipped(), rules=rules, card_of=card_of)
    except InvalidRequest:
        return rules  # as serving does where what ships cannot be read
