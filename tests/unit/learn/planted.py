"""Requests whose best model can be told from what is known of them, because it was planted so."""

from __future__ import annotations

import numpy as np

from pointsman.core.decision import Candidate
from pointsman.core.features import EMBEDDED, EMBEDDING_SCALE, STRUCTURE, VERSION
from pointsman.core.signals import Complexity, Conversation, Needs, Privacy, Signals

MODELS = ("lan:small", "far:large")
COSTS = (0, 4_000)
QUALITIES = (0.5, 0.9)
PER_DOLLAR = 30.0


def vector(direction: np.ndarray, complexity: float = 0.3) -> bytes:
    """A feature vector that points into a direction of the first few components."""
    whole = np.zeros(EMBEDDED)
    whole[: len(direction)] = direction
    whole /= max(np.linalg.norm(whole), 1e-9)
    structure = np.zeros(len(STRUCTURE))
    structure[STRUCTURE.index("complexity")] = complexity
    numbers = np.concatenate([np.clip(np.rint(whole * EMBEDDING_SCALE), -127, 127), np.rint(structure * 127)])
    return bytes([VERSION]) + numbers.astype(np.int8).tobytes()


def signals(features: bytes = b"", **changes) -> Signals:
    fields = {
        "complexity": Complexity(score=0.3, length=0.3, terms=0.3, structure=0.3),
        "privacy": Privacy(),
        "needs": Needs(prompt_tokens=200),
        "conversation": Conversation(),
        "features": features,
    }
    return Signals(**{**fields, **changes})


def candidates(models: tuple[str, ...] = MODELS) -> list[Candidate]:
    """Those of the rules: the dear model's promise outweighs its cost, so that it is picked whatever is asked."""
    return [
        Candidate(
            model=model, quality=quality, cost_micro_usd=cost, latency_seconds=2.0,
            utility=quality - PER_DOLLAR * cost / 1e6, propensity=1.0 if model == "far:large" else 0.0,
        )
        for model, quality, cost in zip(MODELS, QUALITIES, COSTS, strict=True)
        if model in models
    ]  # fmt: skip


def asked(count: int, rng: np.random.Generator) -> tuple[list[Signals], np.ndarray]:
    """Signals, and (count, 2) which of the models does it: the small one does all that points one way and hardly
    anything that points the other."""
    directions = rng.normal(size=(count, 8))
    easy = directions[:, 0] > 0
    small = np.where(easy, 0.95, 0.1)
    success = (rng.random((count, 2)) < np.column_stack([small, np.full(count, 0.95)])).astype(float)
    return [signals(vector(direction)) for direction in directions], success
