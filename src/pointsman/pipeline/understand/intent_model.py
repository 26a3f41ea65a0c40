"""The learned classifier of intents: its word holds where it is clearly surer than the rules.

A multinomial logistic model over the feature vector and the rules' weights. Its probabilities, and the rules' own
confidence, are brought to what was measured on sources that the model had not seen: sigmoid(a + b logit c), as Platt
(1999) does it. Made by `python -m pointsman.learn.intent`, which writes `intent_model.json` beside this file.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from functools import cache
from importlib import resources
from operator import add

import msgspec

from pointsman.core.features import EMBEDDED, EMBEDDING_SCALE, VERSION, WIDTH, readable
from pointsman.core.signals import Intent

from .intent import judge

CLASSES: tuple[Intent, ...] = tuple(Intent)
RULED: tuple[Intent, ...] = tuple(intent for intent in Intent if intent is not Intent.GENERAL)
INPUTS = WIDTH + len(RULED) + len(CLASSES)
"""Of the model: the features, the weight of every intent by rule, and a one at the intent that the rules chose."""
FULL_WEIGHT = 3.0
"""What a rule's weight is divided by."""
MOST_WEIGHT = 6.0
"""Beyond it rules say no more."""


class IntentArtefact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    features: int
    """The version of the feature vectors that it reads."""
    classes: tuple[Intent, ...]
    weights: str
    """Base64 of little-endian float32, (INPUTS, classes), over features as `core.features.decode` gives them."""
    bias: tuple[float, ...]
    lead: float
    """By which the model's probability must exceed the rules' for its word to hold against theirs."""
    rules_calibration: tuple[float, float]
    """a and b of the rules' confidence."""
    calibration: tuple[float, float]
    """a and b of the model's greatest probability."""
    least: float
    """The calibrated probability below which the model's word is `general`."""
    trained_on: Mapping[str, int]
    """Asks by source."""
    seed: int


def rule_inputs(weights: Mapping[Intent, float]) -> list[float]:
    """What the model sees of the rules."""
    inputs = [0.0] * _RULE_INPUTS
    for intent, weight in weights.items():
        if intent in _RULED_AT:
            inputs[_RULED_AT[intent]] = min(weight, MOST_WEIGHT) / FULL_WEIGHT
    inputs[_CHOSEN_AT[judge(weights)[0]]] = 1.0
    return inputs


_RULED_AT = {intent: place for place, intent in enumerate(RULED)}
_CHOSEN_AT = {intent: place for place, intent in enumerate(CLASSES, len(RULED))}
_RULE_INPUTS = len(RULED) + len(CLASSES)


class IntentModel:
    """Intents of asks whose features were read. Threads may share it.

    Args:
        artefact: what was trained.

    Raises:
        ValueError: it is for other features or classes, or its numbers are too few or no numbers.
    """

    def __init__(self, artefact: IntentArtefact) -> None:
        import numpy as np

        table = np.frombuffer(base64.b64decode(artefact.weights), dtype="<f4")
        if artefact.features != VERSION or artefact.classes != CLASSES or len(artefact.bias) != len(CLASSES):
            raise ValueError("it was trained on other features or intents")
        if table.size != INPUTS * len(CLASSES) or not np.isfinite(table).all():
            raise ValueError("its weights are of another size, or not finite")
        table = table.reshape(INPUTS, len(CLASSES))
        scale = np.full(WIDTH, 127.0, dtype=np.float32)
        scale[:EMBEDDED] = EMBEDDING_SCALE
        self._features = table[:WIDTH] / scale[:, None]  # the bytes need not be scaled one by one
        rules = table[WIDTH:]
        weighed, chosen = rules[: len(RULED)] / FULL_WEIGHT, rules[len(RULED) :] + np.asarray(artefact.bias)
        # Few of the rules speak of an ask: what each adds to the logits.
        self._by_rule = dict(zip(RULED, weighed.tolist(), strict=True))
        self._by_verdict = dict(zip(CLASSES, chosen.tolist(), strict=True))
        self._artefact = artefact

    def __call__(
        self, features: bytes, weights: Mapping[Intent, float], ruled: tuple[Intent, float] | None = None
    ) -> tuple[Intent, float]:
        """The intent, and the probability that it is right.

        `general` where the rules say so and the model is not sure enough either; the probability is then that of the
        model's likeliest.

        Args:
            features: a vector of this version.
            weights: of the intents, by rule.
            ruled: what the rules say, and how surely; None: it is worked out.
        """
        verdict, confidence = ruled or judge(weights)
        told = verdict is not Intent.GENERAL
        by_rules = calibrated(confidence, self._artefact.rules_calibration) if told else 0.0
        logits = self.logits(features, weights, verdict)
        highest = max(logits)
        best = logits.index(highest)
        greatest = 1 / sum(map(math.exp, map(highest.__rsub__, logits)))
        by_model = calibrated(greatest, self._artefact.calibration)
        sure = by_model >= self._artefact.least
        if told and not (sure and by_model > by_rules + self._artefact.lead):
            return verdict, round(by_rules, 3)
        return (CLASSES[best] if sure else Intent.GENERAL), round(by_model, 3)

    def logits(self, features: bytes, weights: Mapping[Intent, float], verdict: Intent | None = None) -> list[float]:
        """Of `CLASSES`: the features, and `rule_inputs`, times the model's weights."""
        import numpy as np

        raw = np.frombuffer(features, dtype=np.int8, offset=1).astype(np.float32)
        made = map(add, raw.dot(self._features).tolist(), self._by_verdict[verdict or judge(weights)[0]])
        for intent, weight in weights.items():
            if intent in self._by_rule:
                made = map(add, made, map(min(weight, MOST_WEIGHT).__mul__, self._by_rule[intent]))
        return [*made]


def calibrated(chance: float, by: tuple[float, float]) -> float:
    """Platt's curve at a chance in [0, 1]."""
    held = min(max(chance, 1e-6), 1 - 1e-6)
    a, b = by
    return 1 / (1 + math.exp(-a - b * math.log(held / (1 - held))))


_decoder = msgspec.json.Decoder(IntentArtefact)
"""Made here, and not by the first thread that reads one: two that make what msgspec knows of a type at the same time
crash."""


@cache
def built_in_model() -> IntentModel:
    """The model that comes with the package; read at the first call."""
    raw = resources.files(__package__).joinpath("intent_model.json").read_bytes()
    return IntentModel(_decoder.decode(raw))


def read_intent(
    features: bytes, weights: Mapping[Intent, float], ruled: tuple[Intent, float] | None = None
) -> tuple[Intent, float]:
    """By the model that comes with the package where there are features, else by the rules alone.

    Args:
        ruled: what these say (`judge`); None: it is worked out.
    """
    ruled = ruled or judge(weights)
    return built_in_model()(features, weights, ruled) if readable(features) else ruled
