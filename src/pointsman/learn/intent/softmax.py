"""Multinomial logistic regression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class SoftmaxRegression:
    """log P(class k | x) = x·w_k + b_k − log Σ, with a quadratic penalty on the weights.

    Fitted with the fixed bound on the Hessian of Böhning (1992), "Multinomial logistic regression algorithm": every
    step solves with ½ XᵀSX + penalty I, factored once, and none makes the likelihood less. Deterministic.

    Args:
        penalty: of the squared weights, in observations' worth; the bias has none.
        steps: at most.
        tolerance: of the largest change of a weight, below which it ends.

    Attributes:
        weights_: (inputs, classes).
        bias_: (classes,).
    """

    def __init__(self, *, penalty: float = 10.0, steps: int = 300, tolerance: float = 1e-4) -> None:
        self.penalty = penalty
        self.steps = steps
        self.tolerance = tolerance

    def fit(self, x: Floats, y: NDArray[np.int64], weight: Floats, classes: int) -> SoftmaxRegression:
        """Fit to x (n, inputs) with classes y (n,), each row counted `weight` (n,) times."""
        design = np.column_stack([x, np.ones(len(x))])
        penalty = np.full(design.shape[1], self.penalty)
        penalty[-1] = 1e-6
        bound = 0.5 * (design * weight[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.inv(bound)
        wanted = np.eye(classes)[y]
        table = np.zeros((design.shape[1], classes))
        ahead = table
        for number in range(self.steps):
            # Nesterov's look ahead: the bound alone creeps where it is loose
            uphill = design.T @ ((wanted - softmax(design @ ahead)) * weight[:, None]) - penalty[:, None] * ahead
            before, table = table, ahead + step @ uphill
            ahead = table + number / (number + 3) * (table - before)
            if np.abs(table - before).max() < self.tolerance:
                break
        self.weights_, self.bias_ = table[:-1], table[-1]
        return self

    def logits(self, x: Floats) -> Floats:
        """(n, classes)."""
        made: Floats = x @ self.weights_ + self.bias_
        return made


def softmax(logits: Floats) -> Floats:
    """Rows of probabilities."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    made: Floats = raised / raised.sum(axis=1, keepdims=True)
    return made


def platt(chances: Floats, right: NDArray[np.bool_]) -> tuple[float, float]:
    """a and b of sigmoid(a + b logit c), such that it is as often right as it says (Platt 1999), by Newton's method.

    A pull towards a = 0, b = 1, of one observation's worth, keeps it finite where there is little to learn from.
    """
    held = np.clip(chances, 1e-6, 1 - 1e-6)
    design = np.column_stack([np.ones(len(held)), np.log(held / (1 - held))])
    start = np.array([0.0, 1.0])

    def loss(at: Floats) -> float:
        logits = design @ at
        return float((np.logaddexp(0, logits) - right * logits).sum() + ((at - start) ** 2).sum() / 2)

    found, last = start, loss(start)
    for _ in range(50):
        said = softmax(np.column_stack([design @ found, np.zeros(len(held))]))[:, 0]
        slope = design.T @ (right - said) - (found - start)
        step = np.linalg.solve((design * (said * (1 - said))[:, None]).T @ design + np.eye(2), slope)
        while (less := loss(found + step)) > last and np.abs(step).max() > 1e-9:
            step /= 2  # far from the end a whole step may go past it
        found, last = found + step, less
        if np.abs(step).max() < 1e-9:
            break
    return float(found[0]), float(found[1])
