"""Prompts as the families' numbers: checked, standardised with what the training prompts say, read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from pointsman.core.errors import InvalidRequest
from pointsman.core.features import EMBEDDED, WIDTH

from .base import Floats, Prompts
from .surface import surface

CLIP = 4.0
"""Standard deviations: one odd prompt must not rule a linear model."""


def checked(prompts: Prompts) -> None:
    """
    Raises:
        InvalidRequest: the features are not (n, WIDTH), or one of them is not a finite number; names the prompt.
    """
    if prompts.features.shape != (len(prompts), WIDTH):
        raise InvalidRequest(
            f"Features of {len(prompts)} prompts must be ({len(prompts)}, {WIDTH}), not {prompts.features.shape}."
        )
    broken = np.flatnonzero(np.logical_not(np.isfinite(prompts.features).all(axis=1)))
    if broken.size:
        raise InvalidRequest(
            f"The features of prompt {int(broken[0])} hold a number that is not finite; read the prompt anew."
        )
    if prompts.attempt is not None and np.isinf(prompts.attempt).any():
        raise InvalidRequest("A signal of an attempt is infinite.")


class Scale:
    """Columns with mean 0 and deviation 1 over the training prompts, clipped; constant columns become 0."""

    def fit(self, values: Floats) -> Self:
        with np.errstate(invalid="ignore"):
            known = np.logical_not(np.isnan(values))
            count = np.maximum(known.sum(axis=0), 1)
            filled = np.where(known, values, 0.0)
            self.mean_ = filled.sum(axis=0) / count
            deviation = np.sqrt((np.where(known, values - self.mean_, 0.0) ** 2).sum(axis=0) / count)
        self.scale_ = np.where(deviation > 1e-9, deviation, np.inf)
        return self

    def __call__(self, values: Floats) -> Floats:
        """Missing values become 0, the mean."""
        scaled = (values - self.mean_) / self.scale_
        found: Floats = np.clip(np.nan_to_num(scaled, nan=0.0), -CLIP, CLIP)
        return found


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What families read of `n` prompts."""

    texts: tuple[str, ...]
    embedding: Floats
    """(n, EMBEDDED), unit length."""
    structure: Floats
    """(n, s): structure of the feature vector and surface of the text, standardised."""
    attempt: Floats
    """(n, k), standardised; k may be 0."""
    traits: Floats
    """(n, s): the structure as it was read."""

    def __len__(self) -> int:
        return len(self.texts)


class InputReader:
    """Prompts to `Inputs`."""

    def fit(self, prompts: Prompts) -> Self:
        checked(prompts)
        self.structure_ = Scale().fit(_structure(prompts))
        self.width_ = 0 if prompts.attempt is None else prompts.attempt.shape[1]
        self.attempt_ = Scale().fit(_attempt(prompts, self.width_))
        return self

    def __call__(self, prompts: Prompts) -> Inputs:
        """
        Raises:
            InvalidRequest: broken features, or other signals of an attempt than at the fit.
        """
        checked(prompts)
        embedding = prompts.features[:, :EMBEDDED].astype(np.float64)
        length = np.linalg.norm(embedding, axis=1, keepdims=True)
        traits = _structure(prompts)
        return Inputs(
            texts=prompts.texts,
            embedding=embedding / np.where(length > 0, length, 1.0),
            structure=self.structure_(traits),
            traits=traits,
            attempt=self.attempt_(_attempt(prompts, self.width_)),
        )


def _structure(prompts: Prompts) -> Floats:
    return np.hstack([prompts.features[:, EMBEDDED:].astype(np.float64), surface(prompts.texts)])


def _attempt(prompts: Prompts, width: int) -> Floats:
    given = np.zeros((len(prompts), 0)) if prompts.attempt is None else prompts.attempt
    if given.shape != (len(prompts), width):
        raise InvalidRequest(f"The attempt has {given.shape[1]} signals; the model was fitted with {width}.")
    # counts and costs span orders of magnitude; both scales are given
    return np.hstack([given, np.sign(given) * np.log1p(np.abs(given))])
