"""From evidence to the probability that an answer is good.

Two logistic models, one for whole answers and one for beginnings, over the same inputs; what is missing counts as its
mean, and that it is missing is an input too. Made by `python -m pointsman.learn.confidence`, which writes `model.json`
beside this file. What nobody can use is not learned but stipulated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from importlib import resources

import msgspec

from .evidence import Evidence

VERSION = 1
USELESS = 0.01
"""The probability of an answer that nobody can use: one that was to be JSON and is none, a call of no tool."""
WEIGHTY = 0.35
"""By how much an input must lower the logit to be named as a reason."""

INPUTS = (
    "mean_logprob", "worst_short", "worst_long", "doubtful", "entropy", "no_logprobs", "no_entropy", "length",
    "refusal", "doubt", "repetition", "broken", "codeless", "stub", "cut",
)  # fmt: skip
OF_TOKENS = ("mean_logprob", "worst_short", "worst_long", "doubtful")

REASONS: Mapping[str, str] = {
    "mean_logprob": "its tokens were unlikely",
    "worst_short": "a few words in a row were unlikely",
    "worst_long": "a stretch of it was unlikely",
    "doubtful": "many of its tokens had less than even odds",
    "entropy": "other tokens were nearly as likely",
    "length": "answers of its length are seldom good",
    "refusal": "it refuses, or asks for what it would need",
    "doubt": "it says that it is not sure",
    "repetition": "it repeats itself",
    "broken": "a code block does not parse",
    "codeless": "code was asked for and it has none",
    "stub": "its code leaves the work to the reader",
    "cut": "it was cut off",
    "empty": "it is empty",
    "not_json": "JSON was asked for and it is none",
    "schema": "it does not fit the schema that was asked for",
    "bad_arguments": "a tool call's arguments are no JSON object",
    "unknown_tool": "it calls a tool that there is not",
    "no_call": "a tool call was asked for and it has none",
}


class Confidence(msgspec.Struct, frozen=True):
    """How likely an answer is good, and what speaks against it, the weightiest first; in words without any of the
    answer's own."""

    probability: float
    reasons: tuple[str, ...] = ()


class Logistic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model: sigmoid(bias + Σ weight · (input − centre))."""

    bias: float
    weights: Mapping[str, float]
    centres: Mapping[str, float]
    """Means of the inputs; what is missing counts as its mean."""


class Point(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of a threshold on answers that the model had not seen."""

    threshold: float
    escalated: float
    """Share of the answers below it."""
    quality: float
    """Share of good ones among the rest."""


class Artefact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    version: int
    whole: Logistic
    begun: Logistic
    curve: tuple[Point, ...]
    """Of whole answers, thresholds rising."""
    begun_curve: tuple[Point, ...]
    """Of beginnings."""
    trained_on: Mapping[str, int]
    """Answers by model."""
    seen: Mapping[str, int]
    """In how many answers each sign that is there or not was there: where it is 0, the weight is a stipulation."""
    seed: int


def inputs_of(evidence: Evidence) -> dict[str, float | None]:
    """The inputs by name; None where one is missing."""
    told = evidence.mean_logprob is not None
    return {
        "mean_logprob": _held(evidence.mean_logprob, -3.0),
        "worst_short": _held(evidence.worst_short, -6.0),
        "worst_long": _held(evidence.worst_long, -4.0),
        "doubtful": evidence.doubtful,
        "entropy": None if evidence.entropy is None else min(evidence.entropy, 3.0),
        "no_logprobs": float(not told),
        "no_entropy": float(told and evidence.entropy is None),
        "length": math.log1p(min(evidence.tokens, 1000)),
        "refusal": float(evidence.refusal),
        "doubt": float(evidence.doubt),
        "repetition": evidence.repetition,
        "broken": evidence.broken,
        "codeless": float(evidence.codeless),
        "stub": float(evidence.stub),
        "cut": float(evidence.cut),
    }


def _held(logprob: float | None, least: float) -> float | None:
    return None if logprob is None else max(logprob, least)


class Model:
    """What an artefact says of evidence.

    Raises:
        ValueError: the artefact is of another version, lacks an input, or holds what is no number.
    """

    def __init__(self, artefact: Artefact) -> None:
        if artefact.version != VERSION:
            raise ValueError(f"it is of version {artefact.version}, and {VERSION} is read")
        for part in (artefact.whole, artefact.begun):
            if set(part.weights) != set(INPUTS) or set(part.centres) != set(INPUTS):
                raise ValueError("its inputs are others")
            if not all(map(math.isfinite, [part.bias, *part.weights.values(), *part.centres.values()])):
                raise ValueError("its numbers are not finite")
        self.artefact = artefact

    def __call__(self, evidence: Evidence, *, whole: bool) -> Confidence:
        part = self.artefact.whole if whole else self.artefact.begun
        logit, against = part.bias, []
        for name, value in inputs_of(evidence).items():
            if value is None:
                continue
            effect = part.weights[name] * (value - part.centres[name])
            logit += effect
            if effect <= -WEIGHTY and name in REASONS:
                against.append((effect, name))
        reasons = tuple(REASONS[name] for _, name in sorted(against))
        probability = 1 / (1 + math.exp(-max(min(logit, 30.0), -30.0)))
        if evidence.useless is not None:
            return Confidence(min(probability, USELESS), (REASONS[evidence.useless], *reasons))
        return Confidence(probability, reasons)

    def threshold_for(self, *, share: float | None = None, quality: float | None = None, whole: bool = True) -> float:
        """The probability below which an answer is escalated.

        Measured on the answers that the model was fitted to, out of fold: other models and tasks have other shares.

        Args:
            share: at most this share of answers is escalated: the greatest threshold that keeps to it.
            quality: of the answers that are kept at least this share is good: the least threshold that reaches it.
            whole: whether whole answers are judged, or beginnings.

        Raises:
            ValueError: both are given or none, or one is outside of [0, 1].
        """
        given = share if share is not None else quality
        if given is None or (share is not None and quality is not None) or not 0 <= given <= 1:
            raise ValueError("either a share or a quality is needed, in [0, 1]")
        curve = self.artefact.curve if whole else self.artefact.begun_curve
        if share is not None:
            return max((point.threshold for point in curve if point.escalated <= share), default=0.0)
        return min((point.threshold for point in curve if point.quality >= given), default=1.0)


@cache
def built_in_model() -> Model:
    """The one that comes with the package; read at the first call."""
    raw = resources.files(__package__).joinpath("model.json").read_bytes()
    return Model(msgspec.json.decode(raw, type=Artefact))


def threshold_for(*, share: float | None = None, quality: float | None = None, whole: bool = True) -> float:
    """`Model.threshold_for` of the model that comes with the package."""
    return built_in_model().threshold_for(share=share, quality=quality, whole=whole)
