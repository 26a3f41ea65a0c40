"""What LinUCB and Thompson sampling have in common: a Bayesian linear posterior for each arm, fitted to the log.

With φ the context of a decision, y how well the answer did and p what is believed beforehand, for every model

    y − p = φ · β + noise,    β ~ N(0, s² I),    noise ~ N(0, σ²)

as `pipeline.decide.learned.posterior` has it, which goes on from here with what is observed later. σ² is the mean
square of what is left unexplained, and s the one of `SCALES` under which the log is likeliest (the evidence: Bishop
2006, 3.86): small where models do as was believed of them, so that little is made of noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import InvalidRequest
from pointsman.core.observation import Observation
from pointsman.pipeline.decide.learned.artefact import Learned, LearnedArtefact, Method, Posterior, pack
from pointsman.pipeline.decide.learned.context import CONTEXT_WIDTH, contexts
from pointsman.pipeline.decide.learned.policy import LearnedPolicy
from pointsman.pipeline.decide.predict import predict

Floats = NDArray[np.float64]

DAY = 86_400.0
SCALES = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Of β, in probability of success: from hardly any deviation to nearly any."""
LEAST_NOISE = 0.05
LEAST = 20
"""Judged answers below which nothing is fitted."""

Believed = Callable[[Sequence[Observation]], Sequence[float | None]]
"""What is believed of the success of each beforehand; None: nothing."""


class BayesianArms:
    """Fits the deviations of models from what is believed of them.

    Afterwards `artefact_` is the policy, `models_` says of how many answers each model was learned, and `evidence_` is
    the log-likelihood an answer.

    Args:
        method: how the policy explores.
        base: everything else of the policy.
        believed: of observations, before any was made.
    """

    def __init__(self, method: Method, *, base: LearnedArtefact, believed: Believed) -> None:
        self.method: Method = method
        self.base = base
        self.believed = believed

    def fit(self, observations: Sequence[Observation]) -> Self:
        """
        Raises:
            InvalidRequest: too few answers are judged, of fewer than two models, or all alike.
        """
        judged = [one for one in observations if one.weight > 0]
        if not all(math.isfinite(one.success) and 0 <= one.success <= 1 for one in judged):
            raise InvalidRequest("A judged answer has a success that is not in [0, 1].")
        known = [(one, p) for one, p in zip(judged, self.believed(judged), strict=True) if p is not None]
        told_of = {one.model for one, _ in known}
        check(known, gone=sorted({one.model for one in judged} - told_of))
        phi = contexts([one.signals for one, _ in known])
        gaps = np.array([one.success - p for one, p in known])
        latest = max(one.at for one, _ in known)
        half_life = self.base.posterior.half_life_days * DAY
        faded = np.array([one.weight * 2.0 ** ((one.at - latest) / half_life) for one, _ in known])
        names = np.array([one.model for one, _ in known])
        noise = max(LEAST_NOISE, math.sqrt(float(faded @ (gaps * gaps) / faded.sum())))
        grams = {}
        for model in sorted(set(names.tolist())):
            rows = names == model
            weighted = phi[rows] * (faded[rows] / noise**2)[:, None]
            grams[model] = phi[rows].T @ weighted, gaps[rows] @ weighted
        found = {scale: sum(_evidence(*gram, scale) for gram in grams.values()) for scale in SCALES}
        scale = max(found, key=found.__getitem__)
        self.evidence_ = found[scale] / len(known)
        self.models_ = {model: int((names == model).sum()) for model in grams}
        state = {
            model: Learned(precision=pack(precision.ravel().tolist()), shift=pack(shift.tolist()), at=latest)
            for model, (precision, shift) in grams.items()
        }
        self.artefact_ = msgspec.structs.replace(
            self.base,
            posterior=Posterior(prior_sd=scale, noise_sd=noise, half_life_days=self.base.posterior.half_life_days),
            state=state,
            exploration=msgspec.structs.replace(self.base.exploration, method=self.method),
        )
        return self


def believed_by(policy: LearnedPolicy, find: Callable[[str], ModelCard | None]) -> Believed:
    """What a policy that has observed nothing believes of each model that has a card."""

    def believed(observations: Sequence[Observation]) -> list[float | None]:
        found: list[float | None] = []
        for one in observations:
            card = find(one.model)
            found.append(None if card is None else policy.predict(predict([card], one.signals), one.signals)[0][0])
        return found

    return believed


def check(known: Sequence[tuple[Observation, float]], *, gone: Sequence[str] = ()) -> None:
    """
    Args:
        gone: models of which answers are judged, but nothing is believed: they are not there any more.

    Raises:
        InvalidRequest: these judged answers teach nothing.
    """
    if len(known) < LEAST:
        raise InvalidRequest(
            f"{len(known)} judged answers of models that are there are too few to learn from: at least {LEAST} are"
            " needed. Feedback (`pointsman feedback`, POST /v1/feedback) judges answers."
        )
    if len({one.model for one, _ in known}) < 2:
        others = f" that is not by a model that is gone ({', '.join(gone)})" if gone else ""
        raise InvalidRequest(
            f"Every judged answer{others} is by {known[0][0].model}: of one model alone nothing can be learned about"
            " choosing. Exploration (`routing.exploration`) lets others answer now and then."
        )
    if len({one.success for one, _ in known}) < 2:
        raise InvalidRequest(f"Every judged answer has a success of {known[0][0].success:g}: nothing tells them apart.")


def _evidence(precision: Floats, shift: Floats, scale: float) -> float:
    """The log-evidence of one model's answers under a scale, up to what does not depend on it:
    −½ log |s² A| + ½ bᵀ A⁻¹ b, where A = I / s² + precision, b = shift."""
    whole = np.eye(CONTEXT_WIDTH) / scale**2 + precision
    _, log_determinant = np.linalg.slogdet(whole * scale**2)
    return float(0.5 * (shift @ np.linalg.solve(whole, shift) - log_determinant))
