"""What a model is expected to cost once another's attempt has been seen."""

from __future__ import annotations

import numpy as np

from pointsman.learn.families.base import Floats

RIDGE = 3.0
"""Prompts' worth of belief that an attempt says nothing."""
LEAST_USD = 1e-6


def expected_after(seen: Floats, costs: Floats, attempt: Floats) -> Floats:
    """A long attempt is a long task: log cost is linear in the logarithms of what the attempt took, by ridge
    regression, brought back to a mean by the mean of the exponentiated residuals (Duan 1983).

    Args:
        seen: (n, k), the attempts of the training part.
        costs: (n, m), what each model cost there, US dollars.
        attempt: (t, k).

    Returns:
        (t, m), US dollars.
    """
    inputs, asked = np.log1p(1e3 * seen), np.log1p(1e3 * attempt)
    centre, scale = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), 1e-9)
    inputs, asked = (inputs - centre) / scale, (asked - centre) / scale
    logs = np.log(np.maximum(costs, LEAST_USD))
    level = logs.mean(axis=0)
    slope = np.linalg.solve(inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1]), inputs.T @ (logs - level))
    smear = np.exp(logs - level - inputs @ slope).mean(axis=0)
    expected: Floats = smear * np.exp(level + asked @ slope)
    return expected
