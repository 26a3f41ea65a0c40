"""From evidence to the probability that an answer is good.

Evidence moves what is expected of a model: logit P(good) = logit prior + bias + Σ weight · (input − centre). There are
two such models, one for whole answers and one for beginnings, over the same inputs; what is missing counts as its mean,
and that it is missing is an input too. Made by `pointsman eval confidence --fit`, as `model.json` beside this file.
What nobody can use is not learned but stipulated.
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
SUREST = 0.02
"""How near to 0 or 1 a prior may be."""
RARE = 1 / 40
"""Share of answers that may be escalated by evidence that does not tell right from wrong: it costs little where it
errs, and lets what is plainly bad be caught."""
WEIGHTY = 0.35
"""By how much an input must lower the logit to be named as a reason."""

INPUTS = (
    "total", "mean_logprob", "worst_short", "worst_long", "doubtful", "entropy", "code_total", "code_worst",
    "no_logprobs", "no_entropy", "no_code", "length",
    "refusal", "doubt", "repetition", "broken", "codeless", "stub", "cut",
)  # fmt: skip

REASONS: Mapping[str, str] = {
    "total": "as a whole it was unlikely",
    "mean_logprob": "its tokens were unlikely",
    "worst_short": "a few words in a row were unlikely",
    "worst_long": "a stretch of it was unlikely",
    "doubtful": "many of its tokens had less than even odds",
    "entropy": "other tokens were nearly as likely",
    "code_total": "its code as a whole was unlikely",
    "code_worst": "a line or so of its code was unlikely",
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
    """By how much the inputs move the logit: bias + Σ weight · (input − centre)."""

    bias: float
    weights: Mapping[str, float]
    centres: Mapping[str, float]
    """Means of the inputs; what is missing counts as its mean."""


class Point(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of a threshold on answers that the model had not seen, each model's share of good ones being known."""

    threshold: float
    escalated: float
    """Share of the answers below it."""
    quality: float
    """Share of good ones among the rest."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of whole answers, or of beginnings."""

    model: Logistic
    telling: bool
    """Whether right answers moved it more than wrong ones of the same model, beyond chance."""
    shifts: tuple[float, ...]
    """By how much answers that the model had not seen moved the logit: quantiles at equal steps, from least to most."""
    curve: tuple[Point, ...]
    """Thresholds rising."""


class Artefact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    version: int
    prior: float
    """Share of good answers where nothing is expected."""
    whole: Part
    begun: Part
    trained_on: Mapping[str, int]
    """Answers by model."""
    seen: Mapping[str, int]
    """In how many answers each sign that is there or not was there: where it is 0, the weight is a stipulation."""
    seed: int


def inputs_of(evidence: Evidence) -> dict[str, float | None]:
    """The inputs by name; None where one is missing."""
    told = evidence.mean_logprob is not None
    return {
        "total": _magnitude(evidence.total),
        "mean_logprob": _held(evidence.mean_logprob, -3.0),
        "worst_short": _held(evidence.worst_short, -6.0),
        "worst_long": _held(evidence.worst_long, -4.0),
        "doubtful": evidence.doubtful,
        "entropy": None if evidence.entropy is None else min(evidence.entropy, 3.0),
        "code_total": _magnitude(evidence.code_total),
        "code_worst": _held(evidence.code_worst, -6.0),
        "no_logprobs": float(not told),
        "no_entropy": float(told and evidence.entropy is None),
        "no_code": float(told and evidence.code_total is None),
        "length": math.log1p(min(evidence.tokens, 1000)),
        "refusal": float(evidence.refusal),
        "doubt": float(evidence.doubt),
        "repetition": evidence.repetition,
        "broken": evidence.broken,
        "codeless": float(evidence.codeless),
        "stub": float(evidence.stub),
        "cut": float(evidence.cut),
    }


def _magnitude(logprob: float | None) -> float | None:
    """Of a sum of log-probabilities, on a scale of magnitudes; 0 of what was certain, else below it."""
    return None if logprob is None else -math.log1p(-logprob)


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
            model = part.model
            if set(model.weights) != set(INPUTS) or set(model.centres) != set(INPUTS) or len(part.shifts) < 2:
                raise ValueError("its inputs are others")
            if not all(map(math.isfinite, [model.bias, *model.weights.values(), *model.centres.values()])):
                raise ValueError("its numbers are not finite")
            if list(part.shifts) != sorted(part.shifts):
                raise ValueError("its quantiles do not rise")
        if not 0 <= artefact.prior <= 1:
            raise ValueError("its prior is no probability")
        self.artefact = artefact

    def __call__(self, evidence: Evidence, *, whole: bool, prior: float | None = None) -> Confidence:
        """How likely an answer with this evidence is good.

        Args:
            prior: how likely this model's answer to this request was expected to be good; None: nothing is known.
        """
        model = self._part(whole).model
        shift, against = model.bias, []
        for name, value in inputs_of(evidence).items():
            if value is None:
                continue
            effect = model.weights[name] * (value - model.centres[name])
            shift += effect
            if effect <= -WEIGHTY and name in REASONS:
                against.append((effect, name))
        reasons = tuple(REASONS[name] for _, name in sorted(against))
        probability = self._moved(prior, shift)
        if evidence.useless is not None:
            return Confidence(min(probability, USELESS), (REASONS[evidence.useless], *reasons))
        return Confidence(probability, reasons)

    def threshold_for(
        self,
        *,
        share: float | None = None,
        quality: float | None = None,
        whole: bool = True,
        prior: float | None = None,
    ) -> float:
        """The probability below which an answer is escalated.

        Measured on the answers that the model was fitted to, out of fold: other models and tasks have other shares.

        Args:
            share: at most this share of answers is escalated, those whose evidence is worst. Where evidence has not
                told right from wrong, one in forty at most: what is left are refusals, loops and the like.
            quality: of the answers that are kept at least this share is good: the least threshold that reaches it.
            whole: whether whole answers are judged, or beginnings.
            prior: for a share, what the answer is judged with.

        Raises:
            ValueError: both are given or none, or one is outside of [0, 1].
        """
        given = share if share is not None else quality
        if given is None or (share is not None and quality is not None) or not 0 <= given <= 1:
            raise ValueError("either a share or a quality is needed, in [0, 1]")
        part = self._part(whole)
        if share is not None:
            if not part.telling:
                share = min(share, RARE)
            return self._moved(prior, part.shifts[int(share * (len(part.shifts) - 1) + 1e-9)])
        return min((point.threshold for point in part.curve if point.quality >= given), default=1.0)

    def _part(self, whole: bool) -> Part:
        return self.artefact.whole if whole else self.artefact.begun

    def _moved(self, prior: float | None, shift: float) -> float:
        return sigmoid(logit(self.artefact.prior if prior is None else prior) + shift)


def logit(chance: float) -> float:
    """Of a chance, held off from certainty: no expectation is so sure that evidence counts for nothing."""
    held = min(max(chance, SUREST), 1 - SUREST)
    return math.log(held / (1 - held))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-max(min(value, 30.0), -30.0)))


@cache
def built_in_model() -> Model:
    """The one that comes with the package; read at the first call."""
    return parse_model(resources.files(__package__).joinpath("model.json").read_bytes())


_decoder = msgspec.json.Decoder(Artefact)
"""Made here, and not by whoever is first: two threads that make what msgspec knows of a type at the same time crash."""


def parse_model(raw: bytes) -> Model:
    """What `pointsman eval confidence --fit` wrote.

    Raises:
        ValueError: it is something else.
    """
    return Model(_decoder.decode(raw))


def threshold_for(
    *, share: float | None = None, quality: float | None = None, whole: bool = True, prior: float | None = None
) -> float:
    """`Model.threshold_for` of the model that comes with the package."""
    return built_in_model().threshold_for(share=share, quality=quality, whole=whole, prior=prior)
