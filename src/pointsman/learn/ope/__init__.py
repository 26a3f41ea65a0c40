"""Off-policy evaluation: what another policy would have earned, from the log of the one that served."""

from __future__ import annotations

from .bandit import Bandit
from .estimate import Estimate, Evaluator

__all__ = ["Bandit", "Estimate", "Evaluator"]
