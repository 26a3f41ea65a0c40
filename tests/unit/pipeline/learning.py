"""Feature vectors, artefacts and observations that the tests of the learned policy share."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from deciding import signals

from pointsman.core.features import EMBEDDED, EMBEDDING_SCALE, STRUCTURE, VERSION, WIDTH
from pointsman.core.observation import Observation
from pointsman.core.signals import Signals
from pointsman.pipeline.decide.learned.artefact import Anchor, LearnedArtefact, Near, Prior, pack

NOW = 1_700_000_000.0
DAY = 86_400.0
PLAIN = LearnedArtefact(features=VERSION)
"""Nothing was trained."""


def unit(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(size=EMBEDDED)
    return vector / np.linalg.norm(vector)


def features(embedding: np.ndarray, structure: float = 0.5) -> bytes:
    row = np.empty(WIDTH + 1, dtype=np.int8)
    row[0] = VERSION
    row[1 : EMBEDDED + 1] = np.clip(np.rint(embedding * EMBEDDING_SCALE), -127, 127)
    row[EMBEDDED + 1 :] = round(structure * 127)
    return row.tobytes()


def asked(rng: np.random.Generator, **wishes: Any) -> Signals:
    """Signals of a request with a random embedding."""
    return msgspec.structs.replace(signals(**wishes), features=features(unit(rng)))


def anchor(ability: float, *, bias: float | None = None, **structure: float) -> Anchor:
    """An anchor that looks at nothing but the named structure."""
    weights = np.zeros(WIDTH)
    for name, weight in structure.items():
        weights[EMBEDDED + STRUCTURE.index(name)] = weight
    return Anchor(ability=ability, weights=pack(weights), bias=ability if bias is None else bias)


def prior(*anchors: Anchor, near: Near | None = None) -> Prior:
    return Prior(mean=pack(np.zeros(WIDTH)), scale=pack(np.ones(WIDTH)), anchors=anchors, near=near)


def near(*centres: np.ndarray, inner: float = 0.3, outer: float = 0.7) -> Near:
    return Near(centres=pack(np.concatenate(centres)), count=len(centres), inner=inner, outer=outer)


def observed(number: int, model: str, success: float, what: Signals, **fields: Any) -> Observation:
    return Observation(decision_id=f"dec_{number}", model=model, success=success, signals=what, **{"at": NOW, **fields})
