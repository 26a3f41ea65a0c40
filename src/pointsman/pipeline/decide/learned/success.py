"""What is believed of an arm's success before anything was observed of it here.

A model of which only the catalog's quality q is known is placed between anchors: models of known ability whose success
was trained as logit P = w · x + b over the feature vector x. With a = logit q,

    logit P = (1 − g) · (a − SLOPE × (complexity − TYPICAL)) + g · (the anchors' logits at x, interpolated at a)

g, the nearness gate, is 1 where x lies within `inner` cosine distance of a prompt that was trained with and 0 beyond
`outer`: far from everything seen it is the Rasch model of `predict` alone. Beyond the weakest and the strongest anchor
the logit goes on with slope 1 in a, as in Rasch's model. An anchor is never believed below a weaker one, so that P
never falls as q rises. For a model that was itself trained with, its head stands in the place of the anchors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pointsman.core.catalog import ModelCard
from pointsman.core.features import EMBEDDED, WIDTH, decode, readable
from pointsman.core.signals import Signals
from pointsman.pipeline.decide.predict import SLOPE, TYPICAL, Arm

from .artefact import Anchor, Head, LearnedArtefact, unpack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST = 1e-6
"""Priors are kept this far from 0 and 1, where logits have no end."""


class _Arrays(NamedTuple):
    """The artefact's numbers, with the features' centring folded into the weights."""

    abilities: list[float]
    weights: NDArray[np.float32]
    """(WIDTH, anchors + heads)"""
    bias: NDArray[np.float32]
    heads: dict[str, int]
    """Id or bare name → column."""
    centres: NDArray[np.float32] | None
    inner: float
    outer: float


class Success:
    """P(success) of arms, as the artefact has it.

    Args:
        artefact: without a prior, what `predict` said stays.
    """

    def __init__(self, artefact: LearnedArtefact) -> None:
        self._artefact = artefact
        self._arrays: _Arrays | None = None

    def __call__(self, arms: Sequence[Arm], signals: Signals, x: NDArray[np.float32] | None) -> list[float]:
        """P of each arm for one request, in [0, 1].

        Args:
            x: (WIDTH,), the request's feature vector; None: it has none.
        """
        if self._artefact.prior is None or x is None:
            return [arm.quality for arm in arms]
        arrays = self._read()
        return _blend(arrays, arms, _ease(signals), *_of_one(arrays, x))

    def paired(self, arms: Sequence[Arm], signals: Sequence[Signals]) -> list[float]:
        """P of the arm of each request: as calling it pair by pair, in one go."""
        found = [arm.quality for arm in arms]
        read = [place for place, one in enumerate(signals) if readable(one.features)]
        if self._artefact.prior is None or not read:
            return found
        arrays = self._read()
        logits, gates = _logits(arrays, decode([signals[place].features for place in read]))
        for place, row, gate in zip(read, logits.tolist(), gates.tolist(), strict=True):
            [found[place]] = _blend(arrays, [arms[place]], _ease(signals[place]), row, gate)
        return found

    def _read(self) -> _Arrays:
        if self._arrays is None:
            self._arrays = _read(self._artefact)
        return self._arrays


def _read(artefact: LearnedArtefact) -> _Arrays:
    import numpy as np

    prior = artefact.prior
    assert prior is not None

    def array(text: str, count: int) -> Floats:
        return np.frombuffer(unpack(text, count, "the policy"), dtype=np.float32).astype(np.float64)

    mean, scale = array(prior.mean, WIDTH), array(prior.scale, WIDTH)
    linear: list[Anchor | Head] = [*prior.anchors, *artefact.heads.values()]
    weights = np.stack([array(one.weights, WIDTH) for one in linear], axis=1) / scale[:, None]
    bias = np.array([one.bias for one in linear]) - mean @ weights
    near = prior.near
    centres = None
    if near is not None:
        centres = array(near.centres, near.count * EMBEDDED).reshape(near.count, EMBEDDED).astype(np.float32)
    return _Arrays(
        abilities=[anchor.ability for anchor in prior.anchors],
        weights=weights.astype(np.float32),
        bias=bias.astype(np.float32),
        heads={model: place for place, model in enumerate(artefact.heads, len(prior.anchors))},
        centres=centres,
        inner=near.inner if near is not None else 0.0,
        outer=near.outer if near is not None else 0.0,
    )


def _of_one(arrays: _Arrays, x: NDArray[np.float32]) -> tuple[list[float], float]:
    """As `_logits`, of one request: (WIDTH,). Behind a closed gate there are no logits."""
    gate = 1.0
    if arrays.centres is not None:
        embedded = x[:EMBEDDED]
        length = math.sqrt(float(embedded.dot(embedded)))
        if not length > 0:
            return [], 0.0
        nearest = float(arrays.centres.dot(embedded).max()) / max(length, LEAST)
        gate = min(max((arrays.outer - 1.0 + nearest) / (arrays.outer - arrays.inner), 0.0), 1.0)
        if not gate:
            return [], 0.0
    logits: list[float] = (x.dot(arrays.weights) + arrays.bias).tolist()
    return logits, gate


def _logits(arrays: _Arrays, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of anchors and heads, (requests, columns), and the gates, (requests,)."""
    import numpy as np

    logits = x @ arrays.weights + arrays.bias
    if arrays.centres is None:
        return logits, np.ones(len(x), dtype=np.float32)
    embedded = x[:, :EMBEDDED]
    lengths = np.sqrt((embedded * embedded).sum(axis=1))
    nearest = (embedded @ arrays.centres.T).max(axis=1) / np.maximum(lengths, np.float32(LEAST))
    gates = (arrays.outer - 1.0 + nearest) / (arrays.outer - arrays.inner)
    return logits, np.minimum(np.maximum(gates, 0.0), 1.0) * (lengths > 0)


def _ease(signals: Signals) -> float:
    return -SLOPE * (signals.complexity.score - TYPICAL)


def _blend(arrays: _Arrays, arms: Sequence[Arm], ease: float, logits: list[float], gate: float) -> list[float]:
    if not gate:
        return [arm.quality for arm in arms]
    rising, highest = [], -math.inf
    for logit in logits[: len(arrays.abilities)]:
        highest = max(highest, logit)
        rising.append(highest)
    plain = {arm.card.id: arm.prior for arm in arms if arm.effort is None}
    found = []
    for arm in arms:
        ability = _logit(arm.prior)
        column = _column(arrays.heads, arm.card)
        if column is None:
            seen = _between(arrays.abilities, rising, ability)
        else:  # trained at the model's own effort
            seen = logits[column] + ability - _logit(plain.get(arm.card.id, arm.prior))
        found.append(_sigmoid((1 - gate) * (ability + ease) + gate * seen) * arm.ability)
    return found


def _column(heads: dict[str, int], card: ModelCard) -> int | None:
    return heads.get(card.id, heads.get(card.name)) if heads else None


def _between(abilities: Sequence[float], logits: Sequence[float], ability: float) -> float:
    if ability <= abilities[0]:
        return logits[0] + ability - abilities[0]
    for place in range(1, len(abilities)):
        high = abilities[place]
        if ability <= high:
            low = abilities[place - 1]
            return logits[place - 1] + (logits[place] - logits[place - 1]) * (ability - low) / (high - low)
    return logits[-1] + ability - abilities[-1]


def _logit(prior: float) -> float:
    prior = min(max(prior, LEAST), 1 - LEAST)
    return math.log(prior / (1 - prior))


def _sigmoid(logit: float) -> float:
    if logit < -700:
        return 0.0
    return 1.0 / (1.0 + math.exp(-logit))
