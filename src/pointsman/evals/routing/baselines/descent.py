"""Logistic regression of several models at once, by L-BFGS (Liu & Nocedal 1989)."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32] | NDArray[np.float64]

MEMORY = 8
STEPS = 80
ENOUGH = 1e-4


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + e^−z) without overflow."""
    chances: Floats = 0.5 * (1 + np.tanh(0.5 * logits))
    return chances


def fit_logistic(inputs: Matrix, scores: Floats, penalty: float, start: Floats | None = None) -> Floats:
    """Weights (k + 1, m), the last row the bias, that minimise for each of the m columns

        mean over known outcomes of [log(1 + e^z) − y z] + penalty / 2 · |w|²,   z = x·w + b

    Outcomes may be any share in [0, 1]; NaN ones do not count.
    """
    known = np.isfinite(scores)
    outcomes = np.where(known, scores, 0.0)
    share = known / np.maximum(known.sum(axis=0), 1)
    wide = np.concatenate([inputs, np.ones((len(inputs), 1), inputs.dtype)], axis=1)
    weights = np.zeros((wide.shape[1], scores.shape[1])) if start is None else start.copy()
    shrunk = np.full((len(weights), 1), penalty)
    shrunk[-1] = 0.0

    def look(at: Floats) -> tuple[float, Floats]:
        logits = (wide @ at.astype(wide.dtype)).astype(np.float64)
        loss = float((share * (np.logaddexp(0.0, logits) - outcomes * logits)).sum() + 0.5 * (shrunk * at * at).sum())
        pull = (share * (sigmoid(logits) - outcomes)).astype(wide.dtype)
        return loss, (wide.T @ pull).astype(np.float64) + shrunk * at

    loss, slope = look(weights)
    past: deque[tuple[Floats, Floats, float]] = deque(maxlen=MEMORY)
    for _ in range(STEPS):
        if np.abs(slope).max(initial=0.0) < ENOUGH:
            break
        direction = -_times_inverse(slope, past)
        falling = float((direction * slope).sum())
        if falling >= 0:
            past.clear()
            direction, falling = -slope, -float((slope * slope).sum())
        length = 1.0 if past else min(1.0, 1.0 / float(np.abs(slope).sum()))
        for _ in range(20):
            there = weights + length * direction
            found, ahead = look(there)
            if found <= loss + 1e-4 * length * falling:
                break
            length *= 0.5
        else:
            break
        moved, turned = there - weights, ahead - slope
        curved = float((moved * turned).sum())
        if curved > 1e-12:
            past.append((moved, turned, curved))
        if loss - found < 1e-8:
            weights = there
            break
        weights, loss, slope = there, found, ahead
    return weights


def _times_inverse(slope: Floats, past: deque[tuple[Floats, Floats, float]]) -> Floats:
    """The two loops: the gradient times the approximate inverse of the Hessian."""
    aim, shares = slope.copy(), []
    for moved, turned, curved in reversed(past):
        share = float((moved * aim).sum()) / curved
        shares.append(share)
        aim -= share * turned
    if past:
        _, turned, curved = past[-1]
        aim *= curved / float((turned * turned).sum())
    for (moved, turned, curved), share in zip(past, reversed(shares), strict=True):
        aim += moved * (share - float((turned * aim).sum()) / curved)
    return aim
